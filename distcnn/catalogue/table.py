"""Sheet: what a writer is given. Columns, the number of rows, where it all comes from, rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.columns import PARTS, Column, columns, pairs
from distcnn.catalogue.flag_boundary import flag_boundary
from distcnn.schema import FLAG_TEXT, LABELS, Flag
from distcnn.survey import Region, Store

BLOCK_ROWS = 65536


@dataclass(frozen=True)
class Fact:
    """One line of provenance: a name of eight letters or fewer, a text, and a sentence."""

    name: str
    value: str
    description: str


@dataclass(frozen=True)
class Sheet:
    """A catalogue before it has a format. ``blocks`` starts reading anew at every call."""

    columns: tuple[Column, ...]
    rows: int
    facts: tuple[Fact, ...]
    blocks: Callable[[], Iterator[Array]]

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Type of one row, in the byte order of this machine."""
        return np.dtype([(column.name, column.dtype) for column in self.columns])


def sheet_of(store: Store, tell: Callable[[int], None] = lambda rows: None) -> Sheet:
    """The catalogue of a prediction store; ``tell`` hears of every block that was read [rows]."""
    labels = [name for name in map(str, store.coordinate("label")) if name in LABELS]
    table = columns(labels)

    def blocks() -> Iterator[Array]:
        for start in range(0, store.stars, BLOCK_ROWS):
            region = Region(start, min(start + BLOCK_ROWS, store.stars))
            yield _rows(store, region, table)
            tell(region.size)

    return Sheet(table, store.stars, provenance(store), blocks)


def _rows(store: Store, region: Region, table: tuple[Column, ...]) -> Array:
    labels = list(map(str, store.coordinate("label")))
    stored = store.read(region)
    values = dict(stored)
    for number, label in enumerate(labels):
        for tail, variable, _, _ in PARTS:
            values[label + tail] = stored[variable][:, number]
        values[f"e{label}"] = values[f"{label}_error"]
    for number, (one, other) in enumerate(pairs(labels)):
        values[f"{one}_{other}_corr"] = stored["label_correlation"][:, number]
    values["flag_boundary"] = flag_boundary(stored, labels, store.attrs.get("limits"))
    rows = np.empty(region.size, [(column.name, column.dtype) for column in table])
    for column in table:
        rows[column.name] = values[column.name]
    return rows


def provenance(store: Store) -> tuple[Fact, ...]:
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
    return tuple(Fact(name, str(v), text) for name, v, text in found if v not in (None, ""))


def flag_table() -> list[tuple[str, int, str]]:
    """Name, value and sentence of every bit of ``flags``."""
    return [(flag.name or "", int(flag), FLAG_TEXT[flag]) for flag in Flag]
