"""Stellar types: a few regions of temperature, gravity and metallicity, for averages over stars."""

from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array

METAL_POOR_DEX, DWARF_LOGG, HOT_K, SOLAR_K = -1.0, 3.8, 6000.0, 5300.0
ALL = "all stars"
STELLAR_TYPES = ("metal-poor", "F dwarfs", "G dwarfs", "K dwarfs", "giants")
"""Metal-poor stars of any kind; of the others dwarfs above 6000 K, above 5300 K and below it, and
giants, log g below 3.8."""


def stellar_type(label: Array, names: Sequence[str]) -> Array:
    """Number in ``STELLAR_TYPES`` of each star, int [N]; -1 where labels [N, L] do not tell."""
    out = np.full(len(label), -1)
    if "teff" not in names or "logg" not in names:
        return out
    teff, logg = (label[:, list(names).index(name)] for name in ("teff", "logg"))
    known = np.isfinite(teff) & np.isfinite(logg)
    dwarf = known & (logg >= DWARF_LOGG)
    out[known & ~dwarf] = STELLAR_TYPES.index("giants")
    out[dwarf & (teff < SOLAR_K)] = STELLAR_TYPES.index("K dwarfs")
    out[dwarf & (teff >= SOLAR_K)] = STELLAR_TYPES.index("G dwarfs")
    out[dwarf & (teff >= HOT_K)] = STELLAR_TYPES.index("F dwarfs")
    metals = [name for name in ("mh", "feh") if name in names]
    if metals:
        poor = label[:, list(names).index(metals[0])] < METAL_POOR_DEX
        out[known & poor] = STELLAR_TYPES.index("metal-poor")
    return out
