"""Where in a ledger the line of each name begins: an index of some bytes per line."""

from collections.abc import Iterator

import numpy as np

from distcnn.arrays import Array

SORT_AFTER_NAMES = 1 << 14
"""New names of an index that wait in a dict until they are sorted in."""


class LineIndex:
    """Where in the file the line of a name begins [bytes]; the last line of a name counts.

    Sorted arrays, and beside them a short dict of what is new: a dict of all names would take
    five times the memory.
    """

    def __init__(self) -> None:
        self._names: Array = np.empty(0, "S1")
        self._places: Array = np.empty(0, np.int64)
        self._new: dict[bytes, int] = {}

    def __setitem__(self, name: str, place: int) -> None:
        self._new[name.encode()] = place
        if len(self._new) >= SORT_AFTER_NAMES:
            self._sort_in()

    def find(self, name: str) -> int | None:
        """The place of a line; None if no line has this name."""
        key = name.encode()
        if key in self._new:
            return self._new[key]
        # A longer key would make numpy copy every name to its width.
        if not self._names.size or len(key) > self._names.itemsize:
            return None
        at = int(self._names.searchsorted(np.bytes_(key)))
        found = at < self._names.size and self._names[at] == key
        return int(self._places[at]) if found else None

    def __len__(self) -> int:
        self._sort_in()
        return int(self._names.size)

    def names(self) -> Iterator[str]:
        """Names in the order of their lines."""
        self._sort_in()
        names = self._names
        return (bytes(names[at]).decode() for at in np.argsort(self._places))

    def in_order(self) -> Array:
        """Places in the order of the file, int64 [N]."""
        self._sort_in()
        return np.sort(self._places)

    def by_name(self) -> Array:
        """Places in the order of the names, int64 [N]."""
        self._sort_in()
        return self._places

    def _sort_in(self) -> None:
        if not self._new:
            return
        order = sorted(self._new)
        names = np.array(order)
        places = np.fromiter(map(self._new.__getitem__, order), np.int64, len(order))
        self._new = {}
        self._names = self._names.astype(
            np.promote_types(self._names.dtype, names.dtype), copy=False
        )
        at = np.searchsorted(self._names, names)
        again = at < self._names.size
        again[again] = self._names[at[again]] == names[again]
        self._places[at[again]] = places[again]
        # One array after the other: the largest moment of memory is that of one copy.
        self._names = np.insert(self._names, at[~again], names[~again])
        self._places = np.insert(self._places, at[~again], places[~again])
