"""The catalogue table: what a writer is given. Columns, number of rows, header entries, rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.columns import FLAG_BOUNDARY, Column, columns
from distcnn.catalogue.flag_boundary import flag_boundary
from distcnn.labels import of_attributes
from distcnn.schema import Flag
from distcnn.survey import Region, Store

BLOCK_ROWS = 65536
"""Rows read and written at a time."""


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

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Type of one row, in the byte order of this machine."""
        return np.dtype([(column.name, column.dtype) for column in self.columns])


def catalogue_table(
    store: Store, report: Callable[[int], None] = lambda rows: None
) -> CatalogueTable:
    """The catalogue of a prediction store; ``report`` hears of every block read [rows]."""
    labels = list(map(str, store.coordinate("label")))
    own, named = of_attributes(store.attrs), "name" in store.variables
    moving = "velocity" in store.variables
    table = columns(labels, store.row_key, own, has_names=named, has_velocities=moving)

    def blocks() -> Iterator[Array]:
        for start in range(0, store.stars, BLOCK_ROWS):
            region = Region(start, min(start + BLOCK_ROWS, store.stars))
            yield _rows(store, region, table, labels)
            report(region.size)

    return CatalogueTable(table, store.stars, header_entries(store), blocks)


def _rows(store: Store, region: Region, table: tuple[Column, ...], labels: list[str]) -> Array:
    stored = store.read(region)
    boundary = flag_boundary(stored, labels, store.attrs.get("limits"))
    values = {**stored, FLAG_BOUNDARY: boundary}
    if "name" in stored:
        values["name"] = _names(stored["name"])
    rows = np.empty(region.size, [(column.name, column.dtype) for column in table])
    for column in table:
        found = values[column.variable]
        rows[column.name] = found if column.index is None else found[:, column.index]
    return rows


def _names(stored: Array) -> Array:
    """Names of the stars as ASCII, which is all that FITS allows in a column."""
    texts = np.ascontiguousarray(stored).view(f"S{stored.shape[1]}")[:, 0].tolist()
    ascii_only = [text.decode("utf-8", "replace").encode("ascii", "replace") for text in texts]
    return np.array(ascii_only, f"S{stored.shape[1]}")


def header_entries(store: Store) -> tuple[HeaderEntry, ...]:
    """Where the values come from."""
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
    )
    return tuple(HeaderEntry(name, str(v), text) for name, v, text in found if v not in (None, ""))


def flag_table() -> list[tuple[str, int, str]]:
    """Name, value and sentence of every bit of ``flags``."""
    return [(flag.name or "", int(flag), flag.sentence) for flag in Flag]
