"""Drawing of maps: density images of any number of stars."""

from importlib.util import find_spec

import numpy as np

from distcnn.style import DENSITY  # isort: skip - before any part of matplotlib
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.errors import MissingExtra


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size [inches] without a layout: its panels stand where they are put.

    A layout is found for every format anew, which for dozens of panels takes a minute.
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


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
