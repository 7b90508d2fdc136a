"""Wavelengths of IRAF's MULTISPEC images: a dispersion function for every line, in WAT2_nnn.

F. Valdes, "The IRAF/NOAO spectral world coordinate systems" (help of onedspec.specwcs); where that
text is silent (weights, Doppler factors of logarithms, splines) as IRAF's wfmspec.x computes them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev, legendre

from distcnn.arrays import Array
from distcnn.errors import GridMismatch

_CARD_TEXT = 68
"""Characters of a card's text: blanks at its end, which FITS drops, may part two numbers."""
_LINE = re.compile(r'\bspec(\d+)\s*=\s*"([^"]*)"', re.IGNORECASE)
_COMMON_FIELDS = 9
"""Of a line: aperture, beam, type, w1, dw, number of pixels, z, and the aperture's two limits."""
_LINEAR, _LOG, _FUNCTIONS = 0, 1, 2
_CHEBYSHEV, _LEGENDRE, _CUBIC_SPLINE, _LINEAR_SPLINE, _PIXELS = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class _Function:
    """A dispersion function: its wavelength at physical pixels [P], and its weight."""

    weight: float
    wavelength: Callable[[Array], Array]


def is_multispec(header: Mapping[str, Any]) -> bool:
    """Whether the lines of an image have dispersion functions of their own."""
    return str(header.get("CTYPE1", "")).strip().upper().startswith("MULTISPE")


def lines_of_plane(header: Mapping[str, Any]) -> int:
    """Lines of a plane of an image; 1 of an image of one axis."""
    return int(header.get("NAXIS2", 1)) if int(header.get("NAXIS", 1)) > 1 else 1


def multispec_wavelengths(
    name: str, header: Mapping[str, Any], rows: Sequence[int], pixels: int
) -> Array:
    """Wavelengths [n, P] of rows (from 0, of all planes) in the unit of WAT1; NaN behind the last.

    Raises
    ------
    GridMismatch : a line has no dispersion function, one that is not known, or none of wavelengths.
    """
    said = {int(number): text for number, text in _LINE.findall(wat_text(header, 2))}
    physical = _physical(header, "1", np.arange(1.0, pixels + 1))
    found = np.full((len(rows), pixels), np.nan)
    for place, row in enumerate(rows):
        line = _line_of(header, row)
        if line not in said:
            raise _unread(name, f"WAT2 has no spec{line}, the wavelengths of line {line}")
        try:
            found[place] = _along_line(said[line], physical)
        except (ValueError, IndexError) as error:
            raise _unread(name, f"spec{line} of WAT2 is not understood ({error})") from None
    return found


def _unread(name: str, problem: str) -> GridMismatch:
    return GridMismatch(
        f"{name}: {problem}",
        expected="specN of IRAF's MULTISPEC format: linear, log-linear, Chebyshev or Legendre "
        "polynomials, splines or an array of pixels",
        cure="Name the wavelengths in ingest.spectra.layout, or resample the spectra (IRAF: "
        "dispcor).",
    )


def wat_text(header: Mapping[str, Any], axis: int) -> str:
    """The text that IRAF spreads over WAT2_001, WAT2_002, ... of an axis."""
    cards = {str(key).upper(): str(value) for key, value in header.items()}
    keys = sorted(key for key in cards if re.fullmatch(rf"WAT{axis}_\d+", key))
    return "".join(cards[key].ljust(_CARD_TEXT) for key in keys)


def _physical(header: Mapping[str, Any], axis: str, logical: Array) -> Array:
    """Coordinates of the image that was extracted, of which this one may be a section."""
    scale = float(header.get(f"LTM{axis}_{axis}", 1) or 1)
    return np.asarray((logical - float(header.get(f"LTV{axis}", 0))) / scale)


def _line_of(header: Mapping[str, Any], row: int) -> int:
    """The physical line of a row."""
    lines = lines_of_plane(header)
    places = [int(number) for number in str(header.get("WAXMAP01", "")).split()]
    if lines == 1 and len(places) >= 4 and places[2] == 0:  # a line cut out of an image
        return places[3] + 1
    return round(float(_physical(header, "2", np.array(row % lines + 1.0))))


