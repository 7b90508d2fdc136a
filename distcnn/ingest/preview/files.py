"""What a configuration makes of a file, without writing anything: ``distcnn ingest --try``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import REST, GridConfig, IngestConfig, RestFrameConfig
from distcnn.errors import ConfigError, InputError
from distcnn.ingest.plan import spectra_reader_of
from distcnn.ingest.preprocess.spectra import Preparation, unusable
from distcnn.ingest.preprocess.statements import SILENT, Statements, agreed_grid
from distcnn.ingest.preprocess.velocity import (
    CORRECTION,
    VELOCITY,
    RestFramePreparation,
    Velocities,
    check_frames,
    doppler_factors,
    is_topocentric,
)
from distcnn.ingest.preprocess.wavelength import known
from distcnn.ingest.preview.known_lines import FoundLines, find_lines, places_of_lines
from distcnn.ingest.readers import Block, Rejected, SpectraReader
from distcnn.ingest.readers.formats.containers import Unread, collecting_notes
from distcnn.ingest.staging.scale import FluxEncoding, ScaleOfFile
from distcnn.schema import MaskBit

_IN_KM_S = RestFrameConfig(velocity="spectra")
SPECTRA_SHOWN = 8
"""As many spectra of a file are prepared and shown; the others are counted."""


@dataclass(frozen=True)
class SpectrumPreview:
    """A spectrum as it would be stored."""

    row: int
    source_id: int
    name: str
    snr: float
    """The file's own, or the median of flux over error."""
    velocity: float
    """Velocity that the file gives [km/s]; NaN if none."""
    shifted: bool
    """Whether it is shifted to rest by that velocity."""
    wavelength: Array
    """Of the stored pixels [Q]."""
    flux: Array
    error: Array | None
    mask: Array
    """MaskBit of the stored pixels [Q]."""
    lines: FoundLines
    """Known lines in the stored pixels."""
    problem: str = ""
    """Why an ingest would quarantine it; empty if it would not."""

    @property
    def title(self) -> str:
        """Star and S/N, as they stand over a figure."""
        found = len(self.lines.velocity)
        lines = f", {found} lines at {self.lines.median:+.0f} km/s" if found else ""
        return f"{self.name or self.source_id}, S/N {self.snr:.0f}{lines}"

    def share(self, bit: MaskBit) -> float:
        """Share of the stored pixels with that bit."""
        return float(((self.mask & bit) != 0).mean())

    @property
    def good(self) -> float:
        """Share of the stored pixels without any bit; 0 of a spectrum that is not taken."""
        return 0.0 if self.problem else float((self.mask == 0).mean())


