"""Spectra of a part: read, prepared and staged block by block."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import GridConfig, IngestConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.plan import PartTask, spectra_reader_of
from distcnn.ingest.preprocess.spectra import Preparation, median_of, unusable
from distcnn.ingest.preprocess.statements import Statements, agreed_grid, check_same
from distcnn.ingest.preprocess.velocity import (
    ERROR,
    VELOCITY,
    RestFramePreparation,
    Velocities,
    check_frames,
    doppler_factors,
    is_topocentric,
)
from distcnn.ingest.preprocess.wavelength import convert_unit, in_order, known, same_grid
from distcnn.ingest.readers import Block, Rejected, SpectraReader
from distcnn.ingest.staging.columns import PartWriter, name_bytes
from distcnn.ingest.staging.flux_unit import flux_factor_of, in_flux_unit
from distcnn.ingest.staging.repeated import spectrum_ids
from distcnn.ingest.staging.scale import ErrorRange, FluxEncoding, ScaleOfFile
from distcnn.ingest.staging.velocity import VelocitySource
from distcnn.schema import NAME_BYTES, MaskBit, Reason

Problem = tuple[Reason, str]
_ROWS_OF_NAN = 1024
_NO_PROBLEM: Problem = (Reason.GRID, "")


def stage_spectra(task: PartTask, writer: PartWriter) -> ErrorRange:
    """Stage the usable rows of all files of a part; the others are noted as rejected.

    A file that cannot be used is noted as a whole. Returns the range of the flux errors, which
    decides how the survey stores them.

    Raises
    ------
    GridMismatch, ScaleMismatch : the spectra of a file do not fit the settings.
    """
    reader = spectra_reader_of(task.config)
    assert reader is not None
    writer.append(_no_spectra(task))
    errors, encoding = ErrorRange(), FluxEncoding.of(task.config.store)
    motion = VelocitySource.of(task)
    preparations = _Preparations(task.config, RestFramePreparation if motion else Preparation)
    for number, path in enumerate(task.files):
        with writer.whole_or_none("spectra", path):
            scale = ScaleOfFile(encoding)
            preparing = _preparing(task, path, reader, preparations, motion)
            writer.overridden |= set(preparing.stated.overridden)
            of_file = _stage_file(task, writer, reader, number, preparing=preparing, scale=scale)
            errors.join(of_file)
    return errors


def _stage_file(
    task: PartTask,
    writer: PartWriter,
    reader: SpectraReader,
    number: int,
    *,
    preparing: "_Preparing",
    scale: ScaleOfFile,
) -> ErrorRange:
    path, errors = task.files[number], ErrorRange()
    factor = flux_factor_of(task.config, preparing.stated, task.stated, path)
    for read in reader.blocks(path, rows=task.config.block_rows):
        block = in_flux_unit(read, factor)
        writer.reject("spectra", block.rejected)
        if len(block):
            problems, columns = _prepare_block(task, block, preparing, scale)
            writer.reject("spectra", _rejected(block, str(path), problems))
            keep = np.ones(len(block), bool)
            keep[list(problems)] = False
            columns["file"] = np.full(len(block), number, np.int32)
            columns = {name: values[keep] for name, values in columns.items()}
            if "flux_error" in columns:
                errors.include(columns["flux_error"])
            writer.append(_with_error(columns, writer))
    scale.check(path, task.config.store)
    return errors


def _with_error(columns: dict[str, Array], writer: PartWriter) -> dict[str, Array]:
    """The columns with errors of NaN, if only some files of the part have errors."""
    if "flux_error" not in columns and "flux_error" in writer.columns:
        nothing = np.full_like(columns["flux"], np.nan)
        return columns | {"flux_error": nothing}
    if "flux_error" in columns and "flux_error" not in writer.columns:
        missing, width = writer.columns["source_id"].rows, columns["flux_error"].shape[1]
        for start in range(0, missing, _ROWS_OF_NAN):
            rows = min(_ROWS_OF_NAN, missing - start)
            writer.append({"flux_error": np.full((rows, width), np.nan, np.float32)})
    return columns


def _no_spectra(task: PartTask) -> dict[str, Array]:
    assert task.wavelength is not None
    empty = np.empty((0, len(task.wavelength)), np.float32)
    columns: dict[str, Array] = {n: np.empty(0, np.int64) for n in ("source_id", "row")}
    columns |= {"file": np.empty(0, np.int32), "flux": empty, "mask": empty.astype(np.uint8)}
    columns["name"] = np.empty((0, NAME_BYTES), np.uint8)
    if task.config.repeats in ("coadd", "each"):
        columns["spectrum_id"] = np.empty(0, np.int64)
    if task.config.velocity_files is not None:
        columns |= {name: np.empty(0, np.float32) for name in (VELOCITY, ERROR)}
    return columns | {name: np.empty(0) for name in ("ra", "dec", "spectrum_snr")}


class _Preparations:
    """Preparations by grid: the last one is kept, for files of a survey mostly have the same."""

    def __init__(
        self, config: IngestConfig, kind: type[Preparation] | type[RestFramePreparation]
    ) -> None:
        self.config, self.kind = config, kind
        self._last: tuple[Array, GridConfig, Preparation | RestFramePreparation] | None = None

    def of(self, wavelength: Array, grid: GridConfig) -> Preparation | RestFramePreparation:
        """That of input centres [P] in unit and medium of a grid.

        Raises
        ------
        GridMismatch : the wavelengths neither increase nor decrease throughout.
        """
        last = self._last
        if last is None or last[1] != grid or not np.array_equal(last[0], wavelength):
            found = self.kind.for_grid(wavelength, grid, self.config.prepare)
            last = self._last = wavelength, grid, found
        return last[2]


@dataclass(frozen=True)
class _Preparing:
    """How the spectra of one file are prepared: on its own grid, or row by row."""

    path: Path
    grid: GridConfig
    """Grid of the file: the configuration, with what the file says where that is silent."""
    wavelength: Array
    stated: Statements
    common: Preparation | RestFramePreparation
    of_others: "_Preparations"
    motion: VelocitySource | None
    """Where velocities come from, if the spectra are shifted to rest."""

    @property
    def width(self) -> float:
        """Width of a pixel of the file [nm], the median where they differ."""
        return float(
            np.median(np.abs(np.diff(convert_unit(self.wavelength, self.grid.unit, "nm"))))
        )


def _preparing(
    task: PartTask,
    path: Path,
    reader: SpectraReader,
    preparations: "_Preparations",
    motion: VelocitySource | None,
) -> _Preparing:
    config, stated = task.config, reader.statements(path)
    grid = agreed_grid(config.grid, stated, path, config.override)
    first = agreed_grid(config.grid, task.stated, path, config.override)
    check_same(grid, first, path, converted=config.prepare.target is not None)
    check_frames(config, grid, stated, path)
    wavelength = reader.wavelength(path)
    assert task.wavelength is not None
    preparation = preparations.of(known(wavelength), grid)
    if not same_grid(preparation.wavelength, task.wavelength):
        raise GridMismatch(
            f"{path}, row 1: the spectra stand on {len(wavelength)} pixels from "
            f"{wavelength[0]:.6g} to {wavelength[-1]:.6g}",
            expected="the grid of the other files",
            cure="Give ingest.prepare.target, a common grid to rebin every spectrum onto.",
        )
    return _Preparing(path, grid, wavelength, stated, preparation, preparations, motion)


def _rejected(block: Block, path: str, problems: dict[int, Problem]) -> list[Rejected]:
    source_id = block.columns["source_id"]
    return [
        Rejected(path, int(block.rows[i]), int(source_id[i]), *problem)
        for i, problem in sorted(problems.items())
    ]


def _prepare_block(
    task: PartTask, block: Block, preparing: _Preparing, scale: ScaleOfFile
) -> tuple[dict[int, Problem], dict[str, Array]]:
    """Problems by row of the block, and its columns."""
    columns: dict[str, Array] = {"source_id": block.columns["source_id"], "row": block.rows}
    columns["name"] = name_bytes(block)
    for name in ("ra", "dec"):
        columns[name] = block.columns.get(name, np.full(len(block), np.nan)).astype(float)
    columns["spectrum_snr"] = _snr(block, task.config, preparing)
    if task.config.repeats in ("coadd", "each"):
        columns["spectrum_id"] = spectrum_ids(
            block.columns["flux"], block.columns.get("flux_error")
        )
    problems, shifts = _shifts(block, preparing)
    found, spectra = _prepare_rows(task, block, preparing, shifts)
    problems |= found
    columns |= {} if shifts is None else shifts.columns
    beyond = scale.encoding.beyond(spectra["flux"])
    spectra["mask"][beyond] |= np.uint8(MaskBit.RANGE)
    lost = scale.judge(spectra["flux"], spectra.get("flux_error"), beyond)
    for row, text in lost.items():
        problems.setdefault(row, (Reason.ALL_MISSING, text))
    for row, text in unusable(block.columns["flux"], spectra["mask"]).items():
        problems.setdefault(row, (Reason.ALL_MISSING, text))
    return problems, columns | spectra


@dataclass(frozen=True)
class _Shifts:
    """Shifts of the rows of a block: velocities [km/s], and what wavelengths are divided by."""

    velocities: Velocities
    factors: Array

    @property
    def columns(self) -> dict[str, Array]:
        """Velocities as they are staged."""
        both = {VELOCITY: self.velocities.velocity, ERROR: self.velocities.error}
        return {name: values.astype(np.float32) for name, values in both.items()}


def _shifts(block: Block, preparing: _Preparing) -> tuple[dict[int, Problem], _Shifts | None]:
    """Shifts to rest of the rows, and the rows that cannot be shifted and are not kept as is."""
    motion, problems = preparing.motion, dict[int, Problem]()
    shift = motion.config.prepare.rest_frame if motion is not None else None
    if motion is None or shift is None:
        return problems, None
    velocities, correction = motion.velocities(block, preparing.path), None
    known = velocities.known
    if is_topocentric(shift, preparing.grid):
        correction = motion.correction(block, preparing.path)
        known &= np.isfinite(correction)
    if shift.missing == "quarantine":
        text = "it has no velocity that can be used to shift it to rest"
        problems = {int(row): (Reason.NO_VELOCITY, text) for row in np.flatnonzero(~known)}
    velocities = velocities.only(known)
    factors = np.where(known, doppler_factors(velocities.velocity, correction), 1.0)
    return problems, _Shifts(velocities, factors)


def _prepare_rows(
    task: PartTask, block: Block, preparing: _Preparing, shifts: _Shifts | None
) -> tuple[dict[int, Problem], dict[str, Array]]:
    own = block.columns.get("wavelength")
    flux, error = block.columns["flux"], block.columns.get("flux_error")
    factors = None if shifts is None else shifts.factors
    if own is None:
        return {}, _arrays(preparing.common, flux, error, factors)
    assert task.wavelength is not None
    problems: dict[int, Problem] = {}
    out: dict[str, Array] = {}
    for rows, wavelength in _rows_by_grid(own):
        problem, preparation = _row_preparation(task, wavelength, preparing)
        if preparation is None:
            problems |= dict.fromkeys(rows, problem)
            continue
        use = slice(len(wavelength))
        some = flux[rows][:, use], None if error is None else error[rows][:, use]
        of_rows = None if factors is None else factors[rows]
        for name, values in _arrays(preparation, *some, of_rows).items():
            if name not in out:
                out[name] = _nothing(name, len(own), len(task.wavelength))
            out[name][rows] = values
    for name in ("flux", "mask", *(("flux_error",) if error is not None else ())):
        out.setdefault(name, _nothing(name, len(own), len(task.wavelength)))
    return problems, out


def _nothing(name: str, rows: int, pixels: int) -> Array:
    """Columns of rows without a pixel that can be used."""
    if name == "mask":
        return np.full((rows, pixels), MaskBit.MISSING, np.uint8)
    return np.full((rows, pixels), np.nan, np.float32)


def _rows_by_grid(own: Array) -> list[tuple[list[int], Array]]:
    """Rows that have the same wavelengths, and these; most files have few grids."""
    groups: dict[bytes, tuple[list[int], Array]] = {}
    for index, row in enumerate(np.asarray(own, float)):
        there = known(row)
        groups.setdefault(there.tobytes(), ([], there))[0].append(index)
    return list(groups.values())


def _arrays(
    preparation: Preparation | RestFramePreparation,
    flux: Array,
    error: Array | None,
    factors: Array | None,
) -> dict[str, Array]:
    if isinstance(preparation, RestFramePreparation):
        assert factors is not None
        done = preparation.apply(flux, error, factors)
    else:
        done = preparation.apply(flux, error)
    arrays = {"flux": done.flux, "mask": done.mask}
    return arrays if done.error is None else arrays | {"flux_error": done.error}


def _row_preparation(
    task: PartTask, wavelength: Array, preparing: _Preparing
) -> tuple[Problem, Preparation | RestFramePreparation | None]:
    """The preparation of rows that bring their own wavelengths; None with the problem."""
    if not in_order(wavelength):
        detail = "its wavelengths neither increase nor decrease throughout"
        return (Reason.GRID, detail), None
    own = preparing.of_others.of(wavelength, preparing.grid)
    assert task.wavelength is not None
    if same_grid(own.wavelength, task.wavelength):
        return _NO_PROBLEM, own
    detail = f"it runs from {wavelength[0]:.6g} to {wavelength[-1]:.6g}, unlike the first star"
    return (Reason.GRID, f"{detail}; give ingest.prepare.target, a common grid"), None


def _snr(block: Block, config: IngestConfig, preparing: "_Preparing") -> Array:
    """Signal to noise: the table's own column, else the median of flux over error of the pixels;
    per pixel, or per the interval of ``ingest.snr``.
    """
    given = block.columns.get("snr")
    error = block.columns.get("flux_error")
    if given is not None or error is None:
        own = np.full(len(block), np.nan) if given is None else given.astype(float)
        return own * config.snr.factor_given()
    ratio = np.full(error.shape, np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        np.divide(block.columns["flux"], error, out=ratio, where=error > 0)
    snr = np.array([median_of(row) for row in ratio])
    return snr * config.snr.factor_per_pixel(preparing.width, config.prepare.noise_correlation)
