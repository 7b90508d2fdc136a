"""Joining: what other files know of the stars of a part, row by row of the part."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.arrays import Array, find_sorted
from distcnn.ingest.plan import PartTask, further_scalars, reader_of
from distcnn.ingest.readers import Block, Kind, Rejected
from distcnn.ingest.readers.base import XP_COEFFICIENTS
from distcnn.ingest.staging.columns import PartWriter, name_bytes
from distcnn.ingest.star_tables import LabelTable
from distcnn.schema import SURVEY_VARIABLES, Reason
from distcnn.survey import STAR_KEY

_SOURCE_BLOCK_ROWS = 65536


@dataclass
class PartStars:
    """The stars of a part: source_id and file row by part row, and which are kept."""

    source_id: Array
    row: Array
    keep: Array

    def __post_init__(self) -> None:
        kept = np.flatnonzero(self.keep)
        self.ids, first = np.unique(self.source_id[kept], return_index=True)
        self.place = kept[first]
        self.standing_for = np.arange(len(self.keep))
        """The row of each row's star that ``find`` gives: another one where stars have several."""
        if len(kept) > len(first):
            self.standing_for[kept] = self.find(self.source_id[kept])

    def find(self, source_id: Array) -> Array:
        """Part rows of stars that are all in ``ids``."""
        return np.asarray(self.place[np.searchsorted(self.ids, source_id)])


def duplicates(task: PartTask, writer: PartWriter, stars: PartStars) -> Iterator[Rejected]:
    """The rows of stars that stand in the part already."""
    numbers = writer.read("file")
    for index in np.flatnonzero(~stars.keep):
        star = int(stars.source_id[index])
        other = stars.find(np.array([star]))[0]
        where = f"row {stars.row[other]}"
        if numbers[other] != numbers[index]:
            where += f" of {task.files[int(numbers[other])].name}"
        detail = f"this star stands in {where} already"
        file = str(task.files[int(numbers[index])])
        yield Rejected(file, int(stars.row[index]), star, Reason.DUPLICATE, detail)


def _empty_source(task: PartTask, count: int) -> dict[str, Array]:
    names = ("parallax", "parallax_error", "snr")
    columns: dict[str, Array] = {name: np.full(count, np.nan, np.float32) for name in names}
    for name in further_scalars(task.config):
        columns[name] = np.full(count, np.nan, SURVEY_VARIABLES[name].dtype)
    columns["photometry"] = np.full((count, len(task.config.bands)), np.nan, np.float32)
    return columns | {name: np.full(count, np.nan) for name in ("ra", "dec")}


def stage_sources(task: PartTask, writer: PartWriter) -> None:
    """Rows of a survey without spectra: those of the source table."""
    reader = reader_of(task.config, "source")
    assert reader is not None
    writer.append(_empty_source(task, 0))
    writer.append({name: np.empty(0, np.int64) for name in ("source_id", "row")})
    writer.append({"file": np.empty(0, np.int32)})
    for number, path in enumerate(task.files):
        with writer.whole_or_none("source", path):
            for block in reader.blocks(path, rows=_SOURCE_BLOCK_ROWS):
                writer.reject("source", block.rejected)
                columns = _empty_source(task, len(block))
                for name, values in columns.items():
                    values[:] = block.columns.get(name, values)
                columns["snr"] *= np.float32(task.config.snr.factor_given())
                columns |= {"source_id": block.columns["source_id"], "row": block.rows}
                columns["name"] = name_bytes(block)
                columns["file"] = np.full(len(block), number, np.int32)
                writer.append(columns)


def join_source(task: PartTask, writer: PartWriter, stars: PartStars) -> int:
    """Stage positions, magnitudes, parallax and S/N; quarantine stars that have no source row.

    Returns the number of stars that have one.
    """
    columns = _empty_source(task, len(stars.keep))
    found = np.zeros(len(stars.keep), bool)
    matching = _MatchingRows(task, writer, stars, columns)
    for block in matching.blocks("source", task.source, found):
        at = stars.find(block.columns["source_id"])
        for name, values in columns.items():
            if name in block.columns:
                values[at] = block.columns[name]
    columns = {name: values[stars.standing_for] for name, values in columns.items()}
    found = found[stars.standing_for]
    for name in ("ra", "dec"):
        own = writer.read(name)
        columns[name] = np.where(np.isfinite(columns[name]), columns[name], own)
    of_source = columns["snr"] * task.config.snr.factor_given()
    of_spectrum = writer.read("spectrum_snr")
    first, other = (of_spectrum, of_source) if task.rule == "each" else (of_source, of_spectrum)
    columns["snr"] = np.where(np.isfinite(first), first, other)
    writer.remove("ra", "dec")  # those of the spectra; what follows replaces them
    count = int((found & stars.keep).sum())
    if task.config.source is not None and task.config.source_required:
        _reject_unknown(task, writer, stars, found)
    writer.append(columns | {"snr": columns["snr"].astype(np.float32)})
    return count


