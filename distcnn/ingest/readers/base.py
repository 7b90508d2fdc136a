"""What every reader gives, whatever the format of the file: blocks of rows, and rejected rows.

A reader streams. It never holds a file of many stars in memory, never writes, and never stops
for a bad row: the row is quarantined with its reason and the rest goes on. Only a file that
cannot be used at all raises, naming the file, the row and the cure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from distcnn.arrays import Array, find_sorted
from distcnn.config import CutConfig, GridConfig, SentinelsConfig
from distcnn.errors import ColumnMissing, FileBroken
from distcnn.formatting import did_you_mean
from distcnn.ingest.preprocess.statements import Statements
from distcnn.schema import NAME_BYTES, Reason

Kind = Literal["spectra", "source", "xp", "labels", "crosswalk"]
XP_COEFFICIENTS = 55  # per band, BP and RP (Gaia DR3 data model, xp_continuous_mean_spectrum)


@dataclass(frozen=True)
class Rejected:
    """A quarantined row. ``row`` counts data rows from 1; ``source_id`` is 0 if unknown."""

    file: str
    row: int
    source_id: int
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Block:
    """Some rows of a file: ``columns`` share the first axis with ``rows`` (numbers from 1).

    Columns by kind of file: ``source_id`` always, with ``id_kind`` and ``name`` (bytes of UTF-8)
    where stars may have names; spectra ``flux, flux_error [n, P]`` (error
    absent if the survey has none), ``ra, dec`` [deg], ``snr``, ``wavelength [n, P]`` if every row
    has its own, ``velocity, velocity_error, barycentric_correction`` in the unit of the settings
    if the request asks for velocities; source ``ra, dec, parallax, parallax_error`` [mas],
    ``photometry [n, K]`` [mag], ``snr`` and the further scalars asked for; xp ``xp, xp_error
    [n, 110]``; labels ``label, label_error [n, L]``, ``label_snr``, velocities and ``cut/NAME`` for
    every column that is cut on; crosswalk ``label_id, label_name, angular_distance,
    magnitude_difference`` and ``cut/NAME``.
    """

    rows: Array
    columns: Mapping[str, Array]
    rejected: tuple[Rejected, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Array, rejected: tuple[Rejected, ...] = ()) -> "Block":
        """The rows of ``index`` (mask or numbers), with the rejected rows given instead."""
        return Block(self.rows[index], {k: v[index] for k, v in self.columns.items()}, rejected)


@dataclass(frozen=True)
class ReadRequest:
    """What a reader is asked for: the kind of file and the parts of the settings it may know."""

    kind: Kind
    grid: GridConfig = field(default_factory=GridConfig)
    bands: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    cuts: tuple[CutConfig, ...] = ()
    scalars: tuple[str, ...] = ()
    """Further variables of one number per star, named in ``columns`` of the source table."""
    sentinels: SentinelsConfig = field(default_factory=SentinelsConfig)
    override: tuple[str, ...] = ()
    """Statements of the files that the configuration overrides."""
    velocity: bool = False
    """Whether velocities are taken from these files."""


@runtime_checkable
class Reader(Protocol):
    """Knows one archive's format; made from its files' section and a ReadRequest."""

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks of at most ``rows`` rows; with ``ids`` (sorted) only rows of these stars.

        Raises
        ------
        FileBroken, ColumnMissing, GridMismatch : the file cannot be used.
        """
        ...


@runtime_checkable
class SpectraReader(Reader, Protocol):
    """A reader of spectra, which also knows the grid they stand on."""

    def wavelength(self, path: Path) -> Array:
        """Wavelengths [P] of the spectra of a file, in the unit of ``ingest.grid``."""
        ...

    def statements(self, path: Path) -> Statements:
        """What a file says of its spectra besides their wavelengths."""
        ...


