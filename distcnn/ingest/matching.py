"""Which files belong together, and which reference labels belong to a star."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array, find_sorted
from distcnn.config import CutConfig, LabelsConfig
from distcnn.errors import ColumnMissing, FileBroken, InputError
from distcnn.files import atomic_write
from distcnn.ingest.preprocess.velocity import ERROR, VELOCITY
from distcnn.ingest.readers.base import Block, Reader, Rejected
from distcnn.ingest.readers.formats.containers import Unread, collecting_notes
from distcnn.ingest.selection import with_small_ending
from distcnn.schema import Reason

_RANGE = re.compile(r"[A-Z][A-Za-z]+_(\d{6})-(\d{6})\.csv(?:\.gz)?")
_HEALPIX_CELLS = 12 * 4**8
"""Cells of HEALPix level 8, by which the Gaia archive cuts its tables into files."""
_SAMPLE_BYTES = 1 << 16


def healpix_range(path: Path) -> tuple[int, int] | None:
    """HEALPix range in the name of a file of the Gaia archive; None for every other name.

    Names are ``TABLE_aaaaaa-bbbbbb.csv.gz`` with cells of level 8 (``GaiaSource_000000-003111``).
    Anything else that looks like a range may be dates, plates or rows, which say nothing of
    where a star lies.
    """
    match = _RANGE.fullmatch(with_small_ending(path.name))
    if match is None:
        return None
    first, last = int(match.group(1)), int(match.group(2))
    return (first, last) if first <= last < _HEALPIX_CELLS else None


def overlapping_files(path: Path, candidates: Sequence[Path]) -> list[Path]:
    """The files that can hold the stars of ``path``: by HEALPix range, else all of them."""
    own = healpix_range(path)
    if own is None:
        return list(candidates)
    chosen = []
    for candidate in candidates:
        other = healpix_range(candidate)
        if other is None or (other[0] <= own[1] and own[0] <= other[1]):
            chosen.append(candidate)
    return chosen


def content_hash(path: Path) -> str:
    """A name for a file's content: digest of its size and of its first, middle and last 64 KiB.

    The end of a gzip file holds checksum and length of all that is in it. Files up to 192 KiB
    are taken whole. Of a file that cannot be read it says so: its reader has the error.
    """
    parts = []
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            middle = max(0, size // 2 - _SAMPLE_BYTES // 2)
            for place in (0, middle, max(0, size - _SAMPLE_BYTES)):
                stream.seek(place)
                parts.append(hashing.of_bytes(stream.read(_SAMPLE_BYTES)))
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return hashing.of_value([size, parts])


@dataclass(frozen=True)
class StarTable:
    """Arrays of one row per star, sorted by source_id, that tasks find as a file."""

    source_id: Array

    def save(self, path: Path) -> None:
        """Write as one npz file, atomically."""
        with atomic_write(path) as draft, draft.open("wb") as stream:
            np.savez(stream, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class LabelTable(StarTable):
    """Reference labels, one row per star, sorted by source_id. Missing values are NaN."""

    label: Array
    label_error: Array
    label_snr: Array

    def look_up(self, source_id: Array) -> tuple[Array, Array, Array]:
        """Label [n, L], label_error [n, L] and label_snr [n] of stars; NaN without a match."""
        width = self.label.shape[1]
        label = np.full((len(source_id), width), np.nan, np.float32)
        error, snr = label.copy(), np.full(len(source_id), np.nan, np.float32)
        place, found = find_sorted(self.source_id, source_id)
        label[found] = self.label[place[found]]
        error[found] = self.label_error[place[found]]
        snr[found] = self.label_snr[place[found]]
        return label, error, snr


@dataclass(frozen=True)
class VelocityTable(StarTable):
    """Velocities as their files give them, one row per star, sorted by source_id."""

    velocity: Array
    velocity_error: Array

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> "VelocityTable":
        """The first velocity of every star that has one, of the best S/N where that is known."""
        columns = {name: [np.empty(0)] for name in (VELOCITY, ERROR, "label_snr")}
        ids = [np.empty(0, np.int64)]
        for block in blocks:
            some = np.isfinite(block.columns[VELOCITY])
            ids.append(block.columns["source_id"][some])
            for name, values in columns.items():
                values.append(block.columns.get(name, np.full(len(block), np.nan))[some])
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        source_id = np.concatenate(ids)
        snr = np.nan_to_num(joined["label_snr"], nan=-np.inf)
        order = np.lexsort((-snr, source_id))
        first = np.diff(source_id[order], prepend=-1) != 0
        order = order[first]
        return cls(source_id[order], joined[VELOCITY][order], joined[ERROR][order])

    def look_up(self, source_id: Array) -> dict[str, Array]:
        """Columns ``velocity`` and ``velocity_error`` [n] of stars; NaN for those not in it."""
        place, found = find_sorted(self.source_id, source_id)
        out = {name: np.full(len(source_id), np.nan) for name in (VELOCITY, ERROR)}
        for name, values in out.items():
            values[found] = getattr(self, name)[place[found]]
        return out


@dataclass
class CollectedLabels:
    """A label table, the rows of its files that were rejected, and what else was met in them."""

    table: LabelTable
    rejected: list[Rejected]
    failures: list[tuple[Path, InputError]]
    """Files that cannot be used, and why."""
    unread: list[Unread]
    read_beside: list[str]
    """What was read of files of which other things were not."""
    velocities: VelocityTable | None = None
    """Velocities of all its stars, whatever the cuts say, where spectra are shifted by them."""


def collect_labels(
    reader: Reader, files: Sequence[Path], config: LabelsConfig, *, rows: int
) -> CollectedLabels:
    """Read a label table: cut, then keep the row with the best S/N of every star.

    Raises
    ------
    FileBroken, ColumnMissing : no file can be used; the error is that of the first.
    """
    blocks: list[Block] = []
    moving: list[Block] = []
    rejected: list[Rejected] = []
    failures: list[tuple[Path, InputError]] = []
    with collecting_notes() as notes:
        for path in files:
            try:
                of_file = list(reader.blocks(path, rows=rows))
            except (FileBroken, ColumnMissing) as error:
                failures.append((path, error))
                rejected.append(Rejected(str(path), 0, 0, Reason.UNUSABLE_FILE, str(error)))
                continue
            for block in of_file:
                rejected += block.rejected
                moving += [_motion(block)] if VELOCITY in block.columns else []
                blocks.append(block.take(passes(block, config.cuts)))
    if len(failures) == len(files):
        raise failures[0][1]
    names = ("source_id", "label", "label_error", "label_snr")
    joined = {name: np.concatenate([b.columns[name] for b in blocks]) for name in names}
    rejected += notes.unusable
    return CollectedLabels(
        best_of_each(joined),
        rejected,
        failures,
        notes.unread,
        sorted(notes.read),
        VelocityTable.of(moving) if moving else None,
    )


def _motion(block: Block) -> Block:
    names = ("source_id", "label_snr", VELOCITY, ERROR)
    columns = {name: block.columns[name] for name in names}
    return Block(block.rows, columns)


def passes(block: Block, cuts: Iterable[CutConfig]) -> Array:
    """Rows of a block that pass every cut; of labels those that have any."""
    kept: Array = np.ones(len(block), bool)
    if "label" in block.columns:
        kept = np.asarray(np.isfinite(block.columns["label"]).any(axis=1))
    for cut in cuts:
        values = block.columns[f"cut/{cut.column}"]
        if cut.minimum is not None:
            kept &= values >= cut.minimum
        if cut.maximum is not None:
            kept &= values <= cut.maximum
        if cut.forbidden_bits:
            forbidden = np.int64(sum(1 << bit for bit in cut.forbidden_bits))
            bits = np.nan_to_num(values, nan=0.0).astype(np.int64)
            kept &= np.isfinite(values) & ((bits & forbidden) == 0)
    return kept


def best_of_each(columns: dict[str, Array]) -> LabelTable:
    """A label table of rows in any order: of a star that comes twice the row of the best S/N."""
    snr = np.nan_to_num(columns["label_snr"], nan=-np.inf)
    # Stable: of rows with the same star and the same S/N the first in the file stays first.
    order = np.lexsort((-snr, columns["source_id"]))
    source_id = columns["source_id"][order]
    first = np.concatenate([[True], np.diff(source_id) > 0]) if len(order) else np.zeros(0, bool)
    order = order[first]
    return LabelTable(
        columns["source_id"][order],
        columns["label"][order].astype(np.float32),
        columns["label_error"][order].astype(np.float32),
        columns["label_snr"][order].astype(np.float32),
    )
