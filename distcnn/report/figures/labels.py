"""Figures of the labels of a survey: where the stars lie."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.evaluation import Sample
from distcnn.evaluation.metrics import known_snr_groups
from distcnn.evaluation.subgroups import METALLICITIES
from distcnn.style import (
    ORDERED,
    RED,
    axis_title,
    bounds,
    density,
    empty,
    extent,
    grid,
    hexagons,
    panels,
    snr_title,
    wrapped_panels,
)

ALPHAS = ("alpham", "mgfe", "sife")


def first_of(wanted: Sequence[str], names: Sequence[str]) -> int | None:
    """Position among ``names`` of the first wanted label; None if there is none."""
    return next((list(names).index(name) for name in wanted if name in names), None)


def kiel(sample: Sample, names: Sequence[str]) -> Figure | None:
    """Surface gravity against temperature: number of stars, and median metallicity."""
    if not {"teff", "logg"} <= set(names):
        return None
    shown = _unflagged(sample)
    teff, logg = (shown.label[:, list(names).index(name)] for name in ("teff", "logg"))
    metal = first_of(METALLICITIES, names)
    figure, axes = panels(1, 1 if metal is None else 2, width=5.4, height=4.4)
    for ax in axes[0]:
        ax.set_xlim(*bounds(teff)[::-1])
        ax.set_ylim(*bounds(logg)[::-1])
        ax.set_xlabel(axis_title("teff"))
        ax.set_ylabel(axis_title("logg"))
        grid(ax)
    drawn = density(axes[0, 0], teff, logg, bins=80)
    if not isinstance(drawn, list):
        figure.colorbar(drawn, ax=axes[0, 0], label="stars per cell", pad=0.01)
    if metal is not None:
        _coloured(axes[0, 1], (teff, logg, shown.label[:, metal]), names[metal])
    return figure


def _coloured(ax: Axes, columns: tuple[Array, Array, Array], name: str) -> None:
    x, y, value = columns
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(value)
    if not good.any():
        empty(ax, "no star with all three labels")
        return
    low, high = bounds(value[good], tail=0.02, margin=0)
    drawn = ax.hexbin(
        x[good],
        y[good],
        C=value[good],
        reduce_C_function=np.median,
        gridsize=hexagons(ax, 80),
        extent=extent(ax),
        cmap=ORDERED,
        vmin=low,
        vmax=high,
        linewidths=0.15,
        rasterized=True,
    )
    ax.figure.colorbar(drawn, ax=ax, label=f"median {axis_title(name)}", pad=0.01, extend="both")


def alpha_plane(sample: Sample, names: Sequence[str], edges: Sequence[float]) -> Figure | None:
    """Alpha elements against metallicity in panels of S/N, with the typical quoted errors."""
    metal, alpha = first_of(METALLICITIES, names), first_of(ALPHAS, names)
    if metal is None or alpha is None:
        return None
    shown = _unflagged(sample)
    parts = known_snr_groups(shown.snr, edges)
    parts = parts[1:] if len(parts) > 1 else parts
    grouped = wrapped_panels(len(parts), height=3.5, min_width=2.7)
    x, y = shown.label[:, metal], shown.label[:, alpha]
    for ax, (text, inside) in zip(grouped.axes[0], parts, strict=True):
        ax.set_xlim(*bounds(x))
        ax.set_ylim(*bounds(y))
        grid(ax)
        density(ax, x[inside], y[inside], bins=45)
        title = "all stars" if text == "all" else f"S/N {snr_title(text)}"
        ax.set_title(f"{title}  ({inside.sum():,})")
        ax.set_xlabel(axis_title(names[metal]))
        errors = shown.label_error[inside][:, [metal, alpha]]
        if np.isfinite(errors).all(axis=1).any():
            _error_cross(ax, np.nanmedian(errors, axis=0))
    grouped.label_outer()
    grouped.set_ylabel(0, axis_title(names[alpha]))
    return grouped.figure


def _error_cross(ax: Axes, error: Array) -> None:
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    at = (left + 0.14 * (right - left), low + 0.16 * (high - low))
    ax.errorbar(*at, xerr=error[0], yerr=error[1], color=RED, lw=1.4, capsize=2)


def _unflagged(sample: Sample) -> Sample:
    """Unflagged stars that represent the survey; all of those drawn if every star is flagged."""
    clean = sample.drawn & (sample.flags == 0)
    return sample.take(clean if clean.any() else sample.drawn)
