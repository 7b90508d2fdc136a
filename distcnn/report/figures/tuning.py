"""The figure of a study: every hyper-parameter against the validation loss of its trials."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.config import Range
from distcnn.style import BLUE, FAINT_INK, INK, RED, grid, panels, plain_ticks, style

Space = Range | tuple[int, ...]
"""The values a hyper-parameter may take: a range, or a few."""


def draw_study(
    spaces: Mapping[str, Space], params: Sequence[Mapping[str, float]], loss: Sequence[float]
) -> bytes:
    """A PNG: one panel per hyper-parameter, the best trial marked; ``loss`` is in nat per label.

    Losses far above the median are drawn at the upper edge, so that the good ones can be told
    apart.
    """
    with style():
        figure = _figure(spaces, params, loss)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _figure(
    spaces: Mapping[str, Space], params: Sequence[Mapping[str, float]], losses: Sequence[float]
) -> Figure:
    loss = np.asarray(losses, float)
    columns = min(4, len(spaces))
    rows = -(-len(spaces) // columns)
    figure, axes = panels(rows, columns, width=2.9, height=2.5)
    for ax in axes.ravel()[len(spaces) :]:
        ax.set_axis_off()
    top = _top(loss)
    for ax, (name, space) in zip(axes.ravel(), spaces.items(), strict=False):
        _panel(ax, space, np.array([trial[name] for trial in params], float), loss, top)
        ax.set_title(name.replace("_", " "))
    for ax in axes[:, 0]:
        ax.set_ylabel("validation loss [nat per label]")
    return figure


def _top(loss: Array) -> float:
    """The highest loss drawn where it is: as far above the median as the best is below, twice."""
    middle, best = float(np.median(loss)), float(loss.min())
    return min(float(loss.max()), middle + 2 * (middle - best) or middle + 1)


def _panel(ax: Axes, space: Space, value: Array, loss: Array, top: float) -> None:
    place, beyond = _places(ax, space, value), loss > top
    ax.plot(place[~beyond], loss[~beyond], "o", color=BLUE, ms=4.5, alpha=0.65, mew=0)
    ax.plot(place[beyond], np.full(beyond.sum(), top), "^", color=FAINT_INK, ms=4.5)
    best = int(loss.argmin())
    ax.axvline(place[best], color=RED, lw=0.8, ls=":")
    ax.plot(place[best], loss[best], "o", color=RED, ms=7, mec=INK, mew=0.8)
    grid(ax)


def _places(ax: Axes, space: Space, value: Array) -> Array:
    """Where the trials stand on the axis of a hyper-parameter, which is made to fit."""
    if not isinstance(space, Range):
        ax.set_xticks(range(len(space)), [f"{v:g}" for v in space])
        ax.set_xlim(-0.5, len(space) - 0.5)
        # Trials with the same value stand beside each other, in their order.
        apart = 0.4 * (np.arange(len(value)) / max(len(value) - 1, 1) - 0.5)
        return apart + [space.index(v) for v in value]
    low, high = space.low, space.high
    if space.log:
        ax.set_xscale("log")
        plain_ticks(ax.xaxis)
        ax.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    else:
        ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    return value
