"""Figures of the run itself: learning curves and throughput."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from distcnn.arrays import Array
from distcnn.evaluation.records import RegionSpeed
from distcnn.style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PAGE_WIDTH,
    PURPLE,
    RED,
    grid,
    panels,
)

MAX_MEMBER_PANELS = 12
"""Members that get a panel of their own; more are drawn together."""


def learning(curves: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Losses per epoch: a panel per member with the others behind it; together if many."""
    known = [
        (curve["member"], np.array(curve["epochs"], float).reshape(-1, 2).T)
        for curve in curves
        if curve["epochs"]
    ]
    if not known:
        return None
    shown = [[one] for one in known] if len(known) <= MAX_MEMBER_PANELS else [known]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = panels(rows, columns, width=PAGE_WIDTH / columns, height=2.1 if rows > 1 else 3)
    for ax in axes.ravel()[len(shown) :]:
        ax.set_axis_off()
    limits = _loss_limits([losses for _, losses in known])
    for ax, mine in zip(axes.ravel(), shown, strict=False):
        for _, (_, validation) in known if len(known) > 1 else []:
            ax.plot(np.arange(1, len(validation) + 1), validation, color=GRID, lw=0.8)
        for member, losses in mine:
            _curve(ax, losses)
            if len(mine) == 1:
                best = int(np.nanargmin(losses[1]))
                ax.set_title(f"member {member}: {losses[1, best]:.3f} at {best + 1}", fontsize=9)
        ax.set_ylim(*limits)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss [nat/label]")
        grid(ax)
        ax.label_outer()
    handles = [
        Line2D([], [], color=BLUE, label="training"),
        Line2D([], [], color=ORANGE, label="validation"),
        Line2D([], [], color=RED, marker="o", ls="", ms=4, label="weights kept"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _curve(ax: Axes, losses: Array) -> None:
    epoch = np.arange(1, losses.shape[1] + 1)
    best = int(np.nanargmin(losses[1]))
    ax.plot(epoch, losses[0], color=BLUE, lw=1, alpha=0.7)
    ax.plot(epoch, losses[1], color=ORANGE, lw=1.2, alpha=0.9)
    ax.plot(epoch[best], losses[1, best], "o", color=RED, ms=4)


def _loss_limits(losses: Sequence[Array]) -> tuple[float, float]:
    """All but the wild beginnings."""
    values = np.concatenate([each.ravel() for each in losses])
    low, high = np.nanmin(values), np.nanquantile(values, 0.97)
    return low - 0.08 * (high - low), high + 0.05 * (high - low)


def speed(rows: Sequence[RegionSpeed]) -> Figure | None:
    """Stars per second of every region, and where its time went."""
    if not rows:
        return None
    figure, axes = panels(1, 2, width=5.4, height=2.8)
    number = np.arange(1, len(rows) + 1)
    rate = np.array([row["stars"] / max(row["seconds"]["total"], 1e-9) for row in rows])
    axes[0, 0].plot(number, rate, "o", color=BLUE, ms=4 if len(rows) < 200 else 2)
    typical = float(np.median(rate))
    axes[0, 0].axhline(typical, color=INK, lw=1, ls="--")
    axes[0, 0].set_title(f"median {typical:,.0f} stars/s", loc="right", fontweight="normal")
    axes[0, 0].set_xlim(0.5, len(rows) + 0.5)
    axes[0, 0].set_ylim(0, 1.15 * float(rate.max()))
    axes[0, 0].set_ylabel("stars/s on its worker")
    _parts(axes[0, 1], number, [row["seconds"] for row in rows])
    for ax in axes[0, : 1 if len(rows) == 1 else 2]:
        ax.set_xlabel("region, in the order of finishing")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        grid(ax, "y")
    return figure


def _parts(ax: Axes, number: Array, seconds: Sequence[Mapping[str, float]]) -> None:
    """Stacked seconds per region."""
    parts = [part for part in ("load", "read", "infer", "flags", "write") if part in seconds[0]]
    table = {part: [one.get(part, 0.0) for one in seconds] for part in parts}
    if not parts:
        table = {"total": [one["total"] for one in seconds]}
    colours = (PURPLE, GREEN, BLUE, RED, ORANGE)
    ax.stackplot(number, *table.values(), colors=colours, labels=list(table), step="mid", lw=0)
    if len(number) == 1:
        ax.clear()
        ax.bar(list(table), [value[0] for value in table.values()], color=colours)
    else:
        ax.legend(loc="upper right", ncols=len(table))
        ax.set_ylim(0, 1.3 * max(one["total"] for one in seconds))
    ax.set_ylabel("seconds")
