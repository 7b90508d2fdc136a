"""What every writer of a format offers, and the astropy table that several of them begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy import units
from astropy.table import Column, Table

from distcnn.catalogue.rows import SharedRows
from distcnn.catalogue.table import CatalogueTable
from distcnn.events import Listener
from distcnn.executor import Executor


@dataclass(frozen=True)
class CatalogueHeader:
    """What a written catalogue says of itself: rows, provenance by name, its columns."""

    rows: int
    entries: Mapping[str, str]
    columns: tuple[tuple[str, str, str], ...]
    """Name, unit and sentence of every column."""


class Writer(Protocol):
    """One format: a module with these two functions. It is finished when WriterChecks pass."""

    def write(self, path: Path, table: CatalogueTable) -> int:
        """Write a new file, or fill an empty folder, block by block; returns the rows written.

        Raises
        ------
        OSError : the disk refuses.
        """
        ...

    def read_header(self, path: Path) -> CatalogueHeader:
        """The header of a catalogue in this format, without reading its rows if that can be.

        Raises
        ------
        OSError, ValueError, KeyError, IndexError : it is not such a catalogue.
        """
        ...


STAGE = "export"
"""The stage that a catalogue is written in, for those who listen."""
FINISHED = "catalogue"
"""Folder in that of the work which becomes the catalogue."""


class SharedWriter(Protocol):
    """A writer whose work can be shared: tasks for workers that see one folder, and resumable."""

    def write_shared(
        self,
        work: Path,
        table: CatalogueTable,
        rows: SharedRows,
        run: Executor,
        listener: Listener,
    ) -> int:
        """Fill ``work/catalogue`` and return the number of rows.

        ``listener`` hears of what is done before, then that STAGE begins and of the rows stored.

        What an earlier run has left in ``work`` is used. The bytes are those of ``write``.
        """
        ...


def empty_astropy_table(table: CatalogueTable) -> Table:
    """No rows; units, sentences, UCDs and header entries.

    Astropy spells a header out of it (for FITS and Parquet) as it would for a full table, so
    that astropy reads our files as its own; the rows are written without it, block by block.
    """
    empty = Table(meta={entry.name: entry.value for entry in table.header})
    for column in table.columns:
        kind = np.dtype(column.dtype)
        empty[column.name] = Column(
            np.empty((0, *column.shape), f"U{kind.itemsize}" if kind.kind == "S" else kind),
            unit=units.Unit(column.unit) if column.unit else None,
            description=column.description,
            meta={"ucd": column.ucd},
        )
    return empty
