"""The figure of ``distcnn compare``: scatter and coverage of every method, label by label."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distcnn.evaluation.judged_methods import MethodRow
from distcnn.stats import WITHIN_68
from distcnn.style import (
    GREEN,
    METHOD_COLOURS,
    axis_title,
    grid,
    snr_title,
    symbol,
    wrapped_panels,
)

INCHES_PER_METHOD = 0.2


def draw_methods(rows: Sequence[MethodRow]) -> Figure:
    """Methods from top to bottom, one panel per label; above 1.48 MAD, below coverage.

    Every S/N bin has a colour; "all" is a ring.
    """
    labels = list(dict.fromkeys(row["label"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    height = 1.0 + INCHES_PER_METHOD * len(methods)
    drawn = wrapped_panels(len(labels), height=height, lines=2, min_width=2.4)
    for number, label in enumerate(labels):
        mine = [row for row in rows if row["label"] == label]
        scatter, coverage = drawn.axes[:, number]
        _draw(scatter, mine, methods, [row["mad"] for row in mine])
        scatter.set_xlim(left=0)
        scatter.xaxis.set_major_locator(MaxNLocator(4))
        scatter.set_xlabel("1.48 MAD")
        scatter.set_title(axis_title(label))
        _draw(coverage, mine, methods, [row["within_68"] for row in mine])
        coverage.axvline(WITHIN_68, color=GREEN, lw=1)
        coverage.set_xlim(0, 1)
        coverage.set_xlabel("fraction within one error")
        coverage.set_title(symbol(label))
        for ax in (scatter, coverage):
            if number % drawn.across:
                ax.tick_params(labelleft=False)
    drawn.legend()
    return drawn.figure


def _draw(ax: Axes, rows: Sequence[MethodRow], methods: list[str], values: list[float]) -> None:
    bins = list(dict.fromkeys(row["snr"] for row in rows))
    for place, text in enumerate(bins):
        at = [n for n, row in enumerate(rows) if row["snr"] == text]
        y = [methods.index(rows[n]["method"]) for n in at]
        x = [values[n] for n in at]
        whole = text == "all"
        colour = "black" if whole else METHOD_COLOURS[(place - 1) % len(METHOD_COLOURS)]
        ax.plot(
            x,
            y,
            "o",
            color=colour,
            mfc="none" if whole else colour,
            ms=8 if whole else 4.5,
            mew=1.2,
            ls="none",
            label="all S/N" if whole else f"S/N {snr_title(text)}",
        )
    ax.set_yticks(np.arange(len(methods)), methods, fontsize=8)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    grid(ax)
