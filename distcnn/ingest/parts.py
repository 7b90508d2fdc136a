"""Parts: one spectra file, joined with all that is known of its stars, prepared and staged.

A part is the unit of the first half of ingest. It is made by one task, from files only, and
comes out the same whenever and wherever it is made.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config import FilesConfig, IngestConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.grids import Array
from distcnn.ingest.match import LabelTable, stamp
from distcnn.ingest.prepare import Preparation
from distcnn.ingest.readers import Block, Kind, Reader, Rejected, Wanted, make_reader
from distcnn.ingest.readers.base import XP_COEFFICIENTS, first_of_each
from distcnn.ingest.staging import PartWriter
from distcnn.schema import MaskBit, Reason

_SOURCE_ROWS = 65536


@dataclass(frozen=True)
class PartItem:
    """What one task needs: files, where to stage, and settings. ``wavelength`` is the output's."""

    name: str
    files: tuple[Path, ...]
    source: tuple[Path, ...]
    xp: tuple[Path, ...]
    labels: Path | None
    folder: Path
    config: IngestConfig
    wavelength: Array | None = field(compare=False, default=None)


def reader_of(config: IngestConfig, kind: Kind) -> Reader | None:
    """The reader that the configuration names for a kind of file; None if the survey has none."""
    files: FilesConfig | None = getattr(config, kind)
    if files is None:
        return None
    cuts = config.labels.cuts if config.labels else ()
    labels = config.labels.labels if config.labels else ()
    return make_reader(files, Wanted(kind, config.grid, config.bands, labels, cuts))


def make_part(item: PartItem) -> dict[str, Any]:
    """Stage one part and return its facts: digest, rows, kept, ids, counts, stamps of its files.

    Raises
    ------
    FileBroken, ColumnMissing, GridMismatch : a file cannot be used.
    """
    paths = [*item.files, *item.source, *item.xp]
    stamps = {str(path): stamp(path) for path in paths}
    main: Kind = "spectra" if item.config.spectra is not None else "source"
    writer = PartWriter(item.folder / item.name, main, item.files)
    try:
        facts = _fill(item, writer, main)
        digest = writer.close()
    except BaseException:
        writer.discard()
        raise
    return {"digest": digest, "inputs": stamps, **facts}


def _fill(item: PartItem, writer: PartWriter, main: Kind) -> dict[str, Any]:
    if item.config.spectra is not None:
        _stage_spectra(item, writer)
    else:
        _stage_sources(item, writer)
    source_id, rows = writer.read("source_id"), writer.read("row")
    stars = _Stars(source_id, rows, first_of_each(source_id))
    writer.reject(main, _duplicates(item.files, writer, stars))
    if item.config.spectra is not None:
        _join_source(item, writer, stars)
    _join_xp(item, writer, stars)
    labelled = _join_labels(item, writer, stars)
    writer.append({"keep": stars.keep})
    kept = source_id[stars.keep]
    return {
        "rows": len(source_id),
        "kept": len(kept),
        "first_id": int(kept.min()) if len(kept) else 0,
        "last_id": int(kept.max()) if len(kept) else 0,
        "labelled": int((labelled & stars.keep).sum()),
        "rejected": writer.rejected,
        "has_error": "flux_error" in writer.columns,
    }


@dataclass
class _Stars:
    """The stars of a part: source_id and file row by part row, and which are kept."""

    source_id: Array
    row: Array
    keep: Array

    def __post_init__(self) -> None:
        self.place = np.flatnonzero(self.keep)
        self.place = self.place[np.argsort(self.source_id[self.place])]
        self.ids = self.source_id[self.place]

    def find(self, source_id: Array) -> Array:
        """Part rows of stars that are all in ``ids``."""
        return np.asarray(self.place[np.searchsorted(self.ids, source_id)])


def _duplicates(
    files: tuple[Path, ...], writer: PartWriter, stars: _Stars
) -> Iterator[Rejected]:
    numbers = writer.read("file")
    for index in np.flatnonzero(~stars.keep):
        star = int(stars.source_id[index])
        first = int(stars.row[stars.find(np.array([star]))[0]])
        detail = f"this star stands in row {first} already"
        file = str(files[int(numbers[index])])
        yield Rejected(file, int(stars.row[index]), star, Reason.DUPLICATE, detail)


# --- spectra --------------------------------------------------------------------------------


def _stage_spectra(item: PartItem, writer: PartWriter) -> None:
    reader = reader_of(item.config, "spectra")
    assert reader is not None
    writer.append(_no_spectra(item))
    for number, path in enumerate(item.files):
        plan = _plan(item, path, reader)
        for block in reader.blocks(path, rows=item.config.block_rows):
            writer.reject("spectra", block.rejected)
            if len(block):
                _stage_block(item, writer, block, plan, str(path), number)


