"""Drawing of maps: density images of any number of stars, figures as PNG, PDF and SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.errors import MissingExtra

FORMATS = ("png", "pdf", "svg")
INK, FAINT_INK = "#1f2933", "#667482"
# Okabe & Ito (2008): distinguishable with every common colour vision.
BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#D55E00"
DENSITY = "cividis"
_SETTINGS: Any = {
    "axes.edgecolor": FAINT_INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9.5,
    "legend.frameon": False,
    "mathtext.default": "regular",
    "savefig.dpi": 160,
    "svg.fonttype": "path",
    "svg.hashsalt": "distcnn",
    "text.color": INK,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of maps, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty figure of that size [inches]; without a layout its panels stand where they are put:
    one is found for every format anew, which for dozens of panels takes a minute.
    """
    figure = Figure(figsize=(width, height), layout=cast(Any, layout))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``NAME.png``, ``NAME.pdf`` and ``NAME.svg``, the same bytes every time."""
    undated = {
        "png": {"Software": None},
        "pdf": {"Creator": None, "CreationDate": None, "Producer": None},
        "svg": {"Date": None, "Creator": None},
    }
    for kind in FORMATS:
        figure.savefig(folder / f"{name}.{kind}", format=kind, metadata=undated[kind])


def require_datashader() -> None:
    """Refuse at once, rather than after the work, where densities cannot be drawn.

    Raises
    ------
    MissingExtra : says how to install it.
    """
    if find_spec("datashader") is None:
        raise MissingExtra.of("Maps", "datashader", "maps")


def shaded(counts: Array, colours: str = DENSITY) -> Array:
    """Colours [rows, columns, 4], uint8, of the stars per pixel; empty pixels are transparent.

    By datashader's histogram equalisation: every shade covers as many pixels as any other, so
    that neither the densest place nor the emptiest is lost, whatever lies between them.
    """
    import datashader.transfer_functions as shading
    import xarray as xr

    table = xr.DataArray(np.asarray(counts, np.uint32), dims=("y", "x"))
    with np.errstate(divide="ignore", invalid="ignore"):  # where all pixels are alike
        image = shading.shade(table, cmap=mpl.colormaps[colours], how="eq_hist")
    return np.asarray(image.to_numpy().view(np.uint8).reshape(*counts.shape, 4))


def draw_density(
    axes: Axes, counts: Array, x_range: tuple[float, float], y_range: tuple[float, float]
) -> None:
    """Show stars per pixel [rows, columns], the lowest y first."""
    axes.imshow(
        shaded(counts),
        extent=(*x_range, *y_range),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
