"""Figures of comparisons: of catalogues, clusters, the halo, repeats and two trainings."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.checks.base import AnswerRow
from distcnn.checks.comparison.clusters import ALL
from distcnn.checks.comparison.external import MatchedStars
from distcnn.checks.comparison.halo import HALO_DEX, MIN_STARS
from distcnn.style import (
    BLUE,
    FAINT_INK,
    GREEN,
    INK,
    ORANGE,
    PAGE_WIDTH,
    RED,
    axis_title,
    bounds,
    density,
    grid,
    panels,
    snr_title,
    symbol,
    wrapped_panels,
)


def draw_halo(rows: Sequence[AnswerRow], names: Sequence[str]) -> Figure:
    """Bias against reference metallicity per label, within the quoted error of a star."""
    shown = [name for name in names if any(row["label"] == name for row in rows)]
    figure = wrapped_panels(max(len(shown), 1), height=2.6)
    for ax, name in zip(figure.axes[0], shown, strict=False):
        mine = [row for row in rows if row["label"] == name]
        edges = np.array([[float(row["low"]), float(row["high"])] for row in mine])
        centre, half = edges.mean(axis=1), np.diff(edges, axis=1)[:, 0] / 2
        value, error, quoted, stars = _columns(mine, "bias", "bias_error", "quoted_error", "stars")
        for (low, high), width in zip(edges, quoted, strict=True):
            ax.fill_between([low, high], -width, width, color=GREEN, alpha=0.15, lw=0)
        ax.axhline(0, color=GREEN, lw=1)
        ax.axvspan(edges.min(), HALO_DEX, color=FAINT_INK, alpha=0.06, lw=0)
        enough = stars >= MIN_STARS
        for these, colour in ((enough, BLUE), (~enough, FAINT_INK)):
            if these.any():
                style = {"fmt": "o", "ms": 4.5, "capsize": 2, "lw": 1.2, "color": colour}
                ax.errorbar(centre[these], value[these], error[these], half[these], **style)
        for x, y, count in zip(centre, value + error, stars, strict=True):
            ax.annotate(f"{int(count)}", (x, y), (0, 3), textcoords="offset points", fontsize=7,
                        ha="center", color=FAINT_INK)  # fmt: skip
        ax.set_title(axis_title(name, "Δ"))
        ax.set_xlabel("reference [M/H]")
        grid(ax)
    figure.set_ylabel(0, "mean residual")
    return figure.figure


def draw_repeats(
    deviations: Sequence[Array], rows: Sequence[AnswerRow], names: Sequence[str], limit: float
) -> Figure:
    """Deviations in quoted errors against a Gaussian, and their width by S/N."""
    return _pulls_and_ratios(deviations, rows, names, limit, "deviation / its expected error")


def draw_stability(
    changes: Sequence[Array], rows: Sequence[AnswerRow], names: Sequence[str], limit: float
) -> Figure:
    """Changes between trainings in quoted errors against a Gaussian, and their width by S/N."""
    return _pulls_and_ratios(changes, rows, names, limit, "change / quoted error")


def _pulls_and_ratios(
    values: Sequence[Array],
    rows: Sequence[AnswerRow],
    names: Sequence[str],
    limit: float,
    title: str,
) -> Figure:
    figure = wrapped_panels(len(names), lines=2, height=2.2)
    at = np.linspace(-5, 5, 201)
    for (above, below), name, value in zip(figure.axes.T, names, values, strict=True):
        good = value[np.isfinite(value)]
        if good.size:  # a label that could not be calibrated has no errors to divide by
            edges = np.linspace(-5, 5, 51)
            above.hist(np.clip(good, -5, 5), bins=edges, density=True, color=BLUE, alpha=0.55)
        above.plot(at, np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi), color=INK, lw=1)
        above.set_title(symbol(name))
        above.set_xlabel(title, fontsize=8)
        mine = [row for row in rows if row["label"] == name]
        texts = [snr_title(str(row["snr"])) for row in mine]
        (ratio,) = _columns(mine, "ratio")
        error = np.array([float(row.get("ratio_error", 0.0)) for row in mine])
        below.axhline(limit, color=RED, lw=1, ls="--")
        place = np.arange(len(texts))
        below.errorbar(place, ratio, error, fmt="o", color=BLUE, ms=4.5, capsize=2)
        below.set_ylim(0, max(1.25 * limit, 1.1 * float(np.max(ratio + error, initial=0))))
        below.set_xticks(place, texts, fontsize=7)
        below.set_xlim(-0.4, len(texts) - 0.6)
        below.set_xlabel("S/N")
        grid(above)
        grid(below)
    figure.set_ylabel(0, "density")
    figure.set_ylabel(1, "68 % within, in errors")
    return figure.figure


def draw_external(stars: MatchedStars, catalogue: str) -> Figure:
    """Labels against those of a catalogue, and the difference along temperature or metallicity."""
    count = len(stars.names)
    figure, axes = panels(2, count, width=max(2.2, PAGE_WIDTH / max(count, 3)), height=2.6)
    for number, name in enumerate(stars.names):
        mine, theirs = stars.label[:, number], stars.reference[:, number]
        above, below = axes[:, number]
        low, high = bounds(np.concatenate([mine, theirs]))
        above.set_xlim(low, high)
        above.set_ylim(low, high)
        density(above, theirs, mine)
        above.plot([low, high], [low, high], color=ORANGE, lw=1)
        above.set_title(axis_title(name))
        above.set_xlabel(catalogue, fontsize=8)
        axis = "teff" if "teff" in stars.axes else next(iter(stars.axes), "")
        _difference(below, stars.axes.get(axis, theirs), mine - theirs, axis or name)
        grid(above)
        grid(below)
    axes[0, 0].set_ylabel("this package")
    axes[1, 0].set_ylabel(f"package - {catalogue}", fontsize=8)
    return figure


def _difference(ax: Axes, x: Array, y: Array, axis: str) -> None:
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < 3:
        return
    x, y = x[good], y[good]
    ax.set_xlim(*bounds(x))
    ax.set_ylim(*bounds(y, tail=0.01, margin=0.2))
    density(ax, x, y)
    ax.axhline(0, color=ORANGE, lw=1)
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, min(10, max(1, len(x) // 10))) if len(part)]
    middle = np.array([np.median(y[part]) for part in parts])
    ends = np.array([np.quantile(y[part], (0.16, 0.84)) for part in parts]).T
    at = [float(np.median(x[part])) for part in parts]
    ax.errorbar(at, middle, np.abs(ends - middle), fmt="o-", color=RED, ms=3.5, lw=1.1, capsize=2)
    ax.set_xlabel(axis_title(axis) if axis else "")


def draw_clusters(rows: Sequence[AnswerRow], catalogue: str) -> Figure:
    """Dispersion within each cluster beside the quoted error, per abundance."""
    names = list(dict.fromkeys(str(row["label"]) for row in rows))
    tall = max((sum(row["label"] == name for row in rows) for name in names), default=1)
    height = 1.2 + 0.2 * tall
    figure, axes = panels(
        1, max(len(names), 1), width=PAGE_WIDTH / max(len(names), 2), height=height
    )
    for ax, name in zip(axes[0], names, strict=False):
        mine = sorted((row for row in rows if row["label"] == name), key=_cluster_order)
        places = np.arange(len(mine))
        dispersion, quoted, stars = _columns(mine, "dispersion", "quoted_error", "stars")
        ax.plot(quoted, places, "|", color=GREEN, ms=10, mew=2, label="quoted error")
        error = dispersion / np.sqrt(2 * np.maximum(stars - 1, 1))
        ax.errorbar(dispersion, places, xerr=error, fmt="o", color=BLUE, ms=4, label="dispersion")
        ax.set_yticks(places, [f"{row['cluster']} ({row['stars']})" for row in mine], fontsize=7)
        ax.set_xlim(0, None)
        ax.set_title(axis_title(name))
        ax.set_xlabel("dispersion of members")
        grid(ax, "x")
    axes[0, 0].legend(loc="best")
    return figure


def _cluster_order(row: AnswerRow) -> tuple[bool, int]:
    return row["cluster"] == ALL, int(row["stars"])


def _columns(rows: Sequence[AnswerRow], *names: str) -> list[Array]:
    return [np.array([float(row[name]) for row in rows]) for name in names]
