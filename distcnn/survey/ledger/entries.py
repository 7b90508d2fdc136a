"""What a ledger knows of its tasks: a mapping whose values stay in the file."""

import json
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Any

from distcnn.errors import StoreCorrupt
from distcnn.survey.ledger.fingerprint import CURE
from distcnn.survey.ledger.line_index import LineIndex
from distcnn.survey.ledger.line_text import checked_text, unreadable
from distcnn.survey.ledger.lines import Lines

Facts = dict[str, Any]


class Entries(Mapping[str, Facts]):
    """Facts by name, in the order of the lines; each is read when it is asked for.

    Whoever needs many goes through ``items``, ``values`` or ``among``: they open the file once.

    Raises, where facts are read
    ----------------------------
    StoreError : the file cannot be read any more.
    StoreCorrupt : a line is no longer what it was.
    """

    def __init__(self, lines: Lines, places: LineIndex | None = None) -> None:
        self._lines = lines
        self._places = LineIndex() if places is None else places

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
            with self._lines.open() as stream:
                for place in places:
                    stream.seek(place)
                    yield self._entry(stream.readline())
        except OSError as error:
            raise unreadable(self._lines, error) from None

    def _entry(self, line: bytes) -> tuple[str, Facts]:
        text = checked_text(line.removesuffix(b"\n"))
        if text is None:
            raise StoreCorrupt(f"{self._lines} was changed while it was in use", cure=CURE)
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
