"""Figures of trust: coverage, ensemble size, attenuation and what undoing it costs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.evaluation.metrics import Row
from distcnn.report.figures.style import (
    BLUE,
    FAINT_INK,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    axis_title,
    grid,
    panels,
    symbol,
)

Array = np.ndarray[Any, Any]

EXPECTED = {"within_68": 0.6827, "within_95": 0.9545}
_TITLES = {"within_68": "within 1 error", "within_95": "within 2 errors"}
_SOURCES = ((0.0, BLUE), (0.25, "white"))
"""Judged stars and the package's own table: shift along the axis, and filling."""


def coverage_figure(
    judged: Sequence[Row],
    package: Sequence[Row],
    names: Sequence[str],
    band: tuple[float, float],
) -> Figure | None:
    """Fraction within 1 and 2 quoted errors by S/N; the package's own table hollow."""
    judged = [row for row in judged if row["stars"]]
    shown = [name for name in names if any(row["label"] == name for row in judged)]
    if not shown:
        return None
    bins = list(dict.fromkeys(row["snr"] for row in judged))
    package = [row for row in package if row["snr"] in bins]
    figure, axes = panels(2, len(shown), width=max(2.2, 10.8 / len(shown)), height=2.2)
    for line, (key, wide) in enumerate((("within_68", band), ("within_95", (0.93, 0.97)))):
        found = [row[key] for row in judged if row["stars"] >= 20] or [EXPECTED[key]]
        for ax, name in zip(axes[line], shown, strict=True):
            ax.axhspan(*wide, color=GREEN, alpha=0.16, lw=0)
            ax.axhline(EXPECTED[key], color=GREEN, lw=1)
            for (shift, fill), rows in zip(_SOURCES, (judged, package), strict=True):
                mine = [row for row in rows if row["label"] == name]
                place = [bins.index(row["snr"]) + shift for row in mine]
                _points(ax, place, mine, key, fill, upright=True)
            ax.set_xticks(range(len(bins)), [text.replace(">=", "≥") for text in bins])
            ax.tick_params(axis="x", labelrotation=35)
            ax.set_xlim(-0.5, len(bins) - 0.5)
            ax.set_ylim(min(wide[0], *found) - 0.05, max(wide[1], *found) + 0.04)
            ax.set_title(symbol(name) if line == 0 else "")
            ax.set_xlabel("S/N")
            grid(ax, "y")
            ax.label_outer()
        axes[line, 0].set_ylabel(_TITLES[key])
    return figure