def _no_spectra(item: PartItem) -> dict[str, Array]:
    assert item.wavelength is not None
    empty = np.empty((0, len(item.wavelength)), np.float32)
    columns = {"source_id": np.empty(0, np.int64), "row": np.empty(0, np.int64)}
    columns |= {"file": np.empty(0, np.int32), "flux": empty, "mask": empty.astype(np.uint8)}
    return columns | {name: np.empty(0) for name in ("ra", "dec", "spectrum_snr")}


def _plan(item: PartItem, path: Path, reader: Reader) -> Preparation:
    wavelength = reader.wavelength(path)
    assert wavelength is not None and item.wavelength is not None
    plan = Preparation.plan(wavelength, item.config.grid, item.config.prepare)
    expected = item.wavelength
    same = len(plan.wavelength) == len(expected)
    step = abs(expected[1] - expected[0]) if len(expected) > 1 else 1.0
    if not same or not np.allclose(plan.wavelength, expected, rtol=0, atol=0.1 * step):
        raise GridMismatch(
            f"{path}, row 1: the spectra stand on {len(wavelength)} pixels from "
            f"{wavelength[0]:.6g} to {wavelength[-1]:.6g}",
            expected="the grid of the other files",
            cure="Give ingest.prepare.target, a common grid to rebin every spectrum onto.",
        )
    return plan


def _stage_block(
    item: PartItem, writer: PartWriter, block: Block, plan: Preparation, path: str, number: int
) -> None:
    error = block.columns.get("flux_error")
    columns: dict[str, Array] = {"source_id": block.columns["source_id"], "row": block.rows}
    columns["file"] = np.full(len(block), number, np.int32)
    for name in ("ra", "dec"):
        columns[name] = block.columns.get(name, np.full(len(block), np.nan)).astype(float)
    columns["spectrum_snr"] = _snr(block)
    problems, spectra = _prepare_rows(item, block, plan, error)
    low, high = _range(item.config)
    with np.errstate(invalid="ignore"):
        beyond = (spectra["flux"] < low) | (spectra["flux"] > high)
    spectra["mask"][beyond] |= np.uint8(MaskBit.RANGE)
    dark = (spectra["mask"] != 0).all(axis=1)
    for index in np.flatnonzero(dark):
        text = "no pixel can be used: all are missing, outlying or beyond the range of the store"
        problems.setdefault(int(index), (Reason.ALL_MISSING, text))
    rejected = [
        Rejected(path, int(block.rows[i]), int(columns["source_id"][i]), *problem)
        for i, problem in sorted(problems.items())
    ]
    writer.reject("spectra", rejected)
    keep = np.ones(len(block), bool)
    keep[list(problems)] = False
    writer.append({name: values[keep] for name, values in (columns | spectra).items()})


def _prepare_rows(
    item: PartItem, block: Block, plan: Preparation, error: Array | None
) -> tuple[dict[int, tuple[Reason, str]], dict[str, Array]]:
    own = block.columns.get("wavelength")
    flux = block.columns["flux"]
    if own is None:
        done = plan.apply(flux, error)
        arrays = {"flux": done.flux, "mask": done.mask}
        return {}, arrays if done.error is None else arrays | {"flux_error": done.error}
    problems: dict[int, tuple[Reason, str]] = {}
    rows: list[dict[str, Array]] = []
    for index, wavelength in enumerate(own):
        one = np.s_[index : index + 1]
        problem, row_plan = _row_plan(item, np.asarray(wavelength, float), plan)
        if problem:
            problems[index] = problem
        done = row_plan.apply(flux[one], None if error is None else error[one])
        arrays = {"flux": done.flux, "mask": done.mask}
        rows.append(arrays if done.error is None else arrays | {"flux_error": done.error})
    return problems, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _row_plan(
    item: PartItem, wavelength: Array, plan: Preparation
) -> tuple[tuple[Reason, str] | None, Preparation]:
    """The preparation of a row that brings its own wavelengths."""
    increasing = np.isfinite(wavelength).all() and (np.diff(wavelength) > 0).all()
    if not increasing:
        return (Reason.GRID, "its wavelengths do not increase everywhere"), plan
    own = Preparation.plan(wavelength, item.config.grid, item.config.prepare)
    expected = item.wavelength
    assert expected is not None
    step = 0.1 * abs(expected[1] - expected[0])
    if np.allclose(own.wavelength, expected, rtol=0, atol=step):
        return None, own
    detail = f"it runs from {wavelength[0]:.6g} to {wavelength[-1]:.6g}, unlike the first star"
    return (Reason.GRID, f"{detail}; give ingest.prepare.target, a common grid"), plan


def _range(config: IngestConfig) -> tuple[float, float]:
    store = config.store
    if store.flux_encoding == "int16":
        return 1 - 32767 * store.flux_step, 1 + 32767 * store.flux_step
    limit = float(np.finfo(store.flux_encoding).max)
    return -limit, limit


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


# --- what is known of the stars besides ------------------------------------------------------


def _empty_source(item: PartItem, count: int) -> dict[str, Array]:
    shapes = {"photometry": (count, len(item.config.bands)), "parallax": (count,)}
    shapes |= {name: (count,) for name in ("parallax_error", "snr")}
    columns = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    return columns | {name: np.full(count, np.nan) for name in ("ra", "dec")}


