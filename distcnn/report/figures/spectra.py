"""Example spectra: what was measured, what was masked, and what came of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.evaluation.sample import Stars
from distcnn.report.figures.style import (
    BLUE,
    FAINT_INK,
    ORANGE,
    PURPLE,
    RED,
    bounds,
    grid,
    panels,
    symbol,
)
from distcnn.schema import LABELS, Flag, MaskBit
from distcnn.survey import Region, Store

Array = np.ndarray[Any, Any]

_MASK_COLOURS = {
    MaskBit.MISSING: FAINT_INK,
    MaskBit.OUTLIER: RED,
    MaskBit.RANGE: PURPLE,
    MaskBit.EDGE: ORANGE,
}


def spectra(stars: Stars, names: Sequence[str], survey: Store | None, number: int) -> Figure | None:
    """A few spectra of different kinds, masked pixels marked, with labels and flags."""
    if survey is None or "flux" not in survey.variables or not number or not len(stars):
        return None
    chosen = _choose(stars, number)
    figure, axes = panels(len(chosen), 1, width=10.8, height=1.95)
    wavelength = survey.coordinate("wavelength")
    for ax, (why, position) in zip(axes[:, 0], chosen, strict=True):
        row = int(stars.row[position])
        names_read = [n for n in ("flux", "flux_error", "mask") if n in survey.variables]
        block = survey.read(Region(row, row + 1), names_read)
        _spectrum(ax, wavelength, {name: values[0] for name, values in block.items()})
        ax.set_title(_headline(stars, position, names, why), fontsize=8.5)
        ax.label_outer()
    attrs = survey.coordinate_attrs("wavelength")
    medium = f", {attrs['medium']}" if "medium" in attrs else ""
    axes[-1, 0].set_xlabel(f"wavelength [{attrs.get('unit', 'nm')}{medium}]")
    return figure


def _spectrum(ax: Axes, wavelength: Array, star: dict[str, Array]) -> None:
    flux = star["flux"]
    if "flux_error" in star:
        low, high = flux - star["flux_error"], flux + star["flux_error"]
        ax.fill_between(wavelength, low, high, color=BLUE, alpha=0.2, lw=0)
    ax.plot(wavelength, flux, color=BLUE, lw=0.8)
    ax.set_xlim(float(wavelength[0]), float(wavelength[-1]))
    ax.set_ylim(*bounds(flux, tail=0.0005, margin=0.12))
    ax.set_ylabel("flux")
    grid(ax, "x")
    if "mask" not in star:
        return
    step = float(np.median(np.diff(wavelength)))
    for bit, colour in _MASK_COLOURS.items():
        for start, stop in _runs((star["mask"] & np.uint8(bit)) != 0):
            left, right = wavelength[start] - step / 2, wavelength[stop - 1] + step / 2
            # Two pixels at least, or a single one would be too thin to be seen.
            right = max(right, left + 2 * step)
            ax.axvspan(left, right, color=colour, alpha=0.3, lw=0, ymax=1)


def _runs(mask: Array) -> Iterator[tuple[int, int]]:
    """Half-open index ranges where the mask is set."""
    change = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    yield from ((int(a), int(b)) for a, b in change.reshape(-1, 2))


def _headline(stars: Stars, position: int, names: Sequence[str], why: str) -> str:
    values = []
    for column, name in enumerate(names):
        info, digits = LABELS.get(name), 0 if name == "teff" else 2
        label, error = stars.label[position, column], stars.label_error[position, column]
        unit = f" {info.unit}" if info and info.unit == "K" else ""
        values.append(f"{symbol(name)} {label:.{digits}f}±{error:.{digits}f}{unit}")
    flags = "|".join(flag.name or "" for flag in Flag if stars.flags[position] & flag) or "no flag"
    trouble = f" ({stars.trouble[position]})" if stars.trouble[position] else ""
    first = f"{why}{trouble}: {stars.source_id[position]}, S/N {stars.snr[position]:.0f}, {flags}"
    return f"{first}\n{'   '.join(values)}"


def _choose(stars: Stars, number: int) -> list[tuple[str, int]]:
    """Stars of different kinds: the question that picked them, and their positions."""
    clean = (stars.flags == 0) & stars.drawn
    novel = (stars.flags & np.uint32(Flag.NOVEL_SPECTRUM)) != 0
    faint = np.abs(stars.snr - 20)
    wishes = [
        ("high S/N", clean, -stars.snr),
        ("S/N near 20", clean, faint),
        ("most unusual", novel, -stars.novelty),
        ("most masked pixels", stars.valid_pixels > 0, stars.valid_pixels),
        ("cosmic hit", _kind(stars, "cosmic"), -stars.snr),
        ("double-lined binary", _kind(stars, "binary"), np.abs(stars.snr - 100)),
        ("wrong velocity", _kind(stars, "wrong_rv"), np.abs(stars.snr - 100)),
        ("typical", clean, np.abs(stars.snr - np.nanmedian(stars.snr))),
        ("flagged", stars.flags != 0, faint),
    ]
    chosen: dict[int, str] = {}
    for why, mask, order in wishes:
        free = np.flatnonzero(mask & np.isfinite(order))
        free = free[~np.isin(free, list(chosen))]
        if len(free) and len(chosen) < number:
            chosen[int(free[np.argmin(order[free])])] = why
    return [(why, position) for position, why in chosen.items()] or [("first star", 0)]


def _kind(stars: Stars, kind: str) -> Array:
    return np.array([kind in text.split("+") for text in stars.trouble], bool)


MASK_LEGEND = {bit.name: colour for bit, colour in _MASK_COLOURS.items()}
