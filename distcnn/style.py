"""Style: one look for every figure, safe for the colour-blind; as files, and embedded as SVG.

Import it before any part of matplotlib: the user's settings of that may not be readable.
"""
# ruff: noqa: E402 - the first import of matplotlib is guarded

import base64
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distcnn.errors import ConfigError

# It tells where it keeps a cache of its own, and of keys that it does not know; both are of no
# consequence here, since figures have a style of their own.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
try:
    import matplotlib as mpl
except UnicodeDecodeError as error:
    raise ConfigError(
        f"matplotlib cannot read the user's file matplotlibrc ({error})",
        expected="a text in UTF-8",
        cure="`python -c 'import matplotlib'` names the file: save it in that encoding.",
    ) from None
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from distcnn.arrays import Array
from distcnn.labels import label_info

INK, FAINT_INK, GRID = "#1f2933", "#667482", "#e3e8ee"
# Okabe & Ito (2008): distinguishable with every common colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
FILE_KINDS = ("png", "pdf", "svg")
UNDATED: Any = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "CreationDate": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
METHOD_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
MARKERS = "osD^vP"
DENSITY, ORDERED = "cividis", "viridis"
PAGE_WIDTH = 10.8
"""Width of a figure in inches."""
MAX_PANELS_ACROSS = 5
SAVED_DPI = 160
"""Pixels per inch of figures saved as pixels."""

_SETTINGS: Any = {
    "axes.edgecolor": FAINT_INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelsize": 9.5,
    "figure.facecolor": "white",
    "font.size": 9.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "mathtext.default": "regular",
    "savefig.dpi": SAVED_DPI,
    "svg.fonttype": "path",
    "svg.hashsalt": "distcnn",
    "text.color": INK,
    "xtick.color": FAINT_INK,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT_INK,
    "ytick.labelcolor": INK,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of the page while figures are made, whatever the user's matplotlibrc says.

    That may ask for LaTeX, which is not there, or for a size at which nothing fits.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def panels(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, Array]:
    """A figure of rows x columns axes, each ``width`` x ``height`` inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, np.asarray(axes)


@dataclass(frozen=True)
class WrappedPanels:
    """Panels ``axes`` [lines, count], drawn in rows of ``across``; lines of a row stay together."""

    figure: Figure
    axes: Array
    across: int

    def set_ylabel(self, line: int, text: str) -> None:
        """Name the y axis of a line, at the left of every row."""
        for ax in self.axes[line, :: self.across]:
            ax.set_ylabel(text)

    def legend(self) -> None:
        """One legend above all panels, of what is drawn in the first of them."""
        handles, texts = self.axes[0, 0].get_legend_handles_labels()
        self.figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))

    def label_outer(self) -> None:
        """Tick labels and titles of axes at the left and the bottom only."""
        lines, count = self.axes.shape
        for (line, number), ax in np.ndenumerate(self.axes):
            lowest = line == lines - 1 and number + self.across >= count
            if not lowest or ax.get_subplotspec().is_last_row():
                ax.label_outer()
            elif number % self.across:
                # Nothing is drawn below, so the x axis keeps its labels.
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")


def wrapped_panels(
    count: int, *, height: float, lines: int = 1, min_width: float = 2.2
) -> WrappedPanels:
    """``count`` panels for each of ``lines`` quantities, at most ``MAX_PANELS_ACROSS`` in a row.

    Panels share the width of the page [inches] but are not narrower than ``min_width``.
    """
    rows = -(-count // MAX_PANELS_ACROSS)
    across = -(-count // rows)
    width = max(min_width, PAGE_WIDTH / across)
    figure, drawn = panels(lines * rows, across, width=width, height=height)
    for ax in drawn[-lines:, across - (rows * across - count) :].ravel():
        ax.set_axis_off()
    place = [divmod(number, across) for number in range(count)]
    axes = [[drawn[row * lines + line, column] for row, column in place] for line in range(lines)]
    return WrappedPanels(figure, np.array(axes), across)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``NAME.png``, ``NAME.pdf`` and ``NAME.svg``, the same bytes every time; their paths."""
    paths = [folder / f"{name}.{kind}" for kind in FILE_KINDS]
    for kind, path in zip(FILE_KINDS, paths, strict=True):
        figure.savefig(path, format=kind, metadata=UNDATED[kind])
    return paths


def as_uri(figure: Figure) -> str:
    """The figure as a ``data:`` URI of an SVG; dense points inside are pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=UNDATED["svg"])
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def symbol(name: str) -> str:
    """A label as astronomers write it."""
    text = label_info(name).symbol
    return text.replace("alpha", "α").replace("Teff", "$T_{eff}$").replace("log g", "log $g$")


def snr_title(text: str) -> str:
    """The name of an S/N bin as it stands on an axis."""
    return text.replace(">=", "≥")


def axis_title(name: str, prefix: str = "") -> str:
    """``"ΔTeff [K]"``: symbol and unit."""
    unit = label_info(name).unit
    return f"{prefix}{symbol(name)}" + (f" [{unit}]" if unit else "")


def bounds(values: Array, tail: float = 0.002, margin: float = 0.06) -> tuple[float, float]:
    """Limits of an axis that leave ``tail`` of the values outside on each side."""
    good = values[np.isfinite(values)]
    if not good.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(good, [tail, 1 - tail]))
    pad = margin * (high - low) or 0.5
    return low - pad, high + pad


def extent(axes: Axes) -> tuple[float, float, float, float]:
    """Limits of both axes, the smaller first, whichever way the axes run."""
    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    return left, right, low, high


def hexagons(axes: Axes, bins: int) -> tuple[int, int]:
    """Hexagons across and up, such that they look regular in these axes."""
    box = axes.get_window_extent()
    return bins, max(4, round(bins * box.height / box.width / 3**0.5))


def density(axes: Axes, x: Array, y: Array, *, bins: int = 60) -> Any:
    """Number of stars per cell, logarithmic; single points where there are few stars."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < 400:
        return axes.plot(x, y, ".", color=BLUE, ms=4, alpha=0.5, mew=0, rasterized=True)
    return axes.hexbin(
        x,
        y,
        gridsize=hexagons(axes, bins),
        extent=extent(axes),
        mincnt=1,
        norm=LogNorm(),
        cmap=DENSITY,
        linewidths=0.15,
        rasterized=True,
    )


def grid(axes: Axes, which: Literal["both", "x", "y"] = "both") -> None:
    """Faint lines behind the data."""
    axes.grid(visible=True, axis=which, color=GRID, lw=0.7)
    axes.set_axisbelow(True)


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def empty(axes: Axes, text: str) -> None:
    """Say why nothing is drawn."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=FAINT_INK)
    axes.set_xticks([])
    axes.set_yticks([])
