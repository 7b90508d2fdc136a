"""Known absorption lines as a check of wavelengths: the velocity at which they are found.

A stellar spectrum in the right unit, medium and frame has them within some hundred km/s of their
laboratory wavelengths. Air taken for vacuum shifts all by about 82 km/s, nanometres taken for
Angstrom leave none.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.preprocess.wavelength import convert_medium, convert_unit
from distcnn.schema import LIGHT_SPEED_KM_S

# Vacuum wavelengths [nm] (NIST ASD). Lines with a deeper neighbour within reach are left out.
KNOWN_LINES = {
    "Ca II K": 393.478,
    "H delta": 410.289,
    "Ca I 423": 422.792,
    "H gamma": 434.168,
    "H beta": 486.268,
    "Mg I b2": 517.413,
    "Mg I b1": 518.505,
    "Na I D2": 589.158,
    "Ca I 644": 644.085,
    "Fe I 650": 649.678,
    "H alpha": 656.461,
    "Ca I 672": 671.954,
    "Ca II 850": 850.036,
    "Ca II 854": 854.444,
    "Ca II 866": 866.452,
    "Mg I 881": 880.918,
    "Mg I 1575": 1575.329,
    "Mg I 1577": 1577.015,
    "Si I 1596": 1596.442,
    "Si I 1669": 1668.533,
    "Al I 1672": 1672.352,
    "Al I 1676": 1675.514,
}
SEARCH_KM_S = 300.0
"""Lines are looked for within this distance of where they belong, or within ``MIN_PIXELS``."""
LEVEL_KM_S = 1500.0
"""The level beside a line is taken within this distance."""
MIN_DEPTH = 0.04
"""Least depth of a line, as a fraction of the level beside it."""
MIN_DEPTH_SIGMA = 4.0
"""Least depth of a line, in its errors."""
MIN_PIXELS = 9
"""Least pixels that are looked at for a line."""
_LEVEL_QUANTILE = 0.8


@dataclass(frozen=True)
class FoundLines:
    """Velocities [km/s] of the lines that were found, by name."""

    velocity: dict[str, float]

    @property
    def median(self) -> float:
        """Median velocity [km/s]; NaN without lines."""
        return float(np.median(list(self.velocity.values()))) if self.velocity else float("nan")

    @property
    def scatter(self) -> float:
        """Scatter of the lines about it [km/s], 1.48 times the median deviation."""
        values = np.array(list(self.velocity.values()))
        return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def places_of_lines(unit: str, medium: str) -> dict[str, float]:
    """Wavelengths of the known lines at rest, by name."""
    vacuum = np.array(list(KNOWN_LINES.values()))
    there = convert_unit(convert_medium(vacuum, "nm", "vacuum", medium), "nm", unit)
    return dict(zip(KNOWN_LINES, there.tolist(), strict=True))


def find_lines(
    wavelength: Array, flux: Array, error: Array | None, unit: str, medium: str
) -> FoundLines:
    """The known lines in a spectrum [P], NaN where missing.

    Parameters
    ----------
    unit, medium : of ``wavelength``, which increases.
    """
    nanometres = convert_unit(np.asarray(wavelength, float), unit, "nm")
    in_vacuum = nanometres
    if medium == "air" and nanometres[0] > 0:
        in_vacuum = convert_medium(nanometres, "nm", "air", "vacuum")
    found = {}
    for name, rest in KNOWN_LINES.items():
        velocity = (in_vacuum / rest - 1) * LIGHT_SPEED_KM_S
        near = _around(velocity)
        if near is not None:
            beside = flux[(np.abs(velocity) < LEVEL_KM_S) & np.isfinite(flux)]
            level = float(np.quantile(beside, _LEVEL_QUANTILE)) if beside.size else 0.0
            noise = None if error is None else error[near]
            centre = _centre(velocity[near], flux[near], noise, level)
            if centre is not None:
                found[name] = centre
    return FoundLines(found)


def _around(velocity: Array) -> slice | None:
    """The pixels among which a line is looked for; None outside the spectrum."""
    middle = int(np.searchsorted(velocity, 0.0))
    reach = max(int(np.sum(np.abs(velocity) < SEARCH_KM_S)), MIN_PIXELS) // 2
    if middle - reach < 0 or middle + reach >= len(velocity):
        return None
    return slice(middle - reach, middle + reach + 1)


def _centre(velocity: Array, flux: Array, error: Array | None, level: float) -> float | None:
    """Centre of the deepest line, weighted by depth above half of it; None if there is none."""
    good = np.isfinite(flux)
    if good.sum() < 0.7 * len(flux) or not level > 0:
        return None
    velocity, flux = velocity[good], flux[good]
    depth = 1 - flux / level
    deepest = int(np.argmax(depth))
    noise = 0.0 if error is None else float(np.nanmedian(error[good])) / level
    if depth[deepest] < max(MIN_DEPTH, MIN_DEPTH_SIGMA * noise):
        return None
    if deepest in (0, len(depth) - 1):
        return None  # the wing of another line
    left, right = deepest, deepest
    while left > 0 and depth[left - 1] > depth[deepest] / 2:
        left -= 1
    while right < len(depth) - 1 and depth[right + 1] > depth[deepest] / 2:
        right += 1
    core = slice(left, right + 1)
    return float(np.average(velocity[core], weights=depth[core]))
