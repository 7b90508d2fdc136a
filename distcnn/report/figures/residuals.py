"""Figures that judge: residuals, precision and pulls, beside rivals on the same stars."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.evaluation.metrics import Row, groups, residual_row
from distcnn.evaluation.sample import Stars
from distcnn.report.figures.style import (
    BLUE,
    FAINT_INK,
    INK,
    MARKERS,
    METHOD_COLOURS,
    RED,
    axis_title,
    bounds,
    density,
    grid,
    number,
    panels,
    plain_ticks,
    symbol,
)

Array = np.ndarray[Any, Any]

_STATED = {"bias": "bias", "std": "std", "1.48 MAD": "mad"}


def residuals(stars: Stars, names: Sequence[str], edges: Sequence[float]) -> Figure | None:
    """Prediction minus reference against the reference: all stars, and the faintest bin."""
    judged = stars.take(stars.judged)
    if not len(judged):
        return None
    shown = [name for name in names if np.isfinite(judged.reference[:, names.index(name)]).any()]
    parts = groups(judged.snr, edges)
    parts = [parts[0], *[part for part in parts[1:] if part[1].sum() >= 20][:1]]
    figure, axes = panels(len(shown), len(parts), width=10.8 / len(parts), height=2.2)
    for row, name in enumerate(shown):
        column = names.index(name)
        truth, gap = judged.reference[:, column], judged.label[:, column]
        limits = bounds(gap - truth, tail=0.005, margin=0.25)
        for ax, (text, inside) in zip(axes[row], parts, strict=True):
            ax.set_xlim(*bounds(truth))
            ax.set_ylim(*limits)
            _residual_panel(ax, truth[inside], (gap - truth)[inside], name)
            title = "all S/N" if text == "all" else f"S/N {text.replace('>=', '≥')}"
            ax.set_title(f"{symbol(name)}, {title}", fontsize=9)
            ax.set_xlabel(f"reference {axis_title(name)}", fontsize=8.5)
        axes[row, 0].set_ylabel(axis_title(name, "Δ "))
    return figure


def _residual_panel(ax: Axes, truth: Array, gap: Array, name: str) -> None:
    good = np.isfinite(truth) & np.isfinite(gap)
    truth, gap = truth[good], gap[good]
    grid(ax)
    if not len(truth):
        return
    density(ax, truth, gap, bins=70)
    ax.axhline(0, color=INK, lw=0.9)
    centres, lines = _running(truth, gap)
    if len(centres):
        ax.plot(centres, lines[1], color=RED, lw=1.8)
        ax.plot(centres, lines[[0, 2]].T, color=RED, lw=1, ls="--")
    row = residual_row(truth + gap, truth)
    values = [f"{text} {number(row[key], name)}" for text, key in _STATED.items()]
    ax.set_title("   ".join(values), loc="right", fontsize=8, fontweight="normal")


def _running(x: Array, y: Array, bins: int = 14) -> tuple[Array, Array]:
    """16th, 50th and 84th percentile of y in bins of x that hold at least 15 stars."""
    low, high = (float(value) for value in np.quantile(x, [0.005, 0.995]))
    edges = np.linspace(low, high, bins + 1)
    number = np.digitize(x, edges)
    used = [n for n in range(1, bins + 1) if (number == n).sum() >= 15]
    centres = np.array([(edges[n - 1] + edges[n]) / 2 for n in used])
    lines = [np.quantile(y[number == n], [0.16, 0.5, 0.84]) for n in used]
    return centres, np.array(lines).T


def precision(rows: Sequence[Row], names: Sequence[str]) -> Figure | None:
    """Robust scatter (1.48 MAD) against S/N for every method."""
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    bins = list(dict.fromkeys(row["snr"] for row in rows if row["snr"] != "all"))
    if not shown or not bins:
        return None
    known = list(dict.fromkeys(row["method"] for row in rows))
    figure, axes = panels(1, len(shown), width=max(2.2, 10.8 / len(shown)), height=2.9)
    for ax, name in zip(axes[0], shown, strict=True):
        for index, method in enumerate(known):
            value = {
                r["snr"]: r["mad"] for r in rows if (r["label"], r["method"]) == (name, method)
            }
            line = [value.get(text, np.nan) for text in bins]
            style = {"color": METHOD_COLOURS[index % 6], "marker": MARKERS[index % 6]}
            ax.plot(
                [text.replace(">=", "≥") for text in bins],
                line,
                lw=1.6,
                ms=5,
                label=method,
                **style,
            )
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
        ax.tick_params(axis="x", labelrotation=35)
        ax.set_title(axis_title(name))
        ax.set_xlabel("S/N")
        grid(ax)
    axes[0, 0].set_ylabel("1.48 MAD of residuals")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper left", ncols=len(known))
    return figure


def pulls(stars: Stars, names: Sequence[str]) -> Figure | None:
    """Residual over quoted error, beside the unit Gaussian."""
    judged = stars.take(stars.judged)
    total = np.hypot(judged.label_error, judged.reference_error)
    pull = (judged.label - judged.reference) / total
    shown = [c for c in range(len(names)) if np.isfinite(pull[:, c]).any()]
    if not shown:
        return None
    figure, axes = panels(1, len(shown), width=max(2.2, 10.8 / len(shown)), height=2.5)
    at = np.linspace(-5, 5, 201)
    for ax, column in zip(axes[0], shown, strict=True):
        good = pull[np.isfinite(pull[:, column]), column]
        edges = np.linspace(-5, 5, 51)
        ax.hist(np.clip(good, -4.99, 4.99), edges, density=True, color=BLUE, alpha=0.55)
        ax.plot(at, [NormalDist().pdf(x) for x in at], color=INK, lw=1.2)
        ax.set_title(symbol(names[column]))
        ax.set_xlabel("residual / quoted error")
        ax.set_yticks([])
        ax.set_xticks([-4, -2, 0, 2, 4])
        ax.spines["left"].set_visible(False)
        ax.text(
            0.98,
            0.95,
            f"1.48 MAD {_width(good):.2f}\nstd {good.std():.2f}\n"
            f"{(np.abs(good) > 3).mean():.1%} beyond 3",
            transform=ax.transAxes,
            ha="right",
            va="top",
            fontsize=8,
            color=FAINT_INK,
        )
    return figure


def _width(pull: Array) -> float:
    return float(1.4826 * np.median(np.abs(pull - np.median(pull))))
