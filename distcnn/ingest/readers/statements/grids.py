"""Wavelengths as files state them: keywords of a header, or columns, linear or as logarithms."""

import re

import numpy as np

from distcnn.arrays import Array
from distcnn.config import GridConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.preprocess.wavelength import convert_unit
from distcnn.ingest.readers.statements.statements import TableFacts, logarithm

_HEADER_GRIDS = (  # first value, step, reference pixel
    ("COEFF0", "COEFF1", None),
    ("CRVAL1", "CDELT1", "CRPIX1"),
    ("CRVAL1", "CD1_1", "CRPIX1"),
    ("WAVE0", "DWAVE", None),
)
_MAX_LOGARITHM = 15.0
"""A larger first value is no logarithm of nanometres or Angstroms, decimal or natural."""
_USUAL_NM = (50.0, 5e4)
"""Wavelengths of spectra of stars; no number is a decimal logarithm of one in this range and, in
the same unit of nm or Angstrom, a natural one of another, save near its end."""
_OTHER_AXES = re.compile(
    r"MULTISPEC?|PIX(EL)?S?|(FREQ|ENER|WAVN|VRAD|VOPT|ZOPT|VELO|FELO|BETA)(-...)?"
    r"|(WAVE|AWAV)-(TAB|GR[IA]|[FWVA]2[FWVA])"
)
"""CTYPE1 of axes that are pixels, another quantity, or not even (FITS paper III; IRAF)."""
MIN_NM, MAX_NM = 1.0, 1e6
_SHORT_UNITS = ("nm", "Angstrom")
BASES = {"log": "log10", "ln": "ln"}
"""Logarithms by the words of the configuration: ``ingest.grid.spacing``, ``layout.spacing``."""


def header_grid(
    facts: TableFacts, pixels: int, grid: GridConfig, stated: Statements
) -> Array | None:
    """Wavelengths [P] of a table's keywords, in the unit of ``grid``; None if it has no pair."""
    for first, step, reference in _HEADER_GRIDS:
        start, delta = _number(facts, first), _number(facts, step)
        if step == "CDELT1" and delta is not None:
            delta *= _number(facts, "PC1_1") or 1.0
        if start is None or delta is None:
            continue
        if first == "CRVAL1":
            _check_axis(facts)
        origin = _number(facts, reference) if reference else None
        steps = delta * (np.arange(pixels) - (origin - 1 if origin is not None else 0.0))
        spacing = "log10" if first == "COEFF0" else _spacing(facts, start, grid, stated)
        if spacing == "log":
            spacing = base_of(start + steps, stated.unit.value if stated.unit else grid.unit)
        with np.errstate(all="ignore"):  # what comes out of nonsense is refused as a grid
            found = in_grid_unit(_along(start, steps, spacing), grid, stated)
            return _plausible(found, facts, f"{first} = {start:g}, {step} = {delta:g}", grid)
    return None


def _plausible(found: Array, facts: TableFacts, words: str, grid: GridConfig) -> Array:
    """Wavelengths that light may have; logarithms taken for wavelengths are not among them.

    Raises
    ------
    GridMismatch : they are shorter than X-rays or longer than millimetres.
    """
    first = float(convert_unit(found[:1], grid.unit, "nm")[0]) if len(found) else MIN_NM
    if not MIN_NM <= abs(first) <= MAX_NM:
        raise GridMismatch(
            f"{facts.name}: {words} make wavelengths from {found[0]:.6g} {grid.unit} on",
            expected=f"wavelengths of {MIN_NM:g} to {MAX_NM:g} nm",
            cure="Set ingest.grid.unit, or spacing of ingest.grid or of the layout (log: decimal "
            "logarithms, ln: natural ones).",
        )
    return found


