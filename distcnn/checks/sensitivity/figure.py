"""Figure of sensitivity: mean gradients over the spectrum, around own lines, and by element."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle

from distcnn.arrays import Array
from distcnn.checks.base import AnswerRow
from distcnn.checks.decision import MIN_STARS
from distcnn.checks.sensitivity.gradients import Sensitivity
from distcnn.checks.sensitivity.lines import Lines, covered_lines, elements_of, in_medium, template
from distcnn.checks.sensitivity.own_lines import on_lines
from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.style import (
    BLUE,
    FAINT_INK,
    GREEN,
    INK,
    ORANGE,
    PAGE_WIDTH,
    PURPLE,
    RED,
    SKY,
    empty,
    grid,
    symbol,
)

MAX_LABELS = 12
"""Labels with a panel of their own; the matrix shows all."""
STACK_KM_S = 250.0
"""Half-width of the panels around own lines."""
_TYPE_COLOURS = (INK, PURPLE, ORANGE, GREEN, SKY, RED)
GAP_STEPS = 5.0
"""Steps of the grid that make a gap."""
_TICKED = 60
"""Most lines that are ticked above a spectrum."""


def draw_sensitivity(
    sensitivity: Sensitivity, wavelength: Array, medium: str, rows: Sequence[AnswerRow]
) -> Figure:
    """One row per label: the whole spectrum, and around its own lines; below all elements.

    Parameters
    ----------
    wavelength : [P] nm, in ``medium``. ``rows`` : those of ``own_line_rows``.
    """
    shown = _shown(sensitivity.labels, rows)
    heights = [1.5] * len(shown) + [1.0 + 0.28 * len(sensitivity.labels)]
    figure = Figure(figsize=(PAGE_WIDTH, sum(heights) + 0.4), layout="constrained")
    frame = GridSpec(len(heights), 2, figure, height_ratios=heights, width_ratios=(3.2, 1))
    lines = covered_lines(wavelength, medium)
    for place, label in enumerate(shown):
        number = sensitivity.labels.index(label)
        wide = figure.add_subplot(frame[place, 0])
        near = figure.add_subplot(frame[place, 1])
        own = lines.of(elements_of(label))
        _spectrum(wide, sensitivity, number, wavelength, in_medium(own, medium))
        _around_lines(near, sensitivity.gradient[0, number], wavelength, own, medium)
        wide.set_title(f"d({symbol(label)}) / d(flux)")
        near.set_title("own lines" if len(own) else "")
        if place < len(shown) - 1:
            wide.tick_params(labelbottom=False)
        else:
            wide.set_xlabel(f"wavelength [nm, {medium}]")
    if shown:
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=6)
    _matrix(figure.add_subplot(frame[-1, :]), sensitivity, wavelength, medium, lines)
    return figure


def _shown(labels: Sequence[str], rows: Sequence[AnswerRow]) -> list[str]:
    """Labels with a panel: all, or those with own lines first, the worst of these before."""
    if len(labels) <= MAX_LABELS:
        return list(labels)
    contrast = {
        str(row["label"]): float(row["contrast"])
        for row in rows
        if row["lines"] and row["type"] == "all stars"
    }
    order = sorted(labels, key=lambda label: contrast.get(label, np.inf))[:MAX_LABELS]
    return [label for label in labels if label in order]


def _spectrum(
    ax: Axes, sensitivity: Sensitivity, number: int, wavelength: Array, places: Array
) -> None:
    # No line is drawn between the windows of a grid.
    steps = np.diff(wavelength)
    gaps = np.flatnonzero(steps > GAP_STEPS * np.median(steps)) + 1
    at = np.insert(wavelength, gaps, np.nan)
    ax.axhline(0, color=FAINT_INK, lw=0.6)
    for kind, text in enumerate(sensitivity.types):
        if sensitivity.stars[kind] >= MIN_STARS:
            gradient, width = sensitivity.gradient[kind, number], 0.7 if kind else 0.9
            drawn = np.insert(gradient, gaps, np.nan)
            ax.plot(at, drawn, color=_TYPE_COLOURS[kind], label=text, lw=width)
    for place in places[:: max(1, -(-len(places) // _TICKED))]:
        ax.axvline(place, ymin=0.93, color=BLUE, lw=0.8)
    ax.set_xlim(wavelength[0], wavelength[-1])
    ax.locator_params(axis="y", nbins=4)
    grid(ax)


def _around_lines(ax: Axes, gradient: Array, wavelength: Array, lines: Lines, medium: str) -> None:
    """Mean gradient by velocity from the lines, each with its weight."""
    if not len(lines):
        empty(ax, "no line of its own\nin this range")
        return
    velocity = np.linspace(-STACK_KM_S, STACK_KM_S, 201)
    good = np.isfinite(gradient)
    places = in_medium(lines, medium)
    there = places[:, None] * (1 + velocity / LIGHT_SPEED_KM_S)
    each = np.interp(there, wavelength[good], gradient[good], left=np.nan, right=np.nan)
    weight = np.where(np.isfinite(each), lines.weight[:, None], 0.0)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(np.nan_to_num(each) * weight, axis=0) / weight.sum(axis=0)
    ax.axhline(0, color=FAINT_INK, lw=0.6)
    ax.axvline(0, color=BLUE, lw=0.8)
    ax.plot(velocity, mean, color=INK, lw=1.1)
    ax.set_xlabel("km/s" if len(lines) else "")
    ax.locator_params(axis="y", nbins=4)
    ax.set_title(_count(lines), loc="right", fontsize=7.5, weight="normal")
    grid(ax)


def _count(lines: Lines) -> str:
    elements = list(dict.fromkeys(lines.element.tolist()))
    names = ", ".join(elements[:5]) + (", ..." if len(elements) > 5 else "")
    return f"{len(lines)} of {names}"


def _matrix(
    ax: Axes, sensitivity: Sensitivity, wavelength: Array, medium: str, lines: Lines
) -> None:
    """Sensitivity on the lines of each element, in units of the mean; own elements framed."""
    elements = sorted(dict.fromkeys(lines.element.tolist()))
    if not elements:
        empty(ax, "no line of the list is in this range")
        return
    where = {name: template(lines.of([name]), wavelength, medium) for name in elements}
    has_own = [bool(set(elements_of(label)) & set(elements)) for label in sensitivity.labels]
    values = np.array(
        [
            [on_lines(gradient, where[name], rising=rising).contrast for name in elements]
            for gradient, rising in zip(sensitivity.gradient[0], has_own, strict=True)
        ]
    )
    most = max(3.0, float(np.nanmax(values)))
    ax.imshow(values, aspect="auto", cmap="cividis", vmin=0, vmax=most)
    for row, label in enumerate(sensitivity.labels):
        own = elements_of(label)
        for column, name in enumerate(elements):
            bright = values[row, column] > 0.6 * most
            text = f"{values[row, column]:.1f}" if np.isfinite(values[row, column]) else ""
            ax.text(
                column, row, text, ha="center", va="center", fontsize=7.5,
                color=INK if bright else "white",
                weight="bold" if name in own else "normal",
            )  # fmt: skip
            if name in own:
                ax.add_patch(_frame(column, row))
    ax.set_xticks(range(len(elements)), [f"{n}\n{len(lines.of([n]))}" for n in elements])
    ax.set_yticks(range(len(sensitivity.labels)), [symbol(n) for n in sensitivity.labels])
    ax.set_title(
        "Sensitivity on the lines of each element (their number below), in units of the mean of "
        "the spectrum; framed: the label's own"
    )


def _frame(column: int, row: int) -> Rectangle:
    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, ec=ORANGE, lw=1.6)
