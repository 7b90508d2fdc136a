"""Figures of completeness: which stars have labels, by S/N, by magnitude and over the sky."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.evaluation.records import CompletenessRow, SkyCounts
from distcnn.style import (
    BLUE,
    DENSITY,
    GRID,
    INK,
    ORANGE,
    ORDERED,
    PAGE_WIDTH,
    grid,
    panels,
    snr_title,
)

_AXES = {"S/N": "S/N per pixel", "magnitude": "reference magnitude [mag]"}
_DEC_TICKS, _RA_TICKS = (-60, -30, 0, 30, 60), (0, 60, 120, 180, 240, 300, 360)


def completeness(rows: Sequence[CompletenessRow]) -> Figure | None:
    """Fractions with labels and without flags in bins of S/N and magnitude, above the counts."""
    kinds = [by for by in _AXES if any(row["by"] == by for row in rows)]
    if not kinds:
        return None
    figure, axes = panels(2, len(kinds), width=PAGE_WIDTH / len(kinds), height=1.9)
    for (above, below), by in zip(axes.T, kinds, strict=True):
        mine = [row for row in rows if row["by"] == by]
        _fractions(above, mine)
        below.bar(
            range(len(mine)), [row["stars"] for row in mine], color=GRID, edgecolor=INK, lw=0.5
        )
        names = [snr_title(row["bin"]) for row in mine]
        below.set_xticks(range(len(mine)), names, rotation=40, ha="right", rotation_mode="anchor")
        below.set_xlabel(_AXES[by])
        above.set_xticks(range(len(mine)), [])
        for ax in (above, below):
            ax.set_xlim(-0.6, len(mine) - 0.4)
            grid(ax, "y")
    axes[0, 0].set_ylabel("fraction of the stars")
    axes[1, 0].set_ylabel("stars")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _fractions(ax: Axes, rows: Sequence[CompletenessRow]) -> None:
    place = np.arange(len(rows))
    style: Any = {"lw": 1.4, "ms": 5}
    stars = [max(row["stars"], 1) for row in rows]
    for key, text, colour, marker in (
        ("labels", "with labels", BLUE, "o"),
        ("unflagged", "with labels and no flag", ORANGE, "s"),
    ):
        parts = [row[key] / count for row, count in zip(rows, stars, strict=True)]  # type: ignore[literal-required]
        ax.plot(place, parts, color=colour, marker=marker, label=text, **style)
    ax.set_ylim(0, 1.05)


def sky(counts: SkyCounts | None) -> Figure | None:
    """Number of stars and fraction without a flag in cells of equal area."""
    if counts is None:
        return None
    stars, good = np.array(counts["stars"], float), np.array(counts["unflagged"], float)
    figure, axes = panels(1, 2, width=PAGE_WIDTH / 2, height=3.0)
    known = np.where(stars > 0, stars, np.nan)
    for ax, values, text, colours in (
        (axes[0, 0], known, "stars", DENSITY),
        (axes[0, 1], good / known, "fraction without any flag", ORDERED),
    ):
        drawn = ax.imshow(
            values,
            origin="lower",
            extent=(0, 360, -1, 1),
            aspect="auto",
            cmap=colours,
            interpolation="nearest",
        )
        ax.set_xticks(_RA_TICKS)
        ax.set_yticks(np.sin(np.radians(_DEC_TICKS)), [f"{dec}" for dec in _DEC_TICKS])
        ax.set_xlabel("right ascension [deg]")
        ax.set_ylabel("declination [deg]")
        ax.invert_xaxis()
        figure.colorbar(drawn, ax=ax, label=text, pad=0.02)
    return figure
