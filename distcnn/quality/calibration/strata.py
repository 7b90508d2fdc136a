"""Strata: coarse groups of predicted labels with errors of their own, and how they go over."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from distcnn.arrays import Array

_GIANT_MAX_LOGG, _METAL_POOR_MAX_MH = 3.5, -1.0  # dex
TRANSITION_DEX = np.array([0.10, 0.05])
"""Width of the transition between strata in logg and in metallicity."""
LABEL_STRATA = ("dwarf", "giant", "metal-poor")
"""Coarse groups of predicted labels."""


def label_strata(label: Array, index: tuple[int, int]) -> Array:
    """[N] number in ``LABEL_STRATA`` of predicted labels [N, L]; 0 without logg and mh.

    ``index`` : as ``strata_columns`` gives it.
    """
    where = np.zeros(len(label), np.int64)
    logg, mh = index
    if logg >= 0:
        where[label[:, logg] < _GIANT_MAX_LOGG] = 1
    if mh >= 0:
        where[label[:, mh] < _METAL_POOR_MAX_MH] = 2
    return where


def strata_weights(label: Array, index: tuple[int, int], transition: Array) -> Array:
    """[N, C] how much of each of ``LABEL_STRATA`` a star of predicted labels [N, L] is.

    ``transition`` : width of the logistic steps in logg and metallicity [dex]; 0 = a sharp edge.
    """
    logg, mh = index
    giant, poor = (
        _below(label[:, column], edge, width) if column >= 0 else np.zeros(len(label))
        for column, edge, width in (
            (logg, _GIANT_MAX_LOGG, transition[0]),
            (mh, _METAL_POOR_MAX_MH, transition[1]),
        )
    )
    return np.stack([(1 - poor) * (1 - giant), (1 - poor) * giant, poor], axis=1)


def _below(values: Array, edge: float, width: float) -> Array:
    if not width:
        return (values < edge).astype(float)
    return np.asarray(special.expit((edge - np.asarray(values, float)) / width))


def strata_columns(names: Sequence[str]) -> tuple[int, int]:
    """Positions of logg and of the metallicity among labels, -1 where absent."""
    known = list(names)
    metals = [known.index(name) for name in ("mh", "feh") if name in known]
    return (known.index("logg") if "logg" in known else -1, metals[0] if metals else -1)
