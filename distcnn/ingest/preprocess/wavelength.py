"""Wavelength grids: pixel centres and edges, units, air and vacuum."""

import numpy as np

from distcnn.air import to_air, to_vacuum
from distcnn.arrays import Array
from distcnn.config import GridConfig, PrepareConfig
from distcnn.config.survey.units import NANOMETRES, wavelength_unit
from distcnn.errors import ConfigError, GridMismatch

MIN_AIR_NM = 185.0
"""Air is opaque below, and the formula of its refractive index is not valid."""


def wavelengths(grid: GridConfig) -> Array:
    """Pixel centres of a declared grid, in its unit.

    Raises
    ------
    ConfigError : start, step or size is not declared.
    """
    if grid.start is None or grid.step is None or grid.size is None:
        raise ConfigError(
            f"the grid has start = {grid.start}, step = {grid.step}, size = {grid.size}",
            expected="all three, because these files do not hold wavelengths",
            cure="Set them in ingest.grid.",
        )
    steps = np.arange(grid.size)
    if grid.spacing == "log":
        centres: Array = 10.0 ** (np.log10(grid.start) + grid.step * steps)
    elif grid.spacing == "ln":
        centres = np.exp(np.log(grid.start) + grid.step * steps)
    else:
        # Steps are short decimals; rounding makes 846 + 0.01 k the number that files print.
        centres = np.round(grid.start + grid.step * steps, 10)
    return centres


def target_pixels(config: PrepareConfig) -> tuple[Array, Array]:
    """Pixel centres [T] of the whole target grid, and which of them [T] are stored.

    Raises
    ------
    ConfigError : no pixel lies in the windows.
    """
    assert config.target is not None
    centres = wavelengths(config.target)
    stored = np.ones(len(centres), bool)
    if config.windows:
        stored = np.any([(low <= centres) & (centres <= high) for low, high in config.windows], 0)
    if not stored.any():
        raise ConfigError(
            f"ingest.prepare.windows = {[list(window) for window in config.windows]}",
            expected=f"some pixels of the target, {centres[0]:.6g} to {centres[-1]:.6g}",
        )
    return centres, stored


def is_declared(grid: GridConfig) -> bool:
    """Whether start, step and size are all given."""
    return None not in (grid.start, grid.step, grid.size)


def same_grid(found: Array, expected: Array) -> bool:
    """Whether two grids [P] have the same pixels, to a tenth of the first step.

    Files print wavelengths with few digits; a shift of a tenth of a pixel matters to no line.
    """
    if len(found) != len(expected):
        return False
    step = abs(expected[1] - expected[0]) if len(expected) > 1 else 1.0
    return bool(np.allclose(found, expected, rtol=0, atol=0.1 * step))


def known(wavelength: Array) -> Array:
    """Wavelengths without the NaN that stand behind those of a shorter row."""
    last = int(np.max(np.flatnonzero(np.isfinite(wavelength)), initial=-1))
    return wavelength[: last + 1]


def in_order(wavelength: Array) -> bool:
    """Whether there are at least two wavelengths, which increase or decrease throughout."""
    steps = np.diff(wavelength)
    return len(wavelength) > 1 and bool((steps > 0).all() or (steps < 0).all())


def convert_unit(wavelength: Array, unit: str, target: str) -> Array:
    """Wavelengths in another unit.

    Raises
    ------
    ConfigError : a unit is not one of length.
    """
    known = [_unit(unit), _unit(target)]
    if known[0] == known[1]:
        return wavelength
    scaled: Array = wavelength * (NANOMETRES[known[0]] / NANOMETRES[known[1]])
    return scaled


def _unit(text: str) -> str:
    try:
        return wavelength_unit(text)
    except ValueError as error:
        raise ConfigError(f"unit of wavelength {text!r}", expected=str(error)) from None


def convert_medium(wavelength: Array, unit: str, medium: str, target: str) -> Array:
    """Wavelengths in another medium, ``air`` or ``vacuum``, in the same unit.

    Raises
    ------
    GridMismatch : they are shorter than light that passes the air.
    """
    if medium == target:
        return wavelength
    nanometres = convert_unit(wavelength, unit, "nm")
    if nanometres.min() < MIN_AIR_NM:
        raise GridMismatch(
            f"wavelengths from {nanometres.min():.6g} nm are to be brought from {medium} to "
            f"{target}",
            expected=f"{MIN_AIR_NM:g} nm or more: below, wavelengths are those in vacuum",
            cure="Check the unit and the medium of ingest.grid, and those that the file states.",
        )
    moved = to_air(nanometres) if target == "air" else to_vacuum(nanometres)
    return convert_unit(moved, "nm", unit)


def edges(centres: Array) -> Array:
    """Pixel edges: half-way between centres, the outer ones extended alike."""
    middle = (centres[1:] + centres[:-1]) / 2
    first = centres[0] - (middle[0] - centres[0])
    last = centres[-1] + (centres[-1] - middle[-1])
    return np.concatenate([[first], middle, [last]])