def _reject_unknown(task: PartTask, writer: PartWriter, stars: PartStars, found: Array) -> None:
    numbers = writer.read("file")
    where = ", ".join(path.name for path in task.source[:3]) or "any source file"
    rejected = []
    for index in np.flatnonzero(stars.keep & ~found):
        row, star = int(stars.row[index]), int(stars.source_id[index])
        detail = f"the star is not in {where}"
        file = str(task.files[int(numbers[index])])
        rejected.append(Rejected(file, row, star, Reason.NO_SOURCE, detail))
    writer.reject("spectra", rejected)
    stars.keep &= found


@dataclass
class _MatchingRows:
    """Rows of other files that belong to our stars; of a star that comes twice only the first.

    ``columns`` are filled from the blocks; the rows of a file that breaks off are emptied again.
    """

    task: PartTask
    writer: PartWriter
    stars: PartStars
    columns: Mapping[str, Array]

    def blocks(self, kind: Kind, paths: Iterable[Path], found: Array) -> Iterator[Block]:
        """Blocks of first rows; ``found`` marks the part rows that were found so far."""
        reader = reader_of(self.task.config, kind)
        if reader is None:
            return
        rows = _SOURCE_BLOCK_ROWS if kind == "source" else self.task.config.block_rows
        for path in paths:
            before, failed = found.copy(), len(self.writer.failures)
            with self.writer.whole_or_none(kind, path):
                for block in reader.blocks(path, rows=rows, ids=self.stars.ids):
                    self.writer.reject(kind, block.rejected)
                    at = self.stars.find(block.columns["source_id"])
                    new = STAR_KEY.first_of_each(block.columns) & ~found[at]
                    self.writer.reject(kind, _repeated(path, block, ~new))
                    found[at] = True
                    if new.any():
                        yield block.take(new)
            if len(self.writer.failures) > failed:
                for values in self.columns.values():
                    values[found & ~before] = np.nan
                found[:] = before


def _repeated(path: Path, block: Block, which: Array) -> Iterator[Rejected]:
    for index in np.flatnonzero(which):
        star, row = int(block.columns["source_id"][index]), int(block.rows[index])
        detail = "this star stands in an earlier row already"
        yield Rejected(str(path), row, star, Reason.DUPLICATE, detail)


def join_xp(task: PartTask, writer: PartWriter, stars: PartStars) -> int:
    """Stage XP coefficients; returns the number of stars that have some."""
    if task.config.xp is None:
        return 0
    shape = (len(stars.keep), 2 * XP_COEFFICIENTS)
    # On disk, so that a table of any length takes the memory of its blocks.
    arrays = {name: _on_disk(writer, name, shape) for name in ("xp", "xp_error")}
    found = np.zeros(len(stars.keep), bool)
    for block in _MatchingRows(task, writer, stars, arrays).blocks("xp", task.xp, found):
        at = stars.find(block.columns["source_id"])
        for name, values in arrays.items():
            if name in block.columns:
                values[at] = block.columns[name]
    for row in np.flatnonzero(stars.standing_for != np.arange(len(stars.keep))):
        for values in arrays.values():
            values[row] = values[stars.standing_for[row]]
    return int((found[stars.standing_for] & stars.keep).sum())


def _on_disk(writer: PartWriter, name: str, shape: tuple[int, int]) -> Array:
    """A column of NaN [n, width] whose rows can be written in any order, as its file has them."""
    for start in range(0, shape[0], 1024):
        rows = min(1024, shape[0] - start)
        writer.append({name: np.full((rows, shape[1]), np.nan, np.float32)})
    if not shape[0]:  # an empty file cannot be mapped
        empty = np.empty(shape, np.float32)
        writer.append({name: empty})
        return empty
    return np.memmap(writer.draft / name, np.float32, "r+", shape=shape)


def join_labels(task: PartTask, writer: PartWriter, stars: PartStars) -> tuple[Array, int]:
    """Stage reference labels; returns which stars have one, and how many are in the table."""
    if task.labels is None:
        return np.zeros(len(stars.keep), bool), 0
    table = LabelTable.load(task.labels)
    label, error, snr = table.look_up(stars.source_id)
    writer.append({"label": label, "label_error": error, "label_snr": snr})
    known = find_sorted(table.source_id, stars.source_id)[1]
    return np.asarray(np.isfinite(label).any(axis=1)), int((known & stars.keep).sum())
