"""Figures of the run itself: learning curves and throughput, and novelty of the spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from distcnn.report.metrics import Row
from distcnn.report.stars import Stars
from distcnn.report.style import BLUE, FAINT_INK, GREEN, INK, ORANGE, RED, grid, panels, plain_ticks


def learning(curves: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Loss of training and validation per epoch, one pair of lines per member."""
    if not curves:
        return None
    figure, axes = panels(1, 1, width=7, height=3.2)
    ax = axes[0, 0]
    members = sorted({int(row["member"]) for row in curves})
    for member in members:
        mine = sorted((r for r in curves if r["member"] == member), key=lambda r: int(r["epoch"]))
        epoch = [row["epoch"] for row in mine]
        loss, validation = (
            np.array([row[key] for row in mine], float) for key in ("loss", "validation")
        )
        ax.plot(epoch, loss, color=BLUE, lw=0.9, alpha=0.55)
        ax.plot(epoch, validation, color=ORANGE, lw=1.1, alpha=0.8)
        best = int(np.nanargmin(validation))
        ax.plot(epoch[best], validation[best], "o", color=RED, ms=4)
    values = np.array([[row["loss"], row["validation"]] for row in curves], float)
    low, high = np.nanmin(values), np.nanquantile(values, 0.97)
    ax.set_ylim(low - 0.08 * (high - low), high + 0.05 * (high - low))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss [nat per label]")
    handles = [
        Line2D([], [], color=BLUE, label="training"),
        Line2D([], [], color=ORANGE, label="validation"),
        Line2D([], [], color=RED, marker="o", ls="", ms=4, label="weights kept"),
    ]
    ax.legend(handles=handles, title=f"{len(members)} members", loc="upper right")
    grid(ax)
    return figure


def speed(rows: Sequence[Row]) -> Figure | None:
    """Stars per second of every region, in the order in which they finished."""
    if not rows:
        return None
    figure, axes = panels(1, 1, width=7, height=2.8)
    ax = axes[0, 0]
    rate = np.array([row["stars"] / max(row["seconds"], 1e-9) for row in rows])
    if len(rate) <= 60:
        ax.bar(range(1, len(rate) + 1), rate, color=BLUE, width=0.8)
    else:
        ax.plot(range(1, len(rate) + 1), rate, ".", color=BLUE, ms=3, rasterized=True)
    typical = float(np.median(rate))
    ax.axhline(typical, color=INK, lw=1, ls="--")
    ax.annotate(
        f"median {typical:,.0f} stars/s",
        (1, typical),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
    )
    ax.set_ylim(0, 1.15 * float(rate.max()))
    ax.set_xlabel("region, in the order of finishing")
    ax.set_ylabel("stars/s on its worker")
    grid(ax, "y")
    return figure


def novelty(stars: Stars) -> Figure | None:
    """Novelty score against S/N; injected trouble stands out where it is known."""
    good = np.isfinite(stars.novelty) & (stars.snr > 0) & (stars.drawn | (stars.trouble != ""))
    if not good.any():
        return None
    shown = stars.take(good)
    score = np.clip(shown.novelty, 0.02, None)
    kinds = {
        "wrong_rv": (RED, "v"),
        "hot": (ORANGE, "^"),
        "binary": (GREEN, "s"),
        "cosmic": (INK, "x"),
    }
    figure, axes = panels(1, 1, width=7, height=3.4)
    ax = axes[0, 0]
    plain = np.flatnonzero(shown.trouble == "")[:20_000]
    ax.plot(
        shown.snr[plain],
        score[plain],
        ".",
        color=FAINT_INK if (shown.trouble != "").any() else BLUE,
        ms=2,
        alpha=0.4,
        rasterized=True,
        label="stars" if len(plain) == len(shown) else "clean stars",
    )
    for kind, (colour, marker) in kinds.items():
        mine = np.array([kind in text.split("+") for text in shown.trouble], bool)
        if mine.any():
            ax.plot(
                shown.snr[mine],
                score[mine],
                marker,
                color=colour,
                ms=3.5,
                alpha=0.8,
                rasterized=True,
                label=kind.replace("_", " "),
            )
    ax.axhline(1, color=INK, lw=1, ls="--")
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_ticks(ax.xaxis)
    plain_ticks(ax.yaxis)
    ax.set_xlabel("S/N per pixel")
    ax.set_ylabel("novelty (1 = limit)")
    figure.legend(loc="outside right upper", markerscale=1.6)
    grid(ax)
    return figure
