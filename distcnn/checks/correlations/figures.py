"""Figure of correlations: every test of every label beside its limit."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from distcnn.checks.base import AnswerRow
from distcnn.style import BLUE, FAINT_INK, GREEN, PAGE_WIDTH, RED, grid, panels, symbol

LINE_INCHES = 0.24


def draw_correlations(rows: Sequence[AnswerRow], names: Sequence[str]) -> Figure:
    """A line per test and label: the value, its error, and the least that is asked for."""
    tests = list(dict.fromkeys(str(row["test"]) for row in rows))
    figure, axes = panels(1, 1, width=PAGE_WIDTH, height=1.2 + LINE_INCHES * len(rows))
    ax, titles = axes[0, 0], []
    order = [row for test in tests for row in rows if row["test"] == test]
    for place, row in enumerate(order):
        value, error, least = (float(row[key]) for key in ("value", "value_error", "least"))
        colour = RED if row["fails"] else BLUE if least else FAINT_INK
        ax.errorbar(value, place, xerr=error, fmt="o", ms=4, capsize=2, lw=1.2, color=colour)
        if least:
            ax.plot([least, least], [place - 0.4, place + 0.4], color=GREEN, lw=2)
        label = str(row["label"])
        titles.append(f"{row['test']}  {symbol(label) if label in names else label}")
    ax.set_yticks(np.arange(len(order)), titles, fontsize=7)
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xlabel("value; the green mark is the least that is asked for")
    grid(ax, "x")
    return figure
