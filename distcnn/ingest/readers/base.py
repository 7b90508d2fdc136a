"""What every reader gives, whatever the format of the file: blocks of rows, and rejected rows.

A reader streams. It never holds a file of many stars in memory, never writes, and never stops
for a bad row: the row is quarantined with its reason and the rest goes on. Only a file that
cannot be used at all raises, naming the file, the row and the cure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from distcnn.config import CutConfig, GridConfig
from distcnn.errors import ColumnMissing, FileBroken
from distcnn.schema import Reason

Array = NDArray[Any]
Kind = Literal["spectra", "source", "xp", "labels"]
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

    Columns by kind of file: ``source_id`` always; spectra ``flux, flux_error [n, P]`` (error
    absent if the survey has none), ``ra, dec`` [deg], ``snr``, ``wavelength [n, P]`` if every row
    has its own; source ``ra, dec, parallax, parallax_error`` [mas], ``photometry [n, K]`` [mag],
    ``snr`` and the further scalars asked for; xp ``xp, xp_error [n, 110]``; labels
    ``label, label_error [n, L]``, ``label_snr`` and ``cut/NAME`` for every column that is cut on.
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


class Reader(Protocol):
    """Knows one archive's format."""

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks of at most ``rows`` rows; with ``ids`` (sorted) only rows of these stars.

        Raises
        ------
        FileBroken, ColumnMissing, GridMismatch : the file cannot be used.
        """
        ...

    def wavelength(self, path: Path) -> Array | None:
        """Wavelengths [P] of the spectra of a file; None for files without spectra."""
        ...


class RowProblem(Exception):
    """Inside readers: why one row cannot be used."""

    def __init__(self, reason: Reason, detail: str, *, length: int = -1) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.length = length  # of the array that has another length than declared


def find_column(columns: Mapping[str, Any] | list[str], name: str, path: Path) -> str:
    """The column of that name, in whatever case.

    Raises
    ------
    ColumnMissing : names the file, the column and what is there.
    """
    found = look_for(columns, name)
    if found is None:
        there = ", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")
        raise ColumnMissing(
            f"{path}, row 0 (header): there is no column {name!r}",
            expected=f"it beside {there}",
            cure="Check the reader and the 'columns' of this kind of file in the configuration.",
        )
    return found


def look_for(columns: Mapping[str, Any] | list[str], name: str) -> str | None:
    """The column of that name in whatever case, or None."""
    if name in columns:
        return name
    return next((column for column in columns if column.lower() == name.lower()), None)


def broken(path: Path | str, problem: str, *, row: int | None = None, cure: str = "") -> FileBroken:
    """The error for a file that cannot be used, naming file, row and cure."""
    where = f"{path}, row {row}" if row is not None else f"{path}"
    return FileBroken(
        f"{where}: {problem}",
        cure=cure or "Fetch the file again and compare it with the archive's _MD5SUM.txt.",
    )


def member_of(source_id: Array, ids: Array | None) -> Array:
    """Mask of the rows whose source_id is in the sorted ``ids`` (all rows if None)."""
    if ids is None:
        return np.ones(len(source_id), bool)
    if not len(ids):
        return np.zeros(len(source_id), bool)
    place = np.minimum(np.searchsorted(ids, source_id), len(ids) - 1)
    mask: Array = ids[place] == source_id
    return mask


def first_of_each(source_id: Array) -> Array:
    """Mask of the rows that are the first of their source_id."""
    mask = np.zeros(len(source_id), bool)
    mask[np.unique(source_id, return_index=True)[1]] = True
    return mask
