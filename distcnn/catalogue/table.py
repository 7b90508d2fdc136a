"""The catalogue table: what a writer is given. Columns, number of rows, header entries, rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.columns import Column
from distcnn.catalogue.rows import SelectedRows, row_dtype
from distcnn.catalogue.selection import Selection
from distcnn.schema import Flag
from distcnn.survey import Store

BLOCK_ROWS = 65536
"""Rows read and written at a time."""
ALL = Selection()


@dataclass(frozen=True)
class HeaderEntry:
    """One line of provenance: a name of eight letters or fewer, a text, and a sentence."""

    name: str
    value: str
    description: str


@dataclass(frozen=True)
class CatalogueTable:
    """A catalogue before it has a format. ``blocks`` reads from the first row at every call."""

    columns: tuple[Column, ...]
    rows: int
    header: tuple[HeaderEntry, ...]
    blocks: Callable[[], Iterator[Array]]
    """Structured arrays of ``dtype``, BLOCK_ROWS rows at a time."""
    margin: float = 0.0
    """Width of the margins of partitions on the sky [arcseconds]; 0 = none."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Type of one row, in the byte order of this machine."""
        return row_dtype(self.columns)


def catalogue_table(
    store: Store,
    report: Callable[[int], None] = lambda rows: None,
    selection: Selection = ALL,
) -> CatalogueTable:
    """The catalogue of a prediction store; ``report`` hears of every block read [rows].

    Raises
    ------
    UsageError : the selection names a column that is not there, or its condition is wrong.
    """
    rows = SelectedRows.of(store, selection)

    def blocks() -> Iterator[Array]:
        return rows.blocks(store, BLOCK_ROWS, report)

    count = rows.count(store, BLOCK_ROWS)
    header = header_entries(store, rows)
    return CatalogueTable(rows.columns, count, header, blocks, selection.margin)


def header_entries(store: Store, rows: SelectedRows | None = None) -> tuple[HeaderEntry, ...]:
    """Where the values come from, and which rows they are of."""
    where = rows.condition.text if rows and rows.condition else None
    attrs = store.attrs
    package, survey = attrs.get("package", {}), attrs.get("survey", {})
    counts, engine = attrs.get("counts", {}), attrs.get("engine", {})
    found = (
        ("CREATOR", f"distcnn {attrs.get('distcnn_version', '?')}", "program that computed this"),
        ("SURVEY", survey.get("name"), "name of the dataset"),
        ("RELEASE", attrs.get("release"), "data release"),
        ("SURVSHA", survey.get("digest"), "sha256 of the survey store"),
        ("PACKSHA", package.get("digest"), "sha256 of the trained package"),
        ("ENGINE", engine.get("name"), "how the network was run"),
        ("PRECIS", engine.get("precision"), "arithmetic of the network"),
        ("MEMBERS", engine.get("members"), "networks in the ensemble"),
        ("BANDS", " ".join(attrs.get("bands", ())), "photometric bands used"),
        ("FAILED", counts.get("failed"), "stars that could not be computed"),
        ("STANDARD", _standard(rows), "standard method of each label"),
        ("WHERE", where, "condition that the rows fulfil"),
        ("ALLSTARS", store.stars if where else None, "stars of which these rows were taken"),
    )
    return tuple(HeaderEntry(name, str(v), text) for name, v, text in found if v not in (None, ""))


def _standard(rows: SelectedRows | None) -> str | None:
    if rows is None or rows.standard is None:
        return None
    return "; ".join(f"{name}: {method}" for name, method in rows.standard.methods.items())


def flag_table() -> list[tuple[str, int, str]]:
    """Name, value and sentence of every bit of ``flags``."""
    return [(flag.name or "", int(flag), flag.sentence) for flag in Flag]
