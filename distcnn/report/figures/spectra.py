"""Figures of the spectra: examples with their masked pixels, and how novel each spectrum is."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.evaluation import Sample
from distcnn.evaluation.subgroups import choose_examples
from distcnn.labels import label_info
from distcnn.schema import Flag, MaskBit
from distcnn.style import (
    BLUE,
    FAINT_INK,
    GREEN,
    INK,
    ORANGE,
    PAGE_WIDTH,
    PURPLE,
    RED,
    bounds,
    grid,
    panels,
    plain_ticks,
    symbol,
)
from distcnn.survey import Region, Store

MASK_COLOURS = {
    MaskBit.MISSING: FAINT_INK,
    MaskBit.OUTLIER: RED,
    MaskBit.RANGE: PURPLE,
    MaskBit.EDGE: ORANGE,
}


_DEFECT_MARKERS = {
    "wrong_rv": (RED, "v"),
    "hot": (ORANGE, "^"),
    "binary": (GREEN, "s"),
    "cosmic": (INK, "x"),
}
"""Simulated defects that should make a spectrum novel."""
MAX_POINTS = 20_000
GAP_STEPS = 20
"""Steps of a grid between neighbouring pixels from which on there is a gap; log grids have 3."""


def spectra(
    sample: Sample, names: Sequence[str], survey: Store | None, number: int
) -> Figure | None:
    """A few spectra of different kinds, masked pixels marked, with labels and flags."""
    if survey is None or "flux" not in survey.variables or not number or not len(sample):
        return None
    chosen = choose_examples(sample, number)
    figure, axes = panels(len(chosen), 1, width=PAGE_WIDTH, height=1.95)
    wavelength = survey.coordinate("wavelength")
    for ax, (kind, position) in zip(axes[:, 0], chosen, strict=True):
        row = int(sample.row[position])
        names_read = [n for n in ("flux", "flux_error", "mask") if n in survey.variables]
        block = survey.read(Region(row, row + 1), names_read)
        _spectrum(ax, wavelength, {name: values[0] for name, values in block.items()})
        ax.set_title(_headline(sample, position, names, kind), fontsize=8.5)
        ax.label_outer()
    attrs = survey.coordinate_attrs("wavelength")
    medium = f", {attrs['medium']}" if "medium" in attrs else ""
    axes[-1, 0].set_xlabel(f"wavelength [{attrs.get('unit', 'nm')}{medium}]")
    return figure


def _spectrum(ax: Axes, wavelength: Array, star: dict[str, Array]) -> None:
    flux = star["flux"]
    if "flux_error" in star:
        low, high = flux - star["flux_error"], flux + star["flux_error"]
        at, low, high = with_gaps(wavelength, low, high)
        ax.fill_between(at, low, high, color=BLUE, alpha=0.2, lw=0)
    ax.plot(*with_gaps(wavelength, flux), color=BLUE, lw=0.8)
    ax.set_xlim(float(wavelength[0]), float(wavelength[-1]))
    ax.set_ylim(*bounds(flux, tail=0.0005, margin=0.12))
    ax.set_ylabel("flux")
    grid(ax, "x")
    if "mask" not in star:
        return
    step = float(np.median(np.diff(wavelength)))
    for bit, colour in MASK_COLOURS.items():
        for start, stop in _runs((star["mask"] & np.uint8(bit)) != 0):
            left, right = wavelength[start] - step / 2, wavelength[stop - 1] + step / 2
            # Two pixels at least, or a single one would be too thin to be seen.
            right = max(right, left + 2 * step)
            ax.axvspan(left, right, color=colour, alpha=0.3, lw=0, ymax=1)


def with_gaps(wavelength: Array, *values: Array) -> tuple[Array, ...]:
    """Wavelengths and values with NaN between windows of a grid, which no line is to cross."""
    steps = np.diff(wavelength)
    gaps = np.flatnonzero(steps > GAP_STEPS * np.median(steps)) + 1
    middle = (wavelength[gaps] + wavelength[gaps - 1]) / 2
    drawn = (np.insert(np.asarray(one, float), gaps, np.nan) for one in values)
    return np.insert(np.asarray(wavelength, float), gaps, middle), *drawn


def _runs(mask: Array) -> Iterator[tuple[int, int]]:
    """Half-open index ranges where the mask is set."""
    change = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    yield from ((int(a), int(b)) for a, b in change.reshape(-1, 2))


def _headline(sample: Sample, position: int, names: Sequence[str], kind: str) -> str:
    values = []
    for column, name in enumerate(names):
        info, digits = label_info(name), 0 if name == "teff" else 2
        label, error = sample.label[position, column], sample.label_error[position, column]
        unit = f" {info.unit}" if info.unit == "K" else ""
        values.append(f"{symbol(name)} {label:.{digits}f}±{error:.{digits}f}{unit}")
    flags = "|".join(flag.name or "" for flag in Flag if sample.flags[position] & flag) or "no flag"
    defect = f" ({sample.defect[position]})" if sample.defect[position] else ""
    first = f"{kind}{defect}: {sample.source_id[position]}, S/N {sample.snr[position]:.0f}, {flags}"
    return f"{first}\n{'   '.join(values)}"


def novelty(sample: Sample) -> Figure | None:
    """Novelty score against S/N; simulated defects stand out where it is known."""
    good = np.isfinite(sample.novelty) & (sample.snr > 0) & (sample.drawn | (sample.defect != ""))
    if not good.any():
        return None
    shown = sample.take(good)
    score = np.clip(shown.novelty, 0.02, None)
    figure, axes = panels(1, 1, width=7, height=3.4)
    ax = axes[0, 0]
    plain = np.flatnonzero(shown.defect == "")[:MAX_POINTS]
    ax.plot(
        shown.snr[plain],
        score[plain],
        ".",
        color=FAINT_INK if (shown.defect != "").any() else BLUE,
        ms=2,
        alpha=0.4,
        rasterized=True,
        label="stars" if len(plain) == len(shown) else "clean stars",
    )
    for kind, (colour, marker) in _DEFECT_MARKERS.items():
        mine = shown.has_defect(kind)
        if mine.any():
            ax.plot(
                shown.snr[mine],
                score[mine],
                marker,
                color=colour,
                ms=3.5,
                alpha=0.8,
                rasterized=True,
                label=kind.replace("_", " "),
            )
    ax.axhline(1, color=INK, lw=1, ls="--")
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_ticks(ax.xaxis)
    plain_ticks(ax.yaxis)
    ax.set_xlabel("S/N per pixel")
    ax.set_ylabel("novelty (1 = limit)")
    figure.legend(loc="outside right upper", markerscale=1.6)
    grid(ax)
    return figure