@dataclass(frozen=True)
class FilePreview:
    """What became of a file."""

    path: Path
    error: InputError | None = None
    """Why it cannot be used; then all else is empty."""
    stated: Statements = SILENT
    grid: GridConfig = field(default_factory=GridConfig)
    """Unit, medium and frame of its wavelengths, by the file or else the configuration."""
    wavelength: Array = field(default_factory=lambda: np.empty(0))
    """Of its first spectrum, in the unit of ``grid``."""
    stored: GridConfig = field(default_factory=GridConfig)
    """Unit, medium and frame of the stored pixels."""
    count: int = 0
    """Spectra that were read; those with a ``problem`` among them would not be taken."""
    spectra: tuple[SpectrumPreview, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    refused: InputError | None = None
    """Why an ingest would refuse the file for the scale of its fluxes."""
    unread: tuple[Unread, ...] = ()

    @property
    def put_aside(self) -> int:
        """Spectra that an ingest would quarantine, of those that are shown; 1 of a whole file."""
        if self.error is not None or self.refused is not None:
            return 1
        return len(self.rejected) + sum(bool(one.problem) for one in self.spectra)

    @property
    def line_places(self) -> dict[str, float]:
        """Wavelengths at which known lines belong, in the unit and medium of the stored pixels."""
        return places_of_lines(self.stored.unit, self.stored.medium)


def preview_file(path: Path, config: IngestConfig) -> FilePreview:
    """Read a file of spectra as an ingest would, and prepare its first spectra.

    Raises
    ------
    ConfigError : the survey has no spectra, or the configuration cannot be carried out.
    """
    reader = spectra_reader_of(config)
    if reader is None:
        raise ConfigError(
            "ingest.spectra = null", expected="the files of spectra that are to be tried"
        )
    try:
        with collecting_notes() as notes:
            preview = _preview(path, config, reader)
    except InputError as error:
        return FilePreview(path, error)
    return _with_notes(preview, notes.unread)


def _with_notes(preview: FilePreview, unread: Sequence[Unread]) -> FilePreview:
    return FilePreview(**{**vars(preview), "unread": tuple(unread)})


def _preview(path: Path, config: IngestConfig, reader: SpectraReader) -> FilePreview:
    stated = reader.statements(path)
    grid = agreed_grid(config.grid, stated, path, config.override)
    check_frames(config, grid, stated, path)
    wavelength = reader.wavelength(path)
    count, rejected, shown = 0, list[Rejected](), list[SpectrumPreview]()
    scale = ScaleOfFile(FluxEncoding.of(config.store))
    for block in reader.blocks(path, rows=config.block_rows):
        count += len(block)
        rejected += block.rejected
        some = block.take(np.arange(min(len(block), SPECTRA_SHOWN - len(shown))))
        shown += _prepared(some, known(wavelength), grid, config, scale)
    stored = grid if config.prepare.target is None else config.prepare.target
    if config.prepare.rest_frame is not None:
        shifted = any(one.shifted for one in shown)
        stored = stored.model_copy(update={"frame": REST if shifted else grid.frame})
    return FilePreview(
        path,
        stated=stated,
        grid=grid,
        wavelength=known(wavelength),
        stored=stored,
        count=count,
        spectra=tuple(shown),
        rejected=tuple(rejected),
        refused=_refusal(scale, path, config),
    )


def _refusal(scale: ScaleOfFile, path: Path, config: IngestConfig) -> InputError | None:
    try:
        scale.check(path, config.store)
    except InputError as error:
        return error
    return None


def _prepared(
    block: Block, common: Array, grid: GridConfig, config: IngestConfig, scale: ScaleOfFile
) -> Iterator[SpectrumPreview]:
    columns, factors = block.columns, _factors(block, grid, config)
    velocities = Velocities.of(columns, len(block), config.prepare.rest_frame or _IN_KM_S)
    stored = grid if config.prepare.target is None else config.prepare.target
    for row in range(len(block)):
        own = columns.get("wavelength")
        wavelength = common if own is None else known(own[row])
        use = slice(len(wavelength))
        flux = columns["flux"][row : row + 1, use]
        error = columns["flux_error"][row : row + 1, use] if "flux_error" in columns else None
        preparation: Preparation | RestFramePreparation
        if factors is None:
            preparation = Preparation.for_grid(wavelength, grid, config.prepare)
            done = preparation.apply(flux, error)
        else:
            preparation = RestFramePreparation.for_grid(wavelength, grid, config.prepare)
            done = preparation.apply(flux, error, factors[row : row + 1])
        noise = None if done.error is None else done.error[0]
        beyond = scale.encoding.beyond(done.flux)
        done.mask[beyond] |= np.uint8(MaskBit.RANGE)
        lost = scale.judge(done.flux, done.error, beyond) | unusable(flux, done.mask)
        yield SpectrumPreview(
            int(block.rows[row]),
            int(columns["source_id"][row]),
            _name(columns, row),
            _snr(columns, row, flux, error),
            float(velocities.velocity[row]),
            factors is not None,
            preparation.wavelength,
            done.flux[0],
            noise,
            done.mask[0],
            find_lines(preparation.wavelength, done.flux[0], noise, stored.unit, stored.medium),
            lost.get(0, ""),
        )


def _factors(block: Block, grid: GridConfig, config: IngestConfig) -> Array | None:
    """What the wavelengths of rows are divided by [B]; None if spectra bring no velocities."""
    shift = config.prepare.rest_frame
    if shift is None or config.velocity_files != "spectra":
        return None
    columns, stars = block.columns, len(block)
    correction = None
    if is_topocentric(shift, grid) and CORRECTION in columns:
        correction = Velocities.of({VELOCITY: columns[CORRECTION]}, stars, shift).velocity
    velocity = Velocities.of(columns, stars, shift).velocity
    return np.nan_to_num(doppler_factors(velocity, correction), nan=1.0)


def _name(columns: Mapping[str, Array], row: int) -> str:
    names = columns.get("name")
    return "" if names is None else bytes(names[row]).rstrip(b"\0").decode("utf-8", "replace")


def _snr(columns: Mapping[str, Array], row: int, flux: Array, error: Array | None) -> float:
    given = columns.get("snr")
    if given is not None:
        return float(given[row])
    if error is None:
        return float("nan")
    with np.errstate(all="ignore"):
        ratio = flux / error
    good = ratio[np.isfinite(ratio)]
    return float(np.median(good)) if good.size else float("nan")