def _points(
    ax: Axes, place: Sequence[float], rows: Sequence[Row], key: str, fill: str, *, upright: bool
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


def cells_figure(
    judged: Sequence[Row], package: Sequence[Row], names: Sequence[str]
) -> Figure | None:
    """Coverage per label and population; judged stars filled, the package's own table hollow."""
    if not any(row["cell"] != "all" for row in (*judged, *package)):
        return None
    order = list(dict.fromkeys(row["cell"] for row in (*judged, *package)))
    shown = [name for name in names if any(row["label"] == name for row in (*judged, *package))]
    figure, axes = panels(
        1, len(shown), width=max(2.2, 10.8 / len(shown)), height=1.1 + 0.3 * len(order)
    )
    for ax, name in zip(axes[0], shown, strict=True):
        for key, wanted in EXPECTED.items():
            ax.axvline(wanted, color=GREEN, lw=1)
            ax.axvspan(wanted - 0.02, wanted + 0.02, color=GREEN, alpha=0.14, lw=0)
            for (shift, fill), rows in zip(_SOURCES, (judged, package), strict=True):
                mine = [row for row in rows if row["label"] == name]
                place = [order.index(row["cell"]) + shift for row in mine]
                _points(ax, place, mine, key, fill, upright=False)
        ax.set_yticks(range(len(order)), order)
        ax.set_ylim(len(order) - 0.5, -0.5)
        ax.set_xlim(0.5, 1.01)
        ax.set_title(symbol(name))
        ax.set_xlabel("fraction within")
        grid(ax, "x")
        ax.label_outer()
    return figure


def ensemble_figure(rows: Sequence[Row], names: Sequence[str]) -> Figure | None:
    """Scatter and coverage against the number of members, calibrated for each number."""
    if len({row["members"] for row in rows}) < 2:
        return None
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    bins = list(dict.fromkeys(row["snr"] for row in rows))[:4]
    figure, axes = panels(2, len(shown), width=max(2.2, 10.8 / len(shown)), height=2.3)
    for column, name in enumerate(shown):
        for text, colour in zip(bins, (INK, BLUE, ORANGE, PURPLE), strict=False):
            mine = [row for row in rows if (row["label"], row["snr"]) == (name, text)]
            size = [row["members"] for row in mine]
            label = "all S/N" if text == "all" else f"S/N {text.replace('>=', '≥')}"
            style = {"color": colour, "marker": "o", "ms": 3.5, "lw": 1.2, "label": label}
            axes[0, column].plot(size, [row["std"] for row in mine], **style)
            axes[1, column].plot(size, [row["within_68"] for row in mine], **style)
        axes[0, column].set_title(axis_title(name))
        axes[1, column].axhspan(0.6627, 0.7027, color=GREEN, alpha=0.14, lw=0)
        axes[1, column].axhline(0.6827, color=GREEN, lw=1)
        axes[1, column].set_ylim(0.58, 0.78)
        axes[1, column].set_xlabel("members")
        for ax in axes[:, column]:
            _size_axis(ax, sorted({row["members"] for row in rows}))
        axes[0, column].tick_params(labelbottom=False)
    axes[0, 0].set_ylabel("std of residuals")
    axes[1, 0].set_ylabel("within 1 error")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
    return figure


def _size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    grid(ax)


def attenuation_figure(rows: Sequence[Row], names: Sequence[str]) -> Figure | None:
    """Slope against S/N, and the scatter that the debiased labels cost."""
    if not rows:
        return None
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    figure, axes = panels(2, len(shown), width=max(2.2, 10.8 / len(shown)), height=2.3)
    for column, name in enumerate(shown):
        mine = [row for row in rows if row["label"] == name]
        above, below = axes[0, column], axes[1, column]
        above.axhspan(0.97, 1.03, color=GREEN, alpha=0.14, lw=0)
        above.axhline(1, color=GREEN, lw=1)
        _line(above, mine, "expected", color=FAINT_INK, ls=":", label="least squares")
        for ending, (colour, marker, text) in _KINDS.items():
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
    axes[0, 0].set_ylabel("slope against truth")
    axes[1, 0].set_ylabel("std of residuals")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
    return figure


_KINDS = {"": (BLUE, "o", "as predicted"), "_debiased": (ORANGE, "s", "debiased")}


def _line(ax: Axes, rows: Sequence[Row], key: str, **style: Any) -> None:
    """A line through the S/N bins; all stars stand apart before it."""
    value = np.array([row.get(key, np.nan) for row in rows], float)
    if not np.isfinite(value).any():
        return
    texts = [row["snr"].replace(">=", "≥") for row in rows]
    first = 1 if texts[0] == "all" else 0
    ax.plot(
        texts[:first], value[:first], **style | {"label": None, "marker": style.get("marker", "_")}
    )
    ax.plot(texts[first:], value[first:], **style)


def poor_figure(rows: Sequence[Row]) -> Figure | None:
    """Bias of metallicities against the reference, faint and bright."""
    if not rows:
        return None
    panels_of = list(dict.fromkeys((row["label"], row["snr"]) for row in rows))
    figure, axes = panels(1, len(panels_of), width=10.8 / len(panels_of), height=2.9)
    for ax, (name, text) in zip(axes[0], panels_of, strict=True):
        mine = [row for row in rows if (row["label"], row["snr"]) == (name, text)]
        centre = [(row["low"] + row["high"]) / 2 for row in mine]
        ax.axhspan(-0.1, 0.1, color=GREEN, alpha=0.14, lw=0)
        ax.axhline(0, color=GREEN, lw=1)
        for ending, (colour, marker, kind) in _KINDS.items():
            value = [row.get(f"bias{ending}", np.nan) for row in mine]
            if np.isfinite(value).any():
                error = [row.get(f"error{ending}", np.nan) for row in mine]
                style = {"color": colour, "marker": marker, "ms": 4.5, "capsize": 2, "lw": 1.2}
                ax.errorbar(centre, value, error, label=kind, **style)
        ax.set_title(f"{symbol(name)}, S/N {text.replace('>=', '≥')}")
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
