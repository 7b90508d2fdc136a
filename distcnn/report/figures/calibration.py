"""Figures of calibration: do the quoted errors hold, in S/N bins, populations and ensembles."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.evaluation.records import CoverageRow, EnsembleSizeRow
from distcnn.stats import WITHIN_68, WITHIN_95
from distcnn.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    axis_title,
    grid,
    snr_title,
    symbol,
    wrapped_panels,
)

Key = Literal["within_68", "within_95"]
EXPECTED: dict[Key, float] = {"within_68": WITHIN_68, "within_95": WITHIN_95}
TOLERATED_68 = (WITHIN_68 - 0.02, WITHIN_68 + 0.02)
TOLERATED_95 = (0.93, 0.97)
MIN_STARS_FOR_LIMITS = 20
_TITLES = {"within_68": "within 1 error", "within_95": "within 2 errors"}
_SOURCES = ((0.0, BLUE), (0.25, "white"))
"""Evaluated stars and the package's own table: shift along the axis, and filling."""


def coverage(
    evaluated: Sequence[CoverageRow],
    package: Sequence[CoverageRow],
    names: Sequence[str],
    band: tuple[float, float],
) -> Figure | None:
    """Fraction within 1 and 2 quoted errors by S/N; the package's own table hollow."""
    evaluated = [row for row in evaluated if row["stars"]]
    shown = [name for name in names if any(row["label"] == name for row in evaluated)]
    if not shown:
        return None
    bins = list(dict.fromkeys(row["snr"] for row in evaluated))
    package = [row for row in package if row["snr"] in bins and row.get("cell", "all") == "all"]
    figure = wrapped_panels(len(shown), lines=2, height=2.2)
    bands: dict[Key, tuple[float, float]] = {"within_68": band, "within_95": TOLERATED_95}
    for line, (key, wide) in enumerate(bands.items()):
        found = [row[key] for row in evaluated if row["stars"] >= MIN_STARS_FOR_LIMITS]
        found = found or [EXPECTED[key]]
        for ax, name in zip(figure.axes[line], shown, strict=True):
            ax.axhspan(*wide, color=GREEN, alpha=0.16, lw=0)
            ax.axhline(EXPECTED[key], color=GREEN, lw=1)
            for (shift, fill), rows in zip(_SOURCES, (evaluated, package), strict=True):
                mine = [row for row in rows if row["label"] == name]
                place = [bins.index(row["snr"]) + shift for row in mine]
                _fractions(ax, place, mine, key, fill, upright=True)
            ax.set_xticks(range(len(bins)), [snr_title(text) for text in bins])
            ax.tick_params(axis="x", labelrotation=35)
            ax.set_xlim(-0.5, len(bins) - 0.5)
            ax.set_ylim(min(wide[0], *found) - 0.05, max(wide[1], *found) + 0.04)
            ax.set_title(symbol(name) if line == 0 else "")
            ax.set_xlabel("S/N")
            grid(ax, "y")
        figure.set_ylabel(line, _TITLES[key])
    figure.label_outer()
    return figure.figure


def _fractions(
    ax: Axes,
    place: Sequence[float],
    rows: Sequence[CoverageRow],
    key: Key,
    fill: str,
    *,
    upright: bool,
) -> None:
    """Fractions with their sampling errors."""
    value = [row[key] for row in rows]
    wanted = EXPECTED[key]
    error = [np.sqrt(wanted * (1 - wanted) / row["stars"]) for row in rows]
    style: dict[str, Any] = {"fmt": "o", "color": BLUE, "mfc": fill, "ms": 4.5, "capsize": 2}
    if upright:
        ax.errorbar(place, value, yerr=error, lw=1, **style)
    else:
        ax.errorbar(value, place, xerr=error, lw=1, **style)


def populations(
    evaluated: Sequence[CoverageRow], package: Sequence[CoverageRow], names: Sequence[str]
) -> Figure | None:
    """Coverage per label and population; the package's own table hollow."""
    package = [row for row in package if row["snr"] == "all"]
    both = (*evaluated, *package)
    if not any(row["cell"] != "all" for row in both):
        return None
    order = list(dict.fromkeys(row["cell"] for row in both))
    shown = [name for name in names if any(row["label"] == name for row in both)]
    figure = wrapped_panels(len(shown), height=1.1 + 0.3 * len(order))
    for ax, name in zip(figure.axes[0], shown, strict=True):
        for key, wanted in EXPECTED.items():
            ax.axvline(wanted, color=GREEN, lw=1)
            ax.axvspan(wanted - 0.02, wanted + 0.02, color=GREEN, alpha=0.14, lw=0)
            for (shift, fill), rows in zip(_SOURCES, (evaluated, package), strict=True):
                mine = [row for row in rows if row["label"] == name]
                place = [order.index(row["cell"]) + shift for row in mine]
                _fractions(ax, place, mine, key, fill, upright=False)
        ax.set_yticks(range(len(order)), order)
        ax.set_ylim(len(order) - 0.5, -0.5)
        ax.set_xlim(0.5, 1.01)
        ax.set_title(symbol(name))
        ax.set_xlabel("fraction within")
        grid(ax, "x")
    figure.label_outer()
    return figure.figure


def ensemble_size(rows: Sequence[EnsembleSizeRow], names: Sequence[str]) -> Figure | None:
    """Scatter and coverage against the number of members, calibrated for each number."""
    sizes = sorted({row["members"] for row in rows})
    if len(sizes) < 2:
        return None
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    bins = list(dict.fromkeys(row["snr"] for row in rows))[:4]
    figure = wrapped_panels(len(shown), lines=2, height=2.3)
    for (above, below), name in zip(figure.axes.T, shown, strict=True):
        for text, colour in zip(bins, (INK, BLUE, ORANGE, PURPLE), strict=False):
            mine = [row for row in rows if (row["label"], row["snr"]) == (name, text)]
            members = [row["members"] for row in mine]
            label = "all S/N" if text == "all" else f"S/N {snr_title(text)}"
            style = {"color": colour, "marker": "o", "ms": 3.5, "lw": 1.2, "label": label}
            above.plot(members, [row["std"] for row in mine], **style)
            below.plot(members, [row["within_68"] for row in mine], **style)
        above.set_title(axis_title(name))
        below.axhspan(*TOLERATED_68, color=GREEN, alpha=0.14, lw=0)
        below.axhline(WITHIN_68, color=GREEN, lw=1)
        below.set_ylim(0.58, 0.78)
        below.set_xlabel("members")
        for ax in (above, below):
            _size_axis(ax, sizes)
        above.tick_params(labelbottom=False)
    figure.set_ylabel(0, "std of residuals")
    figure.set_ylabel(1, "within 1 error")
    figure.legend()
    return figure.figure


def _size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    grid(ax)