def _along_line(text: str, physical: Array) -> Array:
    """Wavelengths [P] at physical pixels, of the attribute of a line."""
    fields = text.split()
    kind, first, step = int(float(fields[2])), float(fields[3]), float(fields[4])
    last, doppler = float(fields[5]), 1 + float(fields[6])
    with np.errstate(all="ignore"):  # what comes out of nonsense is refused as a grid
        if kind in (_LINEAR, _LOG):
            found = first + step * (physical - 1)
            found = 10.0**found if kind == _LOG else found
        elif kind == _FUNCTIONS:
            found = _weighted(_functions([float(n) for n in fields[_COMMON_FIELDS:]]), physical)
        else:
            raise ValueError(f"type {kind}: no wavelengths")
    return np.where(physical < last + 1, found / doppler, np.nan)


def _weighted(functions: Sequence[_Function], physical: Array) -> Array:
    total = sum(one.weight for one in functions)
    if not total:
        raise ValueError("no function with a weight")
    return np.asarray(sum(one.weight * one.wavelength(physical) for one in functions) / total)


def _functions(numbers: Sequence[float]) -> list[_Function]:
    """The dispersion functions behind the common fields, one after the other."""
    found, place = list[_Function](), 0
    while place < len(numbers):
        weight, zero, kind, order = numbers[place : place + 4]
        start, count = _coefficients(int(kind), int(order))
        end = place + start + count
        if end > len(numbers):
            raise ValueError(f"{end - len(numbers)} numbers are missing")
        limits, values = numbers[place + 4 : place + start], numbers[place + start : end]
        found.append(_Function(weight, _function(int(kind), int(order), zero, limits, values)))
        place = end
    return found


def _coefficients(kind: int, order: int) -> tuple[int, int]:
    """Fields before the coefficients of a function, and how many these are."""
    more = {_CHEBYSHEV: 0, _LEGENDRE: 0, _CUBIC_SPLINE: 3, _LINEAR_SPLINE: 1, _PIXELS: 0}
    if kind not in more or order < 1:
        raise ValueError(f"a function of type {kind} and order {order}")
    return (4 if kind == _PIXELS else 6), order + more[kind]


def _function(
    kind: int, order: int, zero: float, limits: Sequence[float], values: Sequence[float]
) -> Callable[[Array], Array]:
    """A function of physical pixels [P]; ``limits``: those that it was fitted between."""
    held = np.asarray(values)
    if kind == _PIXELS:
        return lambda p: zero + np.interp(p, np.arange(1, order + 1), held)
    low, high = limits
    if low == high:
        raise ValueError(f"it was fitted from pixel {low:g} to {high:g}")
    if kind in (_CHEBYSHEV, _LEGENDRE):
        series = chebyshev.chebval if kind == _CHEBYSHEV else legendre.legval
        return lambda p: zero + np.asarray(series((2 * p - low - high) / (high - low), held))
    spline = _cubic if kind == _CUBIC_SPLINE else _linear
    return lambda p: zero + spline((p - low) / (high - low) * order, order, held)


def _linear(place: Array, pieces: int, values: Array) -> Array:
    """Linear spline at ``place`` [P], in pieces from the first knot."""
    piece = np.clip(place.astype(int), 0, pieces - 1)
    b = place - piece
    return np.asarray((1 - b) * values[piece] + b * values[piece + 1])


def _cubic(place: Array, pieces: int, values: Array) -> Array:
    """Cubic spline at ``place`` [P], in pieces from the first knot."""
    piece = np.clip(place.astype(int), 0, pieces - 1)
    b = place - piece
    a = 1 - b
    shares = (a**3, 1 + 3 * a * (1 + a * b), 1 + 3 * b * (1 + a * b), b**3)
    return np.asarray(sum(share * values[piece + n] for n, share in enumerate(shares)))
