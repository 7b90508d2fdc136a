"""Row key: which variables say what a row is, and every question asked about that identity.

Mostly a row is a star and its key is ``source_id``. A survey of epochs, or of every spectrum of its
stars, has the key (``source_id``, ``transit_id``) or (``source_id``, ``spectrum_id``): the star of
a row stays ``source_id``, which groups, splits and catalogues of stars go by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array, find_sorted
from distcnn.errors import StoreError
from distcnn.schema import SURVEY_VARIABLES, Variable

_ATTRIBUTE = "row_key"


@dataclass(frozen=True)
class RowKey:
    """Names of int64 variables; their values together occur in one row only.

    A *key* is one value per row: int64 [N] for a key of one variable, else a structured array
    [N] with one field per variable; both sort by the first variable, then the next.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        integers = {v.name for v in SURVEY_VARIABLES.values() if v.dtype == "int64"}
        if self.names[:1] != ("source_id",) or not integers.issuperset(self.names):
            raise StoreError(
                f"the row key {', '.join(self.names) or 'of no variable'} cannot be used",
                expected="source_id, then other identifiers of the schema",
            )

    def __str__(self) -> str:
        return ", ".join(self.names)

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> "RowKey":
        """The key that a store says it has; that of stars where it says nothing."""
        return cls(tuple(attrs.get(_ATTRIBUTE, STAR_KEY.names)))

    def to_attrs(self) -> dict[str, Any]:
        """What a store says of its key: nothing of the usual one, as the first stores did."""
        return {} if self == STAR_KEY else {_ATTRIBUTE: list(self.names)}

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables of the schema that make the key."""
        return tuple(SURVEY_VARIABLES[name] for name in self.names)

    def of(self, block: Mapping[str, Array]) -> Array:
        """The key [N] of rows, from their variables."""
        columns = [np.asarray(block[name], np.int64) for name in self.names]
        if len(columns) == 1:
            return columns[0]
        key = np.empty(len(columns[0]), [(name, np.int64) for name in self.names])
        for name, values in zip(self.names, columns, strict=True):
            key[name] = values
        return key

    def first_of_each(self, block: Mapping[str, Array]) -> Array:
        """[N] bool: the rows that are the first of their key; all of them if keys are unique."""
        key = self.of(block)
        first = np.zeros(len(key), bool)
        first[np.unique(key, return_index=True)[1]] = True
        return first

    def check_unique(self, block: Mapping[str, Array], where: object) -> None:
        """Refuse rows that share a key.

        Raises
        ------
        StoreError : names the first key that stands there again.
        """
        again = np.flatnonzero(~self.first_of_each(block))
        if again.size:
            row = int(again[0])
            values = ", ".join(f"{name} {int(block[name][row])}" for name in self.names)
            raise StoreError(
                f"{where} has {values} again in row {row} ({again.size} such rows)",
                expected=f"every {self} once",
            )

    def differing(self, block: Mapping[str, Array], other: Mapping[str, Array]) -> Array:
        """Numbers of the rows whose key is another in ``other``, which has as many rows."""
        return np.flatnonzero(self.of(block) != self.of(other))

    def join(self, table: Mapping[str, Array], wanted: Mapping[str, Array]) -> tuple[Array, Array]:
        """Row of ``table`` (in any order) for every wanted row, and whether there is one.

        Returns
        -------
        row [N], of no meaning where nothing was found; found [N], bool.
        """
        keys = self.of(table)
        order = np.argsort(keys, kind="stable")
        place, found = find_sorted(keys[order], self.of(wanted))
        return order[place] if len(keys) else place, found

    def digest(self, block: Mapping[str, Array]) -> str:
        """Digest of a set of rows, whatever their order; of their keys alone."""
        key = np.sort(self.of(block))
        columns = {self.names[0]: key} if len(self.names) == 1 else {n: key[n] for n in self.names}
        return hashing.of_arrays(columns)


STAR_KEY = RowKey(("source_id",))
"""One row per star."""
EPOCH_KEY = RowKey(("source_id", "transit_id"))
"""One row per transit of a star."""
SPECTRUM_KEY = RowKey(("source_id", "spectrum_id"))
"""One row per spectrum of a star."""


def digest_of_ids(source_id: Iterable[int] | Array) -> str:
    """Digest of a set of stars, whatever their order."""
    return STAR_KEY.digest({"source_id": np.asarray(source_id, np.int64)})
