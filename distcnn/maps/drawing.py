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

PIXEL_FACTORS = (1, 2, 4, 5, 8, 10)
"""By which the pixels of an image may be enlarged."""
LEAST_PIXELS, STARS_A_PIXEL = 44, 3.0
"""Of the shorter side; mean of those that are not empty."""
LEAST_TICK_DISTANCE = 0.06
"""Between numbers of a colour bar, in its length."""


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

    filled = np.unique(counts[counts > 0])
    if len(filled) < 2:  # it divides by the range of shades, and would show nothing
        image = np.zeros((*counts.shape, 4), np.uint8)
        image[counts > 0] = np.uint8(255) * np.array(mpl.colormaps[colours](0.0))
        return image
    table = xr.DataArray(np.asarray(counts, np.uint32), dims=("y", "x"))
    with np.errstate(divide="ignore", invalid="ignore"):  # of the empty pixels
        shown = shading.shade(table, cmap=mpl.colormaps[colours], how="eq_hist")
    return np.asarray(shown.to_numpy().view(np.uint8).reshape(*counts.shape, 4))


def shade_of(counts: Array, value: Array) -> Array:
    """Places [0, 1] in the colours of ``shaded`` that pixels of ``value`` stars have."""
    filled, pixels = np.unique(counts[counts > 0], return_counts=True)
    share = np.cumsum(pixels) / pixels.sum()
    place = np.interp(value, filled, share)
    return np.asarray((place - share[0]) / max(1.0 - share[0], 1e-12))


def readable(counts: Array) -> Array:
    """Counts in pixels large enough to be seen and compared: of few stars in larger ones."""
    for factor in PIXEL_FACTORS:
        rows, columns = counts.shape
        if rows % factor or columns % factor or min(rows, columns) < factor * LEAST_PIXELS:
            continue
        coarse = enlarged(counts, factor)
        if coarse.sum() >= STARS_A_PIXEL * np.count_nonzero(coarse):
            break
    return coarse


def enlarged(counts: Array, factor: int) -> Array:
    """Sums of ``factor`` by ``factor`` pixels, of an image that can be cut so."""
    rows, columns = counts.shape
    shape = (rows // factor, factor, columns // factor, factor)
    return np.asarray(counts.reshape(shape).sum(axis=(1, 3)))


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


def add_density_scale(figure: Figure, axes: Axes, counts: Array) -> None:
    """A colour bar of the stars per pixel beside what ``draw_density`` showed of ``counts``."""
    filled = counts[counts > 0]
    if not filled.size:
        return
    steps = np.outer(10.0 ** np.arange(10), (1, 2, 5)).ravel()
    steps = steps[(steps >= filled.min()) & (steps <= filled.max())]
    places: list[float] = []
    names: list[str] = []
    for step, place in zip(steps, shade_of(counts, steps), strict=True):
        if not places or place - places[-1] > LEAST_TICK_DISTANCE:
            places.append(float(place))
            names.append(f"{step:,.0f}")
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), DENSITY)
    bar = figure.colorbar(colours, ax=axes, label="stars per pixel", aspect=30, pad=0.02)
    bar.set_ticks(places, labels=names)
