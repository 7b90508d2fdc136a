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
        for key, form, colour in (("bound", "s--", GREEN), ("scatter", "o-", BLUE)):
            value = np.array([float(row[key]) for row in mine])
            # All stars are no bin beside the others.
            ax.plot(place[:1], value[:1], form[0], color=colour, ms=4)
            ax.plot(place[1:], value[1:], form, color=colour, ms=4, label=key)
        ax.set_xticks(place, [snr_title(str(row["snr"])) for row in mine], fontsize=7)
        ax.set_ylim(bottom=0)
        ax.set_title(axis_title(name))
        ax.set_xlabel("S/N")
        grid(ax, "y")
    figure.legend()
    figure.set_ylabel(0, "label units")
    return figure.figure