def _stage_sources(item: PartItem, writer: PartWriter) -> None:
    """Rows of a survey without spectra: those of the source table."""
    reader = reader_of(item.config, "source")
    assert reader is not None
    for number, path in enumerate(item.files):
        for block in reader.blocks(path, rows=_SOURCE_ROWS):
            writer.reject("source", block.rejected)
            columns = _empty_source(item, len(block))
            for name, values in columns.items():
                values[:] = block.columns.get(name, values)
            columns |= {"source_id": block.columns["source_id"], "row": block.rows}
            columns["file"] = np.full(len(block), number, np.int32)
            writer.append(columns)


def _join_source(item: PartItem, writer: PartWriter, stars: _Stars) -> None:
    columns = _empty_source(item, len(stars.keep))
    found = np.zeros(len(stars.keep), bool)
    for block in _matching(item, "source", item.source, writer, stars, found):
        at = stars.find(block.columns["source_id"])
        for name, values in columns.items():
            if name in block.columns:
                values[at] = block.columns[name]
    for name in ("ra", "dec"):
        own = writer.read(name)
        columns[name] = np.where(np.isfinite(columns[name]), columns[name], own)
    columns["snr"] = np.where(np.isfinite(columns["snr"]), columns["snr"], writer.read("spectrum_snr"))
    for name in ("ra", "dec"):
        (writer.draft / name).unlink()
        del writer.columns[name]
    if item.config.source is not None and item.config.source_required:
        _reject_unknown(item, writer, stars, found)
    writer.append(columns | {"snr": columns["snr"].astype(np.float32)})


def _reject_unknown(item: PartItem, writer: PartWriter, stars: _Stars, found: Array) -> None:
    numbers = writer.read("file")
    where = ", ".join(path.name for path in item.source[:3]) or "any source file"
    rejected = []
    for index in np.flatnonzero(stars.keep & ~found):
        row, star = int(stars.row[index]), int(stars.source_id[index])
        detail = f"the star is not in {where}"
        file = str(item.files[int(numbers[index])])
        rejected.append(Rejected(file, row, star, Reason.NO_SOURCE, detail))
    writer.reject("spectra", rejected)
    stars.keep &= found


def _matching(
    item: PartItem,
    kind: Kind,
    paths: Iterable[Path],
    writer: PartWriter,
    stars: _Stars,
    found: Array,
) -> Iterator[Block]:
    """Blocks of the rows of our stars; of a star that comes twice only the first row."""
    reader = reader_of(item.config, kind)
    if reader is None:
        return
    rows = _SOURCE_ROWS if kind == "source" else item.config.block_rows
    for path in paths:
        for block in reader.blocks(path, rows=rows, ids=stars.ids):
            writer.reject(kind, block.rejected)
            at = stars.find(block.columns["source_id"])
            new = first_of_each(block.columns["source_id"]) & ~found[at]
            writer.reject(kind, _again(path, block, ~new))
            found[at] = True
            if new.any():
                yield block.take(new)


def _again(path: Path, block: Block, which: Array) -> Iterator[Rejected]:
    for index in np.flatnonzero(which):
        star, row = int(block.columns["source_id"][index]), int(block.rows[index])
        detail = "this star stands in an earlier row already"
        yield Rejected(str(path), row, star, Reason.DUPLICATE, detail)


def _join_xp(item: PartItem, writer: PartWriter, stars: _Stars) -> None:
    if item.config.xp is None:
        return
    shape = (len(stars.keep), 2 * XP_COEFFICIENTS)
    # On disk, so that a table of any length takes the memory of its blocks.
    arrays: Mapping[str, Array] = {
        name: _on_disk(writer, name, shape) for name in ("xp", "xp_error")
    }
    found = np.zeros(len(stars.keep), bool)
    for block in _matching(item, "xp", item.xp, writer, stars, found):
        at = stars.find(block.columns["source_id"])
        for name, values in arrays.items():
            if name in block.columns:
                values[at] = block.columns[name]


def _on_disk(writer: PartWriter, name: str, shape: tuple[int, int]) -> Array:
    for start in range(0, shape[0], 1024):
        rows = min(1024, shape[0] - start)
        writer.append({name: np.full((rows, shape[1]), np.nan, np.float32)})
    if not shape[0]:
        empty = np.empty(shape, np.float32)
        writer.append({name: empty})
        return empty
    return np.memmap(writer.draft / name, np.float32, "r+", shape=shape)


def _join_labels(item: PartItem, writer: PartWriter, stars: _Stars) -> Array:
    if item.labels is None:
        return np.zeros(len(stars.keep), bool)
    table = LabelTable.load(item.labels)
    label, error, snr = table.look_up(stars.source_id)
    writer.append({"label": label, "label_error": error, "label_snr": snr})
    labelled: Array = np.isfinite(label).any(axis=1)
    return labelled