class BlockBuilder:
    """A block being filled row by row, by readers whose formats do not give whole columns.

    Columns are allocated once per block, ``source_id`` among them, and a reader writes row
    ``count`` in place; only ``accept`` makes it part of the block. A row that turns out bad half
    way is thus simply overwritten by the next.

    Parameters
    ----------
    file : name that rejected rows carry.
    rows : rows of a full block.
    widths : length of every column's arrays [n, width] as float32; 0 for one float64 a row.
    """

    def __init__(self, file: str, rows: int, widths: Mapping[str, int]) -> None:
        self.file, self.rows, self.widths = file, rows, dict(widths)
        self.accepted = 0
        """Rows accepted so far, of all blocks."""
        self.rejected_lengths: set[int] = set()
        """Lengths of arrays that rows were rejected for; -1 for other reasons."""
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self._numbers = np.empty(self.rows, np.int64)
        self._source_id = np.empty(self.rows, np.int64)
        self._rejected: list[Rejected] = []
        self.columns: dict[str, Array] = {
            name: np.empty((self.rows, width), np.float32) if width else np.empty(self.rows)
            for name, width in self.widths.items()
        }
        self.columns["id_kind"] = np.zeros(self.rows, np.uint8)
        self.columns["name"] = np.zeros(self.rows, f"S{NAME_BYTES}")

    @property
    def full(self) -> bool:
        """Whether the block must be taken before the next row."""
        return self.count == self.rows

    def accept(self, number: int, source_id: int) -> None:
        """Keep row ``count``, whose columns have been written."""
        self._numbers[self.count], self._source_id[self.count] = number, source_id
        self.count += 1
        self.accepted += 1

    def reject(self, rejected: Rejected, length: int = -1) -> None:
        """Quarantine a row instead of accepting it; ``length`` of an array that does not fit."""
        self._rejected.append(rejected)
        self.rejected_lengths.add(length)

    def take(self) -> Block:
        """What was gathered, as one block; the next one begins."""
        columns = {name: values[: self.count] for name, values in self.columns.items()}
        columns["source_id"] = self._source_id[: self.count]
        block = Block(self._numbers[: self.count], columns, tuple(self._rejected))
        self._begin()
        return block

    def rest(self) -> Iterator[Block]:
        """The last block, unless nothing has happened since the one before."""
        if self.count or self._rejected:
            yield self.take()


class RowProblem(Exception):
    """Inside readers: why one row cannot be used."""

    def __init__(self, reason: Reason, detail: str, *, length: int = -1) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.length = length  # of the array that has another length than declared


def find_column(columns: Mapping[str, Any] | list[str], name: str, path: Path | str) -> str:
    """The column of that name, in whatever case.

    Raises
    ------
    ColumnMissing : names the file, the column and what is there.
    """
    found = look_for(columns, name)
    if found is None:
        there = ", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")
        near = did_you_mean(name, list(columns))
        near += " " if near else ""
        if columns and all(map(is_number, columns)):
            raise ColumnMissing(
                f"{path}, row 0 (header): its first line holds numbers: {there}",
                expected=f"the names of its columns, {name!r} among them",
                cure="Write a first line with the names of the columns.",
            )
        raise ColumnMissing(
            f"{path}, row 0 (header): there is no column {name!r}",
            expected=f"it beside {there}",
            cure=f"{near}Check the reader and the 'columns' of this kind of file in the "
            "configuration.",
        )
    return found


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def look_for(columns: Mapping[str, Any] | list[str], name: str) -> str | None:
    """The column of that name, or else the one of that name in another case; None if none.

    Raises
    ------
    ColumnMissing : several columns are called so, and nothing says which is meant.
    """
    exact = [column for column in columns if column == name]
    found = exact or [column for column in columns if column.lower() == name.lower()]
    if len(found) > 1:
        raise ColumnMissing(
            f"{len(found)} columns are called {name!r}: {', '.join(found)}",
            expected="one",
            cure="Rename one of them in the file, or name another in 'columns'.",
        )
    return found[0] if found else None


def broken(path: Path | str, problem: str, *, row: int | None = None, cure: str = "") -> FileBroken:
    """The error for a file that cannot be used, naming file, row and cure."""
    where = f"{path}, row {row}" if row is not None else f"{path}"
    return FileBroken(
        f"{where}: {problem}",
        cure=cure or "Fetch the file again and compare it with the archive's _MD5SUM.txt.",
    )


def no_rows(path: Path | str) -> FileBroken:
    """The error for a sound table of no rows, which other files may make up for."""
    return broken(
        path,
        "the file has a header but no rows",
        row=0,
        cure="Nothing can be taken from it; leave it out by 'files', or add rows.",
    )


def member_of(source_id: Array, ids: Array | None) -> Array:
    """Mask of the rows whose source_id is in the sorted ``ids`` (all rows if None)."""
    if ids is None:
        return np.ones(len(source_id), bool)
    return find_sorted(ids, source_id)[1]
