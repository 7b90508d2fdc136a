"""Figures of injection: shifts in quoted errors, and quoted against true errors."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from distcnn.checks.base import AnswerRow
from distcnn.checks.injection.responses import COVERAGE_BAND, MAX_SHIFT_ERRORS
from distcnn.stats import WITHIN_68
from distcnn.style import (
    BLUE,
    FAINT_INK,
    GREEN,
    ORANGE,
    RED,
    grid,
    plain_ticks,
    symbol,
    wrapped_panels,
)

COLOURS = (BLUE, ORANGE, RED)


def draw_responses(rows: Sequence[AnswerRow], names: Sequence[str]) -> Figure:
    """Median shift of every label and 68 % of the stars, in quoted errors, against the level."""
    kinds = list(dict.fromkeys(str(row["change"]) for row in rows))
    names = _with_rows(names, rows)
    figure = wrapped_panels(len(names), height=2.4)
    single = len({row["level"] for row in rows}) == 1
    for ax, name in zip(figure.axes[0], names, strict=True):
        ax.axhspan(-MAX_SHIFT_ERRORS, MAX_SHIFT_ERRORS, color=GREEN, alpha=0.12, lw=0)
        ax.axhline(0, color=GREEN, lw=1)
        for place, (kind, colour) in enumerate(zip(kinds, COLOURS * len(kinds), strict=False)):
            mine = [row for row in rows if row["change"] == kind]
            level, middle, low, high = _columns(
                mine, name, "level", "shift_errors", "low_errors", "high_errors"
            )
            if single:
                error = np.abs([low - middle, high - middle])
                ax.errorbar(
                    place + 0 * level, middle, error, fmt="o", color=colour, ms=4, capsize=2,
                    label=kind,
                )  # fmt: skip
                continue
            ax.fill_between(level, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(level, middle, "o-", color=colour, ms=4, lw=1.4, label=kind)
            tolerated = [abs(float(row["level"])) for row in mine if row["tolerated"]]
            for edge in {max(tolerated, default=0.0), -max(tolerated, default=0.0)}:
                if level.size and level.min() <= edge <= level.max():
                    ax.axvline(edge, color=colour, lw=0.8, ls="--")
        ax.set_title(symbol(name))
        ax.set_xlabel("" if single else f"change [{rows[0]['unit']}]")
        if single:
            ax.set_xlim(-0.6, len(kinds) - 0.4)
            ax.set_xticks([])
        grid(ax, "y")
    figure.set_ylabel(0, "shift / quoted error")
    for handle in figure.axes[0, 0].containers + figure.axes[0, 0].lines:
        handle.set_label(str(handle.get_label()).replace("G_RVS", "$G_{RVS}$"))
    figure.legend()
    return figure.figure


def draw_noise(rows: Sequence[AnswerRow], names: Sequence[str]) -> Figure:
    """True scatter and quoted error, and the share within it, against the S/N."""
    names = _with_rows(names, rows)
    figure = wrapped_panels(len(names), lines=2, height=2.2)
    for (above, below), name in zip(figure.axes.T, names, strict=True):
        snr, scatter, quoted, bias = _columns(rows, name, "snr", "scatter", "quoted_error", "bias")
        within, error = _columns(rows, name, "within", "within_error")
        above.plot(snr, scatter, "o-", color=BLUE, ms=4, lw=1.4, label="true scatter")
        above.plot(snr, quoted, "s--", color=ORANGE, ms=4, lw=1.4, label="quoted error")
        above.plot(snr, np.abs(bias), "^:", color=FAINT_INK, ms=4, lw=1, label="|bias|")
        above.set_title(symbol(name))
        above.set_ylim(bottom=0)
        low, high = WITHIN_68 - COVERAGE_BAND, WITHIN_68 + COVERAGE_BAND
        below.axhspan(low, high, color=GREEN, alpha=0.12, lw=0)
        below.axhline(WITHIN_68, color=GREEN, lw=1)
        below.errorbar(snr, within, error, fmt="o", color=BLUE, ms=4, lw=1.2, capsize=2)
        below.set_ylim(0, 1)
        below.set_xlabel("S/N after noise was added")
        for ax in (above, below):
            ax.set_xscale("log")
            plain_ticks(ax.xaxis)
            grid(ax)
    figure.axes[0, 0].legend(fontsize=7)
    figure.set_ylabel(0, "label units")
    figure.set_ylabel(1, "share within 68 % error")
    return figure.figure


def _with_rows(names: Sequence[str], rows: Sequence[AnswerRow]) -> list[str]:
    # A label without quoted errors has none.
    there = {row["label"] for row in rows}
    return [name for name in names if name in there]


def _columns(rows: Sequence[AnswerRow], name: str, *columns: str) -> list[np.ndarray]:
    mine = [row for row in rows if row["label"] == name]
    return [np.array([float(row[column]) for row in mine]) for column in columns]
