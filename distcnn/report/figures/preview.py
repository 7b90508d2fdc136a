"""Figure of spectra as they would be stored, with masked pixels and the known lines marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.files import naming
from distcnn.report.figures.spectra import MASK_COLOURS, with_gaps
from distcnn.style import (
    BLUE,
    FAINT_INK,
    INK,
    PAGE_WIDTH,
    bounds,
    grid,
    panels,
    style,
)

MAX_SPECTRA = 4
"""Spectra drawn, of one file."""
_PANEL_HEIGHT = 2.2


class ShownSpectrum(Protocol):
    """A spectrum as it would be stored."""

    @property
    def wavelength(self) -> Array:
        """Of the stored pixels [Q]."""

    @property
    def flux(self) -> Array:
        """Flux [Q]."""

    @property
    def error(self) -> Array | None:
        """Its error [Q]."""

    @property
    def mask(self) -> Array:
        """MaskBit [Q]."""


def draw_spectra(
    spectra: Sequence[ShownSpectrum],
    titles: Sequence[str],
    lines: Mapping[str, float],
    axis: str,
) -> Figure:
    """One panel per spectrum.

    Parameters
    ----------
    lines : name -> wavelength at which a known line belongs, in the unit of the axis.
    axis : what stands under the wavelengths.
    """
    number = min(len(spectra), MAX_SPECTRA)
    figure, axes = panels(number, 1, width=PAGE_WIDTH, height=_PANEL_HEIGHT)
    for ax, one, title in zip(axes[:, 0], spectra, titles, strict=False):
        _draw(ax, one, lines)
        ax.set_title(title, fontsize=8.5)
    axes[-1, 0].set_xlabel(axis)
    return figure


def _draw(ax: Axes, one: ShownSpectrum, lines: Mapping[str, float]) -> None:
    wavelength, flux = one.wavelength, one.flux
    if one.error is not None:
        at, below, above = with_gaps(wavelength, flux - one.error, flux + one.error)
        ax.fill_between(at, below, above, color=BLUE, alpha=0.2, lw=0)
    ax.plot(*with_gaps(wavelength, flux), color=BLUE, lw=0.6)
    low, high = bounds(flux, tail=0.002, margin=0.15)
    ax.set_ylim(low, high)
    ax.set_xlim(float(wavelength[0]), float(wavelength[-1]))
    ax.set_ylabel("flux")
    grid(ax, "x")
    for bit, colour in MASK_COLOURS.items():
        masked = np.where((one.mask & np.uint8(bit)) != 0, high, np.nan)
        at, top = with_gaps(wavelength, masked)
        ax.fill_between(at, low, top, step="mid", color=colour, alpha=0.25, lw=0)
    for name, place in lines.items():
        if wavelength[0] < place < wavelength[-1]:
            ax.axvline(place, color=FAINT_INK, lw=0.6, ls=":")
            ax.text(place, high, name, rotation=90, va="top", ha="right", fontsize=6, color=INK)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        figure.savefig(path, format="png", metadata={"Software": None})


def save_spectra(
    path: Path,
    spectra: Sequence[ShownSpectrum],
    titles: Sequence[str],
    lines: Mapping[str, float],
    axis: str,
) -> None:
    """Draw spectra in the style of the report and write them as PNG."""
    with style():
        save_figure(draw_spectra(spectra, titles, lines, axis), path)
