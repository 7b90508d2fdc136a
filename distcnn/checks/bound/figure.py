"""Figure of the bound: scatter and bound against S/N."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from distcnn.checks.base import AnswerRow
from distcnn.style import BLUE, GREEN, axis_title, grid, snr_title, wrapped_panels


def draw_bound(rows: Sequence[AnswerRow], names: Sequence[str]) -> Figure:
    """Robust scatter of every label in bins of S/N, and the least that is possible."""
    figure = wrapped_panels(len(names), height=2.4)
    for ax, name in zip(figure.axes[0], names, strict=True):
        mine = [row for row in rows if row["label"] == name]
        place = np.arange(len(mine))
        ax.plot(
            place, [float(row["bound"]) for row in mine], "s--", color=GREEN, ms=4, label="bound"
        )
        ax.plot(place, [float(row["scatter"]) for row in mine], "o-", color=BLUE, ms=4,
                label="scatter")  # fmt: skip
        ax.set_xticks(place, [snr_title(str(row["snr"])) for row in mine], fontsize=7)
        ax.set_ylim(bottom=0)
        ax.set_title(axis_title(name))
        grid(ax, "y")
    figure.legend()
    figure.set_ylabel(0, "label units")
    return figure.figure
