"""Units of flux and its errors: their scale, and whether an error is a variance."""

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units

from distcnn.arrays import Array
from distcnn.config.survey.units import NANOMETRES

DIMENSIONLESS = {
    "",
    "none",
    "-",
    "--",
    "---",
    "dimensionless",
    "unitless",
    "null",
    "n/a",
    "relative",
    "normalized",
    "normalised",
}
_ENERGY = re.compile(r"\b(ergs?|J|[mk]?W|photons?|ph)\b", re.IGNORECASE)
"""In a flux: what is measured of the light."""
_ANGSTROM = re.compile(
    r"(?<![A-Za-z])(A|AA|Ang|Angstroms|\u00c5|\u212b)(?![A-Za-z])", re.IGNORECASE
)
_WORDS = (
    (re.compile(r"\bergs\b", re.IGNORECASE), "erg"),
    (re.compile(r"\bsec(onds?)?\b", re.IGNORECASE), "s"),
    (re.compile(r"\b(count|electron|photon)s\b", re.IGNORECASE), r"\1"),
)
_POWER_OF_TEN = re.compile(
    r"\s*10\s*(?:\^|\*\*)?\s*[({]?\s*([+-]?\d+)\s*[)}]?\s*[*.x]?\s*(?=[A-Za-z])"
)
"""``10**(-17)``, ``10^-17``, ``10(-17)``, ``10-17`` before a unit."""
_DIALECTS: tuple[str | None, ...] = (None, "fits", "vounit", "ogip", "cds")


@lru_cache(maxsize=256)
def flux_unit(text: str) -> Any:
    """The unit that a text names in any of the usual dialects, with its scale; None if none."""
    text = text.strip()
    if text.lower() in DIMENSIONLESS:
        return units.dimensionless_unscaled
    for spelling in _spellings(text):
        for dialect in _DIALECTS:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # dialects that would rather have another
                    return units.Unit(spelling, format=dialect)
            except Exception:  # noqa: S112 - a text that is no unit may raise anything there
                continue
    return None


def _spellings(text: str) -> Iterator[str]:
    """A unit as it stands, and as the dialects have it, the likelier first."""
    power = _POWER_OF_TEN.match(text)
    scaled = f"1e{int(power[1])} {text[power.end() :]}" if power else text
    written = _ANGSTROM.sub("Angstrom", scaled) if _ENERGY.search(scaled) else scaled
    for old, new in _WORDS:
        written = old.sub(new, written)
    if written != text and _ENERGY.search(text):
        yield written  # before the ampere and the year, which are spelt A and a
    yield text
    yield written
    yield written.replace("Ang", "Angstrom").replace("Angstromstrom", "Angstrom")
    if written.replace("Angstrom", "").replace("e-", "").isupper():
        yield written.lower()


@lru_cache(maxsize=256)
def scaled_unit(text: str) -> str | None:
    """The unit of wavelength that a multiple of one is: Angstrom of ``0.1nm``, ``1e-10 m``."""
    if not any(letter.isdigit() for letter in text):
        return None
    try:
        nanometres = float(flux_unit(text).to(units.nm))
    except (AttributeError, units.UnitsError):  # 1D11 has a scale of 0
        return None
    close = (name for name, size in NANOMETRES.items() if np.isclose(nanometres, size, rtol=1e-9))
    return next(close, None)


def flux_factor(unit: str, target: str) -> float | None:
    """What to multiply a flux in ``unit`` by to have it in ``target``; None if it cannot be."""
    one, other = flux_unit(unit), flux_unit(target)
    if unit.strip() == target.strip():
        return 1.0
    if one is None or other is None:
        return None
    try:
        return float(one.to(other))
    except units.UnitsError:
        return None


@lru_cache(maxsize=256)
def kind_of_error(error: str, flux: str) -> str | None:
    """``variance`` or ``inverse variance`` if the unit of an error says so beside that of flux."""
    one, other = flux_unit(error), flux_unit(flux)
    if one is None or other is None or other.is_equivalent(units.dimensionless_unscaled):
        return None
    for power, kind in ((2, "variance"), (-2, "inverse variance")):
        if one.is_equivalent(other**power):
            return kind
    return None


def sigma_of(error: Array, kind: str, unit: str, flux: str) -> Array:
    """Standard deviations in the unit of flux, of errors of a kind in a unit; NaN where none is.

    Raises
    ------
    ValueError : both units are known and one is not to be had from the other.
    """
    power = {"variance": 2, "inverse variance": -2}.get(kind, 1)
    factor = _error_factor(unit, flux, power)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = (error * factor) ** (1 / power) if factor != 1 or power != 1 else error
    return np.where(np.isfinite(sigma), sigma, np.nan) if power != 1 else sigma


@lru_cache(maxsize=256)
def _error_factor(unit: str, flux: str, power: int) -> float:
    """What errors in ``unit`` are multiplied by to be in that of flux to a power; 1 if unknown."""
    one, other = flux_unit(unit) if unit else None, flux_unit(flux) if flux else None
    if one is None or other is None:
        return 1.0
    try:
        return float(one.to(other**power))
    except units.UnitConversionError:
        raise ValueError(f"{unit!r} is no unit of an error of {flux!r}") from None
