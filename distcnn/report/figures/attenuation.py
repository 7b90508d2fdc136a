"""Figures of attenuation: labels drawn to the mean, what undoing it costs, the metal-poor end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.evaluation.records import AttenuationRow, MetallicityBiasRow
from distcnn.style import (
    BLUE,
    FAINT_INK,
    GREEN,
    ORANGE,
    PAGE_WIDTH,
    axis_title,
    grid,
    panels,
    snr_title,
    symbol,
    wrapped_panels,
)

_ESTIMATES = {"": (BLUE, "o", "as predicted"), "_debiased": (ORANGE, "s", "debiased")}
"""Ending of the keys: colour, marker and name."""


def attenuation(rows: Sequence[AttenuationRow], names: Sequence[str]) -> Figure | None:
    """Slope against S/N, and the scatter that the debiased labels cost."""
    if not rows:
        return None
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    figure = wrapped_panels(len(shown), lines=2, height=2.3)
    for (above, below), name in zip(figure.axes.T, shown, strict=True):
        mine = [row for row in rows if row["label"] == name]
        above.axhspan(0.97, 1.03, color=GREEN, alpha=0.14, lw=0)
        above.axhline(1, color=GREEN, lw=1)
        _line(above, mine, "expected", color=FAINT_INK, ls=":", label="least squares")
        for ending, (colour, marker, text) in _ESTIMATES.items():
            style = {"color": colour, "marker": marker, "ms": 4, "lw": 1.2, "label": text}
            _line(above, mine, f"slope{ending}", **style)
            _line(below, mine, f"std{ending}", **style)
        above.set_title(axis_title(name))
        above.tick_params(labelbottom=False)
        below.set_ylim(0, 1.08 * below.get_ylim()[1])
        below.tick_params(axis="x", labelrotation=35)
        below.set_xlabel("S/N")
        grid(above)
        grid(below)
    figure.set_ylabel(0, "slope against truth")
    figure.set_ylabel(1, "std of residuals")
    figure.legend()
    return figure.figure


def _line(ax: Axes, rows: Sequence[AttenuationRow], key: str, **style: Any) -> None:
    """A line through the S/N bins; all stars stand apart before it."""
    value = np.array([row.get(key, np.nan) for row in rows], float)
    if not np.isfinite(value).any():
        return
    texts = [snr_title(row["snr"]) for row in rows]
    first = 1 if texts[0] == "all" else 0
    apart = style | {"label": None, "marker": style.get("marker", "_")}
    ax.plot(texts[:first], value[:first], **apart)
    ax.plot(texts[first:], value[first:], **style)


def metallicity_bias(rows: Sequence[MetallicityBiasRow]) -> Figure | None:
    """Bias of metallicities against the reference, faint and bright."""
    if not rows:
        return None
    panels_of = list(dict.fromkeys((row["label"], row["snr"]) for row in rows))
    figure, axes = panels(1, len(panels_of), width=PAGE_WIDTH / len(panels_of), height=2.9)
    for ax, (name, text) in zip(axes[0], panels_of, strict=True):
        mine = [row for row in rows if (row["label"], row["snr"]) == (name, text)]
        centre = [(row["low"] + row["high"]) / 2 for row in mine]
        ax.axhspan(-0.1, 0.1, color=GREEN, alpha=0.14, lw=0)
        ax.axhline(0, color=GREEN, lw=1)
        for ending, (colour, marker, kind) in _ESTIMATES.items():
            value = np.array([row.get(f"bias{ending}", np.nan) for row in mine], float)
            if np.isfinite(value).any():
                error = np.array([row.get(f"error{ending}", np.nan) for row in mine], float)
                style = {"color": colour, "marker": marker, "ms": 4.5, "capsize": 2, "lw": 1.2}
                ax.errorbar(centre, value, error, label=kind, **style)
        ax.set_title(f"{symbol(name)}, S/N {snr_title(text)}")
        ax.set_xlabel(f"reference {axis_title(name)}")
        grid(ax)
    low = min(ax.get_ylim()[0] for ax in axes[0])
    high = max(ax.get_ylim()[1] for ax in axes[0])
    for ax in axes[0]:
        ax.set_ylim(low, high)
        ax.label_outer()
    axes[0, 0].set_ylabel("mean residual [dex]")
    axes[0, 0].legend(loc="upper right")
    return figure
