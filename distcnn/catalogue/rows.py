"""Rows of a catalogue as they are read from the predictions: only what is asked for of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.columns import (
    CORRELATION,
    COVARIANCE,
    FLAG_BOUNDARY,
    RECOMMENDATION,
    Column,
    columns,
    covariance_columns,
    pairs,
)
from distcnn.catalogue.expression import Expression
from distcnn.catalogue.flag_boundary import flag_boundary
from distcnn.catalogue.selection import Selection
from distcnn.catalogue.standard import MADE_OF, standard_columns, standard_values
from distcnn.evaluation.agreement import StandardLabels
from distcnn.labels import of_attributes
from distcnn.location import Location
from distcnn.quality.recommendation import recommend
from distcnn.schema import Flag
from distcnn.survey import SNR_INTERVAL, Region, Store, Tiles, snr_sentence

REGION_BYTES = 96 * 2**20
"""Memory that the rows of a region take at most; reading and sorting them takes some of that."""
_MADE_OF = {
    FLAG_BOUNDARY: ("label", "novelty", "reference_magnitude", "parallax", "flags"),
    COVARIANCE: ("label_error", CORRELATION),
    **MADE_OF,
    RECOMMENDATION: ("label", "flags"),
}
"""The variables of the store from which a column is computed that it has not (yet)."""


@dataclass(frozen=True)
class SelectedRows:
    """What a selection means for one prediction store; it can be pickled."""

    columns: tuple[Column, ...]
    condition: Expression | None
    _known: dict[str, Column]
    standard: StandardLabels | None = None

    @classmethod
    def of(cls, store: Store, selection: Selection) -> "SelectedRows":
        """Check a selection against what the predictions hold.

        Raises
        ------
        UsageError : as ``Selection.choose`` and ``Selection.condition``.
        """
        known = known_columns(store, selection.standard)
        named = {column.name: column for column in known}
        chosen, condition = selection.choose(known), selection.condition(known)
        return cls(chosen, condition, named, selection.standard)

    def count(self, store: Store, size: int) -> int:
        """How many rows there are; with a condition its columns are read, ``size`` at a time."""
        if self.condition is None:
            return store.stars
        return sum(int(self._kept(store, region).sum()) for region in _regions(store, size))

    def counts_of_parts(self, store: Store, size: int) -> dict[str, int]:
        """How many rows fulfil each of the conditions that ``and`` joins, by its text."""
        parts = [] if self.condition is None else self.condition.parts
        alone = [replace(self, condition=part) for part in parts]
        return {part.text: one.count(store, size) for part, one in zip(parts, alone, strict=True)}

    def blocks(
        self, store: Store, size: int, report: Callable[[int], None] = lambda rows: None
    ) -> Iterator[Array]:
        """All rows, ``size`` at a time; ``report`` hears how many rows of the store were read."""
        return _of_size(size, self.dtype, self._read_all(store, size, report))

    def read(self, store: Store, region: Region) -> Array:
        """The rows of a region that fulfil the condition, as structured array of ``dtype``."""
        kept = None if self.condition is None else self._kept(store, region)
        if kept is not None and not kept.any():
            return np.empty(0, self.dtype)
        rows = _rows(store, region, self.columns, self.standard)
        return rows if kept is None else rows[kept]

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Type of one row, in the byte order of this machine."""
        return row_dtype(self.columns)

    def _read_all(self, store: Store, size: int, report: Callable[[int], None]) -> Iterator[Array]:
        for region in _regions(store, size):
            yield self.read(store, region)
            report(region.size)

    def _kept(self, store: Store, region: Region) -> Array:
        assert self.condition is not None
        needed = [self._known[name] for name in self.condition.names]
        rows = _rows(store, region, needed, self.standard)
        kept = self.condition({column.name: rows[column.name] for column in needed})
        return np.broadcast_to(kept, (region.size,))


