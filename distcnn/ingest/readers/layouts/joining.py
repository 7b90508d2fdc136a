"""Arms joined to one spectrum: in order of wavelength, each pixel once, gaps filled with NaN."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import RowProblem
from distcnn.schema import Reason

GAP_STEPS = 1.5
"""Steps between pixels of two arms from which on there is a gap between them."""

MAX_GAP_PIXELS = 1024
"""Pixels of NaN in a gap: more than a window of the continuum, which is not to span two arms."""


@dataclass(frozen=True)
class ArmSpectra:
    """An arm of some spectra: wavelength [P], flux [n, P] and its error, NaN where missing.

    ``rank`` is the arm's place in ``layout.arms``.
    """

    rank: int
    wavelength: Array
    flux: Array
    error: Array | None


@dataclass(frozen=True)
class JoinedSpectra:
    """Spectra on one grid [P] that increases."""

    wavelength: Array
    flux: Array
    error: Array | None


def join(arms: Sequence[ArmSpectra], overlap: str) -> JoinedSpectra:
    """One spectrum of several arms.

    Parameters
    ----------
    overlap : which pixels are kept where arms overlap, as ``SpectrumLayoutConfig.overlap``.

    Raises
    ------
    RowProblem : wavelengths of an arm are not in order, or arms overlap and may not.
    """
    ordered = sorted(map(in_increasing_order, arms), key=lambda arm: float(arm.wavelength[0]))
    parts = _without_overlap(ordered, overlap)
    filled: list[ArmSpectra] = []
    for part in parts:
        if filled:
            gap = _gap(filled[-1].wavelength, part.wavelength)
            if len(gap):
                filled.append(_nothing(gap, part))
        filled.append(part)
    wavelength = np.concatenate([part.wavelength for part in filled])
    flux = np.concatenate([part.flux for part in filled], axis=1)
    errors = [part.error for part in filled if part.error is not None]
    error = np.concatenate(errors, axis=1) if len(errors) == len(filled) else None
    return JoinedSpectra(wavelength, flux, error)


def in_increasing_order(arm: ArmSpectra) -> ArmSpectra:
    """The arm without padding, in increasing wavelength.

    Raises
    ------
    RowProblem : it has no two pixels, or its wavelengths are not in order.
    """
    known = np.isfinite(arm.wavelength)
    steps = np.diff(arm.wavelength[known])
    if len(steps) and (steps < 0).all():
        arm, known = _taken(arm, slice(None, None, -1)), known[::-1]
    elif not len(steps) or not (steps > 0).all():
        detail = "its wavelengths neither increase nor decrease throughout"
        raise RowProblem(Reason.GRID, detail if len(steps) else "it has no wavelengths")
    return arm if known.all() else _taken(arm, known)


def _taken(arm: ArmSpectra, pixels: Array | slice) -> ArmSpectra:
    error = None if arm.error is None else arm.error[:, pixels]
    return ArmSpectra(arm.rank, arm.wavelength[pixels], arm.flux[:, pixels], error)


def _without_overlap(arms: Sequence[ArmSpectra], overlap: str) -> list[ArmSpectra]:
    """The arms cut so that each begins behind the one before; empty ones are left out."""
    parts: list[ArmSpectra] = []
    for arm in arms:
        while parts and arm.wavelength[0] <= parts[-1].wavelength[-1]:
            before = parts.pop()
            if overlap == "refuse":
                detail = (
                    f"arms overlap from {arm.wavelength[0]:.6g} to {before.wavelength[-1]:.6g}; "
                    "set layout.overlap"
                )
                raise RowProblem(Reason.GRID, detail)
            kept, arm = _cut(before, arm, overlap)  # noqa: PLW2901 - the arm is cut
            if len(kept.wavelength):
                parts.append(kept)
            if not len(arm.wavelength):
                break
        if len(arm.wavelength):
            parts.append(arm)
    return parts


def _cut(blue: ArmSpectra, red: ArmSpectra, overlap: str) -> tuple[ArmSpectra, ArmSpectra]:
    """Two arms that overlap, each with the pixels that are kept of it."""
    first, last = float(red.wavelength[0]), float(blue.wavelength[-1])
    if overlap == "middle":
        border = (first + min(last, float(red.wavelength[-1]))) / 2
        return _taken(blue, blue.wavelength <= border), _taken(red, red.wavelength > border)
    if (blue.rank < red.rank) == (overlap == "first"):
        return blue, _taken(red, red.wavelength > last)
    # What lies behind a red arm that ends within the blue one is given up: it has no neighbour.
    return _taken(blue, blue.wavelength < first), red


def _gap(blue: Array, red: Array) -> Array:
    """Wavelengths of pixels of NaN that keep the borders of a gap, and its arms, apart."""
    left, right = blue[-1] - blue[-2] if len(blue) > 1 else 0.0, 0.0
    right = red[1] - red[0] if len(red) > 1 else left
    left = left or right
    width = red[0] - blue[-1]
    if width < GAP_STEPS * max(left, right):
        return np.empty(0)
    if width <= 2 * (left + right):
        return np.array([(blue[-1] + red[0]) / 2])
    number = min(int(width / max(left, right)) - 1, MAX_GAP_PIXELS)
    return np.linspace(blue[-1] + left, red[0] - right, max(number, 2))


def _nothing(wavelength: Array, like: ArmSpectra) -> ArmSpectra:
    flux = np.full((len(like.flux), len(wavelength)), np.nan)
    return ArmSpectra(like.rank, wavelength, flux, None if like.error is None else flux)
