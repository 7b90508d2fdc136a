"""Figures of residuals: against the reference, by S/N beside the baselines, and as pulls."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.evaluation import Sample
from distcnn.evaluation.metrics import (
    known_snr_groups,
    residual_row,
    running_percentiles,
)
from distcnn.evaluation.records import AccuracyRow
from distcnn.report.text.table import label_value
from distcnn.stats import robust_std
from distcnn.style import (
    BLUE,
    FAINT_INK,
    INK,
    MARKERS,
    METHOD_COLOURS,
    PAGE_WIDTH,
    RED,
    axis_title,
    bounds,
    density,
    empty,
    grid,
    panels,
    plain_ticks,
    snr_title,
    symbol,
    wrapped_panels,
)

MIN_STARS_IN_PANEL = 20


def residuals(sample: Sample, names: Sequence[str], edges: Sequence[float]) -> Figure | None:
    """Prediction minus reference against the reference: all stars, and the faintest bin."""
    evaluated = sample.take(sample.evaluated)
    if not len(evaluated):
        return None
    columns = [c for c in range(len(names)) if np.isfinite(evaluated.reference[:, c]).any()]
    parts = known_snr_groups(evaluated.snr, edges)
    parts = [parts[0], *[part for part in parts[1:] if part[1].sum() >= MIN_STARS_IN_PANEL][:1]]
    figure, axes = panels(len(columns), len(parts), width=PAGE_WIDTH / len(parts), height=2.2)
    for row, column in enumerate(columns):
        name = names[column]
        truth = evaluated.reference[:, column]
        residual = evaluated.label[:, column] - truth
        limits = bounds(residual, tail=0.005, margin=0.25)
        for ax, (text, inside) in zip(axes[row], parts, strict=True):
            ax.set_xlim(*bounds(truth))
            ax.set_ylim(*limits)
            _residual_panel(ax, truth[inside], residual[inside], name)
            title = "all S/N" if text == "all" else f"S/N {snr_title(text)}"
            ax.set_title(f"{symbol(name)}, {title}", fontsize=9)
            ax.set_xlabel(f"reference {axis_title(name)}", fontsize=8.5)
        axes[row, 0].set_ylabel(axis_title(name, "Δ "))
    return figure


def _residual_panel(ax: Axes, truth: Array, residual: Array, name: str) -> None:
    good = np.isfinite(truth) & np.isfinite(residual)
    truth, residual = truth[good], residual[good]
    grid(ax)
    if not len(truth):
        return
    density(ax, truth, residual, bins=70)
    ax.axhline(0, color=INK, lw=0.9)
    centres, lines = running_percentiles(truth, residual)
    if len(centres):
        ax.plot(centres, lines[1], color=RED, lw=1.8)
        ax.plot(centres, lines[[0, 2]].T, color=RED, lw=1, ls="--")
    row = residual_row(truth + residual, truth)
    values = {"bias": row["bias"], "std": row["std"], "1.48 MAD": row["mad"]}
    text = "   ".join(f"{key} {label_value(value, name)}" for key, value in values.items())
    ax.set_title(text, loc="right", fontsize=8, fontweight="normal")


def precision(rows: Sequence[AccuracyRow], names: Sequence[str]) -> Figure | None:
    """Robust scatter (1.48 MAD) against S/N for every method."""
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    bins = list(dict.fromkeys(row["snr"] for row in rows if row["snr"] != "all"))
    if not shown or not bins:
        return None
    known = list(dict.fromkeys(row["method"] for row in rows))
    figure = wrapped_panels(len(shown), height=2.9)
    for ax, name in zip(figure.axes[0], shown, strict=True):
        for index, method in enumerate(known):
            mine = [row for row in rows if (row["label"], row["method"]) == (name, method)]
            # One star has no scatter, and zero no place on a logarithmic axis.
            value = {row["snr"]: row["mad"] or np.nan for row in mine}
            line = [value.get(text, np.nan) for text in bins]
            style = {"color": METHOD_COLOURS[index % 6], "marker": MARKERS[index % 6]}
            places = [snr_title(text) for text in bins]
            ax.plot(places, line, lw=1.6, ms=5, label=method, **style)
        if np.isfinite([line.get_ydata() for line in ax.lines]).any():
            ax.set_yscale("log")
            plain_ticks(ax.yaxis)
        else:
            empty(ax, "too few stars")
        ax.tick_params(axis="x", labelrotation=35)
        ax.set_title(axis_title(name))
        ax.set_xlabel("S/N")
        grid(ax)
    figure.set_ylabel(0, "1.48 MAD of residuals")
    figure.legend()
    return figure.figure


def pulls(sample: Sample, names: Sequence[str]) -> Figure | None:
    """Residual over quoted error, beside the unit Gaussian."""
    pull = sample.take(sample.evaluated).pull
    shown = [c for c in range(len(names)) if np.isfinite(pull[:, c]).any()]
    if not shown:
        return None
    figure = wrapped_panels(len(shown), height=2.5)
    for ax, column in zip(figure.axes[0], shown, strict=True):
        _pull_panel(ax, pull[np.isfinite(pull[:, column]), column])
        ax.set_title(symbol(names[column]))
    return figure.figure


def _pull_panel(ax: Axes, pull: Array) -> None:
    at, edges = np.linspace(-5, 5, 201), list(np.linspace(-5, 5, 51))
    ax.hist(np.clip(pull, -4.99, 4.99), edges, density=True, color=BLUE, alpha=0.55)
    ax.plot(at, [NormalDist().pdf(x) for x in at], color=INK, lw=1.2)
    ax.set_xlabel("residual / quoted error")
    ax.set_yticks([])
    ax.set_xticks([-4, -2, 0, 2, 4])
    ax.spines["left"].set_visible(False)
    ax.text(
        0.98,
        0.95,
        f"1.48 MAD {robust_std(pull):.2f}\nstd {pull.std():.2f}\n"
        f"{(np.abs(pull) > 3).mean():.1%} beyond 3",
        transform=ax.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        color=FAINT_INK,
    )
