"""Entries: what the lines of a ledger say, read from the file when somebody asks.

A survey of a milliard stars has a million regions, and their facts are gigabytes of dicts. Held
in memory are names and places of lines only, some thirty bytes each.
"""

import json
import zlib
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import StoreCorrupt, StoreError

Facts = dict[str, Any]

CURE = "Use another output path, or remove this one to begin again."
_NEW = 1 << 14  # names that wait to be sorted in
_BEGIN = b'{"name":"'


class Places:
    """Where in the file the line of a name begins [bytes]; the last line of a name counts.

    Sorted arrays, and beside them a short dict of what is new.
    """

    def __init__(self) -> None:
        self._names: Array = np.empty(0, "S1")
        self._places: Array = np.empty(0, np.int64)
        self._new: dict[bytes, int] = {}

    def __setitem__(self, name: str, place: int) -> None:
        self._new[name.encode()] = place
        if len(self._new) >= _NEW:
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


class Entries(Mapping[str, Facts]):
    """Facts by name, in the order of the lines; each is read when it is asked for.

    Whoever needs many goes through ``items``, ``values`` or ``among``: they open the file once.

    Raises, where facts are read
    ----------------------------
    StoreError : the file cannot be read any more.
    StoreCorrupt : a line is no longer what it was.
    """

    def __init__(self, path: Path, places: Places | None = None) -> None:
        self._path = path
        self._places = Places() if places is None else places

    def __getitem__(self, name: str) -> Facts:
        return next(self._read([self._place(name)]))[1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._places.find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return self._places.names()

    def __len__(self) -> int:
        return len(self._places)

    def items(self) -> ItemsView[str, Facts]:
        return _Items(self)

    def values(self) -> ValuesView[Facts]:
        return _Values(self)

    def among(self, names: Iterable[str]) -> Iterator[Facts]:
        """Facts of these names, in their order.

        Raises
        ------
        KeyError : there is no such name.
        """
        return (facts for _, facts in self._read(map(self._place, names)))

    def pairs(self) -> Iterator[tuple[str, Facts]]:
        """Name and facts of every line, in one pass through the file."""
        return self._read(map(int, self._places.in_order()))

    def by_name(self) -> Iterator[tuple[str, Facts]]:
        """Name and facts of every line, sorted by name."""
        return self._read(map(int, self._places.by_name()))

    def note(self, name: str, place: int) -> None:
        """A line of this name has been written there."""
        self._places[name] = place

    def _place(self, name: str) -> int:
        place = self._places.find(name)
        if place is None:
            raise KeyError(name)
        return place

    def _read(self, places: Iterable[int]) -> Iterator[tuple[str, Facts]]:
        try:
            with self._path.open("rb") as stream:
                for place in places:
                    stream.seek(place)
                    yield self._entry(stream.readline())
        except OSError as error:
            raise unreadable(self._path, error) from None

    def _entry(self, line: bytes) -> tuple[str, Facts]:
        text = checked(line.removesuffix(b"\n"))
        if text is None:
            raise StoreCorrupt(f"{self._path} was changed while it was in use", cure=CURE)
        facts: Facts = json.loads(text)
        return facts.pop("name"), facts


class _Items(ItemsView[str, Facts]):
    _mapping: Entries

    def __iter__(self) -> Iterator[tuple[str, Facts]]:
        return self._mapping.pairs()


class _Values(ValuesView[Facts]):
    _mapping: Entries

    def __iter__(self) -> Iterator[Facts]:
        return (facts for _, facts in self._mapping.pairs())


def whole_lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Begin, text and end of every line up to one that is torn [bytes].

    Raises
    ------
    StoreError : the file cannot be read.
    StoreCorrupt : a line other than the last is damaged.
    """
    begin, torn = 0, 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                if torn:
                    raise StoreCorrupt(f"{path}, line {torn} is damaged", cure=CURE)
                text, end = checked(line[:-1]), begin + len(line)
                if text is None:
                    torn = number
                else:
                    yield begin, text, end
                begin = end
    except OSError as error:
        raise unreadable(path, error) from None


def name_of(text: bytes) -> str:
    """Name in a line; one that stands first, without escapes, is found without parsing."""
    end = text.find(b'"', len(_BEGIN))
    name = text[len(_BEGIN) : end]
    if text.startswith(_BEGIN) and b"\\" not in name:
        return name.decode()
    return str(json.loads(text)["name"])


def checked(line: bytes) -> bytes | None:
    """The text of a line; None if its checksum does not fit."""
    check, _, text = line.partition(b" ")
    return text if check == b"%08x" % zlib.crc32(text) else None


def unreadable(path: Path, error: OSError) -> StoreError:
    """What to say of a ledger that the system does not give."""
    return StoreError(f"{path} cannot be read ({error})", expected="a ledger")