@dataclass(frozen=True)
class SharedRows:
    """Selected rows cut into regions, which any worker reads; it can be pickled."""

    predictions: Location
    rows: SelectedRows
    regions: Tiles

    @classmethod
    def cut(cls, store: Store, rows: SelectedRows) -> "SharedRows":
        """Regions of whole chunks of the store, of which each takes a task little memory."""
        most = REGION_BYTES // rows.dtype.itemsize
        step = max(1, most // store.chunk_stars) * store.chunk_stars
        return cls(store.location, rows, Tiles(store.stars, step))

    def read(self, number: int) -> Array:
        """The rows of one region, as ``SelectedRows.read``."""
        return self.rows.read(Store.open(self.predictions, "predictions"), self.regions[number])


def known_columns(store: Store, standard: StandardLabels | None = None) -> tuple[Column, ...]:
    """Every column that a catalogue of these predictions can have."""
    labels = _labels(store)
    own, named = of_attributes(store.attrs), "name" in store.variables
    moving = "velocity" in store.variables
    table = columns(labels, store.row_key, own, has_names=named, has_velocities=moving)
    # Stores made before a variable was are read without its columns.
    there = [c for c in table if c.variable in store.variables or c.variable in _MADE_OF]
    text = snr_sentence(store.attrs.get(SNR_INTERVAL))
    told = [replace(c, description=text) if c.name == "snr" else c for c in there]
    beside = () if standard is None else standard_columns(standard, own)
    return (*told, *beside, *covariance_columns(labels))


def row_dtype(table: Sequence[Column]) -> "np.dtype[Any]":
    """Type of a row with these columns, in the byte order of this machine."""
    return np.dtype([(column.name, column.field) for column in table])


def _regions(store: Store, size: int) -> Iterator[Region]:
    for start in range(0, store.stars, size):
        yield Region(start, min(start + size, store.stars))


def _of_size(size: int, dtype: "np.dtype[Any]", parts: Iterable[Array]) -> Iterator[Array]:
    """The same rows in blocks of ``size``, the last one smaller: what a condition leaves of a
    block may be little, and formats work best with large ones.
    """
    held: list[Array] = []
    for part in parts:
        held.append(part)
        while sum(map(len, held)) >= size:
            whole = held[0] if len(held) == 1 else np.concatenate(held)
            yield whole[:size]
            held = [whole[size:]] if len(whole) > size else []
    rest = np.concatenate(held) if held else np.empty(0, dtype)
    if len(rest):
        yield rest


def _rows(
    store: Store, region: Region, table: Sequence[Column], standard: StandardLabels | None
) -> Array:
    wanted = {column.variable for column in table}
    made_of = {name: parts for name, parts in _MADE_OF.items() if name not in store.variables}
    needed = {name for made in wanted for name in made_of.get(made, (made,))}
    values = store.read(region, sorted(needed))
    labels = _labels(store)
    if FLAG_BOUNDARY in wanted:
        values[FLAG_BOUNDARY] = flag_boundary(values, labels, store.attrs.get("limits"))
    if RECOMMENDATION in wanted and RECOMMENDATION not in values:
        values[RECOMMENDATION] = _recommendation(values, store.attrs.get("limits"))
    if COVARIANCE in wanted:
        values[COVARIANCE] = _covariance(values["label_error"], values[CORRELATION])
    if standard is not None and wanted & set(MADE_OF):
        values |= standard_values(standard, labels, values)
    if "name" in wanted:
        values["name"] = _names(values["name"])
    rows = np.empty(region.size, row_dtype(table))
    for column in table:
        found = values[column.variable]
        rows[column.name] = found if column.index is None else found[:, column.index]
    return rows


def _labels(store: Store) -> list[str]:
    return list(map(str, store.coordinate("label")))


def _recommendation(values: Mapping[str, Array], limits: Mapping[str, Any] | None) -> Array:
    """Of predictions made before it was: of most flags it is not known which labels they are about,
    so they count for all.
    """
    label, concerned = values["label"], {}
    if limits:
        low, high = (np.array(limits[f"label_{side}"], float) for side in ("low", "high"))
        concerned[Flag.LABEL_LIMITS] = (label < low) | (label > high)
    return recommend(values["flags"], concerned, label.shape[1])


def _covariance(error: Array, correlation: Array) -> Array:
    """Covariance matrices [N, L, L] of errors [N, L] and correlations of pairs [N, P]."""
    whole = np.ones((*error.shape, error.shape[1]), np.float32)
    for place, (one, other) in enumerate(pairs(range(error.shape[1]))):
        whole[:, one, other] = whole[:, other, one] = correlation[:, place]
    # The product of the errors first, or rounding would make it lopsided.
    covariance: Array = whole * (error[:, :, None] * error[:, None, :])
    return covariance


def _names(stored: Array) -> Array:
    """Names of the stars as ASCII, which is all that FITS allows in a column."""
    texts = np.ascontiguousarray(stored).view(f"S{stored.shape[1]}")[:, 0].tolist()
    ascii_only = [text.decode("utf-8", "replace").encode("ascii", "replace") for text in texts]
    return np.array(ascii_only, f"S{stored.shape[1]}")
