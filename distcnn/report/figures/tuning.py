"""The figure of a study: every knob against the validation loss of its trials."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.report.figures.style import BLUE, FAINT_INK, INK, RED, grid, panels, plain_ticks, style


@dataclass(frozen=True)
class Turned:
    """A knob: its name, and its values where they are few, else their range and its scale."""

    name: str
    values: tuple[float, ...] = ()
    ends: tuple[float, float] = (0.0, 1.0)
    log: bool = False


def draw_study(
    knobs: Sequence[Turned], params: Sequence[Mapping[str, float]], loss: Sequence[float]
) -> bytes:
    """A PNG: one panel per knob, the best trial marked; ``loss`` [nat per label] of each trial.

    Losses far above the median are drawn at the upper edge, so that the good ones can be told
    apart.
    """
    with style():
        figure = _figure(knobs, params, loss)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _figure(
    knobs: Sequence[Turned], params: Sequence[Mapping[str, float]], losses: Sequence[float]
) -> Figure:
    loss = np.asarray(losses, float)
    columns = min(4, len(knobs))
    rows = -(-len(knobs) // columns)
    figure, axes = panels(rows, columns, width=2.9, height=2.5)
    for ax in axes.ravel()[len(knobs) :]:
        ax.set_axis_off()
    top = _top(loss)
    for ax, knob in zip(axes.ravel(), knobs, strict=False):
        _panel(ax, knob, np.array([trial[knob.name] for trial in params], float), loss, top)
    for ax in axes[:, 0]:
        ax.set_ylabel("validation loss [nat per label]")
    return figure


def _top(loss: Array) -> float:
    """The highest loss drawn where it is: as far above the median as the best is below, twice."""
    middle, best = float(np.median(loss)), float(loss.min())
    return min(float(loss.max()), middle + 2 * (middle - best) or middle + 1)


def _panel(ax: Axes, knob: Turned, value: Array, loss: Array, top: float) -> None:
    place, beyond = _places(ax, knob, value), loss > top
    ax.plot(place[~beyond], loss[~beyond], "o", color=BLUE, ms=4.5, alpha=0.65, mew=0)
    ax.plot(place[beyond], np.full(beyond.sum(), top), "^", color=FAINT_INK, ms=4.5)
    best = int(loss.argmin())
    ax.axvline(place[best], color=RED, lw=0.8, ls=":")
    ax.plot(place[best], loss[best], "o", color=RED, ms=7, mec=INK, mew=0.8)
    ax.set_title(knob.name.replace("_", " "))
    grid(ax)


def _places(ax: Axes, knob: Turned, value: Array) -> Array:
    """Where the trials stand on the axis of a knob, which is made to fit."""
    if knob.values:
        ax.set_xticks(range(len(knob.values)), [f"{v:g}" for v in knob.values])
        ax.set_xlim(-0.5, len(knob.values) - 0.5)
        # Trials with the same value stand beside each other, in their order.
        apart = 0.4 * (np.arange(len(value)) / max(len(value) - 1, 1) - 0.5)
        return apart + [knob.values.index(v) for v in value]
    low, high = knob.ends
    if knob.log:
        ax.set_xscale("log")
        plain_ticks(ax.xaxis)
        ax.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    else:
        ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    return value
