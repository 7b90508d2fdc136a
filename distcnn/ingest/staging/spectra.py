"""Spectra of a part: read, prepared and staged block by block."""

from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import GridMismatch
from distcnn.ingest.plan import PartTask, spectra_reader_of
from distcnn.ingest.preprocess.spectra import Preparation
from distcnn.ingest.preprocess.wavelength import same_grid
from distcnn.ingest.readers import Block, Rejected, SpectraReader
from distcnn.ingest.staging.columns import PartWriter
from distcnn.ingest.staging.scale import ErrorRange, FluxEncoding, ScaleOfFile
from distcnn.schema import MaskBit, Reason

Problem = tuple[Reason, str]
_ROWS_OF_NAN = 1024


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
    for number, path in enumerate(task.files):
        with writer.whole_or_none("spectra", path):
            errors.join(_stage_file(task, writer, reader, number, ScaleOfFile(encoding)))
    return errors


def _stage_file(
    task: PartTask, writer: PartWriter, reader: SpectraReader, number: int, scale: ScaleOfFile
) -> ErrorRange:
    path, errors = task.files[number], ErrorRange()
    preparation = _preparation(task, path, reader)
    for block in reader.blocks(path, rows=task.config.block_rows):
        writer.reject("spectra", block.rejected)
        if len(block):
            problems, columns = _prepare_block(task, block, preparation, scale)
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
    return columns | {name: np.empty(0) for name in ("ra", "dec", "spectrum_snr")}


def _preparation(task: PartTask, path: Path, reader: SpectraReader) -> Preparation:
    wavelength = reader.wavelength(path)
    assert task.wavelength is not None
    preparation = Preparation.for_grid(wavelength, task.config.grid, task.config.prepare)
    if not same_grid(preparation.wavelength, task.wavelength):
        raise GridMismatch(
            f"{path}, row 1: the spectra stand on {len(wavelength)} pixels from "
            f"{wavelength[0]:.6g} to {wavelength[-1]:.6g}",
            expected="the grid of the other files",
            cure="Give ingest.prepare.target, a common grid to rebin every spectrum onto.",
        )
    return preparation


def _rejected(block: Block, path: str, problems: dict[int, Problem]) -> list[Rejected]:
    source_id = block.columns["source_id"]
    return [
        Rejected(path, int(block.rows[i]), int(source_id[i]), *problem)
        for i, problem in sorted(problems.items())
    ]


def _prepare_block(
    task: PartTask, block: Block, preparation: Preparation, scale: ScaleOfFile
) -> tuple[dict[int, Problem], dict[str, Array]]:
    """Problems by row of the block, and its columns."""
    columns: dict[str, Array] = {"source_id": block.columns["source_id"], "row": block.rows}
    for name in ("ra", "dec"):
        columns[name] = block.columns.get(name, np.full(len(block), np.nan)).astype(float)
    columns["spectrum_snr"] = _snr(block)
    problems, spectra = _prepare_rows(task, block, preparation)
    beyond = scale.encoding.beyond(spectra["flux"])
    spectra["mask"][beyond] |= np.uint8(MaskBit.RANGE)
    lost = scale.judge(spectra["flux"], spectra.get("flux_error"), beyond)
    for row, text in lost.items():
        problems.setdefault(row, (Reason.ALL_MISSING, text))
    for index in np.flatnonzero((spectra["mask"] != 0).all(axis=1)):
        text = "no pixel can be used: all are missing, outlying or beyond the range of the store"
        problems.setdefault(int(index), (Reason.ALL_MISSING, text))
    return problems, columns | spectra


def _prepare_rows(
    task: PartTask, block: Block, preparation: Preparation
) -> tuple[dict[int, Problem], dict[str, Array]]:
    own = block.columns.get("wavelength")
    flux, error = block.columns["flux"], block.columns.get("flux_error")
    if own is None:
        return {}, _arrays(preparation, flux, error)
    problems: dict[int, Problem] = {}
    rows: list[dict[str, Array]] = []
    for index, wavelength in enumerate(own):
        one = np.s_[index : index + 1]
        problem, row_own = _row_preparation(task, np.asarray(wavelength, float), preparation)
        if problem:
            problems[index] = problem
        rows.append(_arrays(row_own, flux[one], None if error is None else error[one]))
    return problems, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _arrays(preparation: Preparation, flux: Array, error: Array | None) -> dict[str, Array]:
    done = preparation.apply(flux, error)
    arrays = {"flux": done.flux, "mask": done.mask}
    return arrays if done.error is None else arrays | {"flux_error": done.error}


def _row_preparation(
    task: PartTask, wavelength: Array, preparation: Preparation
) -> tuple[Problem | None, Preparation]:
    """The preparation of a row that brings its own wavelengths."""
    increasing = np.isfinite(wavelength).all() and (np.diff(wavelength) > 0).all()
    if not increasing:
        return (Reason.GRID, "its wavelengths do not increase everywhere"), preparation
    own = Preparation.for_grid(wavelength, task.config.grid, task.config.prepare)
    assert task.wavelength is not None
    if same_grid(own.wavelength, task.wavelength):
        return None, own
    detail = f"it runs from {wavelength[0]:.6g} to {wavelength[-1]:.6g}, unlike the first star"
    return (Reason.GRID, f"{detail}; give ingest.prepare.target, a common grid"), preparation


def _snr(block: Block) -> Array:
    """Signal to noise per pixel: the table's own column, else the median of flux over error."""
    given = block.columns.get("snr")
    error = block.columns.get("flux_error")
    if given is not None or error is None:
        return np.full(len(block), np.nan) if given is None else given.astype(float)
    ratio = np.full(error.shape, np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        np.divide(block.columns["flux"], error, out=ratio, where=error > 0)
    known = np.isfinite(ratio).any(axis=1)
    snr = np.full(len(block), np.nan)
    snr[known] = np.nanmedian(ratio[known], axis=1)
    return snr
