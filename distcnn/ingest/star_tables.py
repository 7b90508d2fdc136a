"""Tables of one row per star: reference labels and velocities, and how they are collected."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from distcnn.arrays import Array, find_sorted
from distcnn.config import CutConfig, LabelsConfig
from distcnn.errors import ColumnMissing, FileBroken, InputError
from distcnn.files import atomic_write
from distcnn.ingest.preprocess.velocity import ERROR, VELOCITY
from distcnn.ingest.readers.base import Block, Reader, Rejected
from distcnn.ingest.readers.formats.containers import Unread, collecting_notes
from distcnn.schema import Reason


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
