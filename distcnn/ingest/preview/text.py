"""A preview as text: identifiers, wavelengths, what the file says, masks, and a plot of letters."""

from collections.abc import Iterator

import numpy as np

from distcnn.arrays import Array
from distcnn.config import IngestConfig
from distcnn.ingest.preprocess.statements import Statement, unneeded_overrides
from distcnn.ingest.preview.files import FilePreview, SpectrumPreview
from distcnn.schema import MaskBit

PLOT_WIDTH, PLOT_HEIGHT = 72, 12
_MARK = "*"
AIR_SHIFT_KM_S = 82.0
"""By as much lines are too blue where wavelengths in air are taken for vacuum, 400 to 1700 nm."""


def describe_preview(preview: FilePreview, config: IngestConfig) -> str:
    """What a configuration makes of a file, as some lines of text."""
    return "\n".join(_lines(preview, config))


def _lines(preview: FilePreview, config: IngestConfig) -> Iterator[str]:
    if preview.error is not None:
        yield f"{preview.path}: cannot be used"
        yield f"  {preview.error}"
        return
    lost = sum(bool(one.problem) for one in preview.spectra)
    found, put_aside = _spectra(preview.count - lost), len(preview.rejected) + lost
    yield f"{preview.path}: {found}, {put_aside} quarantined"
    grid, wave = preview.grid, preview.wavelength
    yield f"  wavelengths  {_range(wave)} {grid.unit}"
    said = preview.stated
    for name, value in (("unit", grid.unit), ("medium", grid.medium), ("frame", grid.frame)):
        yield f"  {name:<12} {value} ({_source(getattr(said, name))})"
    yield f"  flux unit    {_flux_unit(said.flux_unit)}"
    if said.error_kind is not None:
        yield f"  error        {said.error_kind.value} ({said.error_kind.words})"
    if preview.spectra:
        first, stored = preview.spectra[0], preview.stored
        yield (
            f"  stored as    {_range(first.wavelength)} {stored.unit}, {stored.medium}, "
            f"{stored.frame}; normalisation {config.prepare.normalisation}"
        )
    yield from _notes(preview, config)
    yield from _table(preview.spectra)
    yield from _other_medium(preview)
    if len(preview.spectra) < preview.count:
        yield f"  ... and {preview.count - len(preview.spectra)} more"
    if preview.spectra:
        yield from _plot(preview.spectra[0].wavelength, preview.spectra[0].flux)


def _notes(preview: FilePreview, config: IngestConfig) -> Iterator[str]:
    """What is not done here, what was not read, and the first of the rows that are quarantined."""
    shift = config.prepare.rest_frame
    if shift is not None and shift.velocity != "spectra":
        yield f"  not shifted  here; an ingest takes the velocities from ingest.{shift.velocity}"
    for note in preview.unread:
        yield f"  not read     {note.what} ({note.where}); {note.cure}"
    for sentence in unneeded_overrides(config.override, preview.stated.overridden):
        yield f"  not needed   {sentence}"
    for row in preview.rejected[:3]:
        yield f"  quarantined  row {row.row}: {row.detail}"
    for one in preview.spectra:
        if one.problem:
            yield f"  quarantined  row {one.row}: {one.problem}"
    if preview.refused is not None:
        yield f"  refused      by an ingest: {preview.refused}"


def _spectra(count: int) -> str:
    return f"{count} spectrum" if count == 1 else f"{count} spectra"


def _range(wavelength: Array) -> str:
    first, last = wavelength[0], wavelength[-1]
    return f"{len(wavelength)} pixels from {first:.8g} to {last:.8g}"


def _source(said: Statement | None) -> str:
    return f"the file says {said.words}" if said is not None else "as the configuration says"


def _flux_unit(said: Statement | None) -> str:
    if said is None:
        return "the file does not say"
    return f"{said.value or 'of the continuum'} ({said.words})"


def _table(spectra: tuple[SpectrumPreview, ...]) -> Iterator[str]:
    if not spectra:
        return
    yield (
        f"  {'row':>6} {'source_id':>20} {'name':<24} {'S/N':>7} {'good':>6} {'missing':>7} "
        f"{'outlier':>7} {'edge':>6}  known lines"
    )
    for one in spectra:
        shares = (one.share(bit) for bit in (MaskBit.MISSING, MaskBit.OUTLIER, MaskBit.EDGE))
        missing, outlier, edge = (f"{100 * share:.1f}%" for share in shares)
        yield (
            f"  {one.row:>6} {one.source_id:>20} {one.name:<24} {one.snr:>7.1f} "
            f"{100 * one.good:>5.1f}% {missing:>7} {outlier:>7} {edge:>6}  {_found(one)}"
        )


def _found(one: SpectrumPreview) -> str:
    lines = one.lines
    if not lines.velocity:
        return "none found"
    told = "after a shift by" if one.shifted else "the file says"
    given = f"; {told} {one.velocity:+.1f}" if np.isfinite(one.velocity) else ""
    return f"{len(lines.velocity)} at {lines.median:+.0f} km/s, scatter {lines.scatter:.0f}{given}"


def _other_medium(preview: FilePreview) -> Iterator[str]:
    """A word of doubt where the lines would lie much better in the other medium."""
    median = preview.spectra[0].lines.median if preview.spectra else float("nan")
    medium, other = ("vacuum", "air") if preview.grid.medium == "vacuum" else ("air", "vacuum")
    there = median + (AIR_SHIFT_KM_S if medium == "vacuum" else -AIR_SHIFT_KM_S)
    if preview.stated.medium is None and abs(there) < abs(median) / 3:
        yield f"  doubt        in {other} the lines would be at {there:+.0f} km/s"


def _plot(wavelength: Array, flux: Array) -> Iterator[str]:
    """The spectrum in letters: the median of the pixels of each column."""
    good = np.isfinite(flux)
    if not good.any():
        yield "  no pixel can be used"
        return
    edges = np.linspace(wavelength[0], wavelength[-1], PLOT_WIDTH + 1)
    place = np.clip(np.searchsorted(edges, wavelength, side="right") - 1, 0, PLOT_WIDTH - 1)
    heights = np.full(PLOT_WIDTH, np.nan)
    for column in range(PLOT_WIDTH):
        here = flux[good & (place == column)]
        heights[column] = np.median(here) if here.size else np.nan
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    span = (high - low) or 1.0
    rows = [[" "] * PLOT_WIDTH for _ in range(PLOT_HEIGHT)]
    for column in np.flatnonzero(np.isfinite(heights)).tolist():
        height = round(float((high - heights[column]) / span * (PLOT_HEIGHT - 1)))
        rows[height][column] = _MARK
    for number, row in enumerate(rows):
        label = f"{high:9.3g}" if number == 0 else f"{low:9.3g}" if number == len(rows) - 1 else ""
        yield f"  {label:>9} |{''.join(row).rstrip()}"
    yield f"  {'':>9} +{'-' * PLOT_WIDTH}"
    left, right = f"{wavelength[0]:.6g}", f"{wavelength[-1]:.6g}"
    yield f"  {'':>10} {left}{right:>{PLOT_WIDTH - len(left)}}"
