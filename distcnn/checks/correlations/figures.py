"""Figure of correlations: a panel per measure, a line per test, a marker per label."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from distcnn.checks.base import AnswerRow
from distcnn.style import GREEN, MARKERS, METHOD_COLOURS, PAGE_WIDTH, RED, grid, panels, symbol

LINE_INCHES = 0.5
SPREAD_LINES = 0.6
"""Part of a line over which the labels are spread."""
FADED = 0.45
"""Opacity of values that are told without being asked for."""


def draw_correlations(rows: Sequence[AnswerRow], names: Sequence[str]) -> Figure:
    """Every value with its error, and a green mark at the least that is asked for.

    Values of which nothing is asked are faint, those that miss their limit have a red ring.
    """
    measures: dict[str, dict[str, list[AnswerRow]]] = {}
    for row in rows:
        measure, _, test = str(row["test"]).partition(", ")
        measures.setdefault(measure, {}).setdefault(test, []).append(row)
    lines = max((len(tests) for tests in measures.values()), default=1)
    height = 1.5 + LINE_INCHES * lines
    count = max(len(measures), 1)
    figure, axes = panels(1, count, width=PAGE_WIDTH / count, height=height)
    labels = list(dict.fromkeys(str(row["label"]) for row in rows))
    for ax, (measure, tests) in zip(axes[0], measures.items(), strict=False):
        _draw_measure(ax, tests, labels)
        ax.set_title(measure)
    _legend(figure, [symbol(label) if label in names else label for label in labels])
    return figure


def _draw_measure(ax: Axes, tests: dict[str, list[AnswerRow]], labels: Sequence[str]) -> None:
    for line, rows in enumerate(tests.values()):
        for row in rows:
            _draw_value(ax, row, line, labels.index(str(row["label"])), len(labels))
    # A measure of one kind has its name above it and none on its line.
    ax.set_yticks(np.flatnonzero(list(map(bool, tests))), list(filter(None, tests)), fontsize=8)
    ax.set_ylim(len(tests) - 0.5, -0.5)
    if max(float(row["value"]) for rows in tests.values() for row in rows) > 3:
        ax.set_xscale("log")
    grid(ax, "x")


def _draw_value(ax: Axes, row: AnswerRow, line: int, number: int, labels: int) -> None:
    value, error, least = (float(row[key]) for key in ("value", "value_error", "least"))
    if not error:
        return  # of too few stars
    place = line + SPREAD_LINES * ((number + 0.5) / labels - 0.5)
    ax.errorbar(
        value,
        place,
        xerr=error,
        fmt=MARKERS[number % len(MARKERS)],
        ms=5,
        lw=1.2,
        color=METHOD_COLOURS[number % len(METHOD_COLOURS)],
        alpha=1.0 if least else FADED,
    )
    if row["fails"]:
        ax.plot(value, place, "o", ms=11, mfc="none", mec=RED, mew=1.5)
    if least:
        half = SPREAD_LINES / labels / 2
        ax.plot([least, least], [place - half, place + half], color=GREEN, lw=2)


def _legend(figure: Figure, titles: Sequence[str]) -> None:
    handles = [
        Line2D([], [], ls="", marker=MARKERS[n % len(MARKERS)], color=colour, label=title)
        for n, title in enumerate(titles)
        for colour in [METHOD_COLOURS[n % len(METHOD_COLOURS)]]
    ]
    handles.append(Line2D([], [], color=GREEN, lw=2, label="least that is asked for"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
