"""Figure of bias and coverage along each label."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from distcnn.evaluation.records import RangeRow
from distcnn.stats import WITHIN_68
from distcnn.style import BLUE, GREEN, GRID, INK, axis_title, grid, symbol, wrapped_panels


def ranges(
    rows: Sequence[RangeRow], names: Sequence[str], band: tuple[float, float]
) -> Figure | None:
    """Mean residual and fraction within one quoted error in ranges of the predicted label."""
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    if not shown:
        return None
    figure = wrapped_panels(len(shown), lines=2, height=2.1)
    for (above, below), name in zip(figure.axes.T, shown, strict=True):
        mine = [row for row in rows if row["label"] == name]
        middle = [(row["low"] + row["high"]) / 2 for row in mine]
        half = [(row["high"] - row["low"]) / 2 for row in mine]
        scatter = np.array([row["mad"] for row in mine])
        above.fill_between(middle, -scatter, scatter, color=GRID, lw=0, step="mid")
        above.axhline(0, color=INK, lw=0.8)
        bias, error = ([row[key] for row in mine] for key in ("bias", "bias_error"))
        above.errorbar(middle, bias, yerr=error, xerr=half, fmt="o", color=BLUE, ms=4, lw=1)
        below.axhspan(*band, color=GREEN, alpha=0.16, lw=0)
        below.axhline(WITHIN_68, color=GREEN, lw=1)
        sampling = [np.sqrt(WITHIN_68 * (1 - WITHIN_68) / row["stars"]) for row in mine]
        inside = [row["within_68"] for row in mine]
        below.errorbar(middle, inside, yerr=sampling, xerr=half, fmt="o", color=BLUE, ms=4, lw=1)
        above.set_title(axis_title(name, "Δ "))
        below.set_xlabel(f"predicted {symbol(name)}")
        for ax in (above, below):
            grid(ax)
    figure.set_ylabel(0, "mean residual")
    figure.set_ylabel(1, "within 1 error")
    return figure.figure