def _check_axis(facts: TableFacts) -> None:
    """Refuse an axis that is no wavelength, or one whose wavelengths do not follow from CRVAL1."""
    said = [found for key in ("CTYPE1", "CUNIT1") if (found := facts.lookup([key]))]
    others = [f"{key} = {v!r}" for key, v in said if _OTHER_AXES.fullmatch(str(v).strip().upper())]
    if not others:
        return
    raise GridMismatch(
        f"{facts.name}: {others[0]}: CRVAL1 and its step do not give its wavelengths",
        expected="an axis of wavelengths, linear or logarithmic (WAVE, AWAV, LINEAR, LOG-LINEAR)",
        cure="Name the column, row or HDU of the wavelengths in the settings, or resample the "
        "spectra (IRAF: dispcor). If the keyword is wrong, correct it in the file.",
    )


def _number(facts: TableFacts, key: str) -> float | None:
    found = facts.lookup([key])
    try:
        return None if found is None else float(found[1])
    except (TypeError, ValueError):
        return None


def _along(start: float, steps: Array, spacing: str) -> Array:
    if spacing == "exponential":
        # FITS paper III, eq. 53: the increments are those of the wavelength at the reference.
        return np.asarray(start * np.exp(steps / start))
    return antilogarithm(start + steps, spacing)


def antilogarithm(values: Array, spacing: str) -> Array:
    """Wavelengths of their logarithms of the base ``log10`` or ``ln``; as they are if neither."""
    with np.errstate(over="ignore"):
        if spacing == "ln":
            return np.asarray(np.exp(values))
        return np.asarray(10.0**values if spacing == "log10" else values)


def base_of(values: Array, unit: str) -> str:
    """``log10`` or ``ln``, of logarithms [P] of wavelengths whose base is not said.

    Decimal, as is usual, unless only natural ones make wavelengths that spectra of stars have.
    """
    return usual_base(values, unit) or "log10"


def usual_base(values: Array, unit: str) -> str:
    """The base of which numbers are logarithms of wavelengths of spectra of stars, or none."""
    good = values[np.isfinite(values)]
    middle = np.median(good) if good.size else np.nan
    low, high = _USUAL_NM
    for base in ("log10", "ln"):
        found = convert_unit(antilogarithm(np.atleast_1d(middle), base), unit, "nm")
        if low <= found[0] <= high:
            return base
    return ""


def _spacing(facts: TableFacts, start: float, grid: GridConfig, stated: Statements) -> str:
    """How the axis of CRVAL1 runs: linear, log10, ln, log (of a base that is not said) or
    exponential (FITS ``-LOG``).
    """
    if stated.spacing is not None:
        return stated.spacing.value
    flag = facts.lookup(["DC-FLAG"])
    if flag is not None and str(flag[1]).strip() in ("1", "1.0", "True", "T"):
        return "log10"
    if grid.spacing != "linear" and grid.start is None:
        return BASES[grid.spacing]
    kind = facts.lookup(["CTYPE1"])
    code = str(kind[1]).strip().upper() if kind else ""
    if "LOG" not in code and logarithm(code) != "ln":
        return "linear"
    unit = stated.unit.value if stated.unit else grid.unit
    if start < _MAX_LOGARITHM and unit in _SHORT_UNITS:
        return logarithm(code)
    return "exponential"


def in_grid_unit(wavelength: Array, grid: GridConfig, stated: Statements) -> Array:
    """Wavelengths converted from the unit that the file states; as they are if it is silent."""
    if stated.unit is None:
        return wavelength
    if stated.unit.value == grid.unit:
        return wavelength
    converted = convert_unit(wavelength, stated.unit.value, grid.unit)
    # As declared grids are: so that 8460 Angstrom and 846 nm are one number, and one digest.
    return np.round(converted, 10) if grid.unit in _SHORT_UNITS else converted


def column_wavelengths(values: Array, grid: GridConfig, stated: Statements) -> Array:
    """Values of a column of wavelengths, or of their logarithms, in the unit of ``grid``."""
    spacing = stated.spacing.value if stated.spacing is not None else "linear"
    if spacing == "log":
        spacing = base_of(values, stated.unit.value if stated.unit else grid.unit)
    linear = antilogarithm(np.asarray(values, float), spacing)
    return in_grid_unit(linear, grid, stated)
