"""Ledger: which tasks are done, under which fingerprint.

A text file of JSON lines with one writer. The first line holds the fingerprint (digests of
input, package, settings, code version); every other line one finished task (a region, a member,
a part) with the digest of what it stored. A line is appended and forced to disk only after its
task is stored. Presence of chunks proves nothing; the ledger does.

Why not SQLite: measured for a survey of a billion stars (a million regions, 300 MB), a forced
append takes 5 ms here and 11 to 19 ms in a rollback journal (0.5 to 3 ms in WAL mode, which no
network file system supports); a look-up takes as long (22 and 25 us). A database opens in 0.1 s
instead of 3.4 s and needs no memory where the index below needs 41 MB: both once per run, of
hours. A line of text can be read with any tool, and a damaged byte costs one line, not the file.
"""

import json
import re
import zlib
from collections.abc import (
    Callable,
    Container,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    ValuesView,
)
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import DistcnnError, FingerprintMismatch, StoreCorrupt, StoreError
from distcnn.formatting import dotted
from distcnn.location import Address, Location
from distcnn.survey.ledger_lines import Lines, lines_at

Facts = dict[str, Any]
MAX_DIFFERENCES_NAMED = 3
_SHA256 = re.compile("[0-9a-f]{64}")
_DIGESTS = {
    "file names": "another list of archive files",
    "inputs": "other contents of the archive files",
    "data": "other labelled stars, or other values of them",
    "unlabelled": "other stars to learn from",
    "survey": "another survey",
    "package": "another package",
    "teacher": "another ensemble",
    "split.groups": "another table of groups",
    "spec.wavelength_digest": "another wavelength grid",
}
"""What a digest in a fingerprint stands for: by itself it tells nobody what differs."""

_CURE = "Use another output path, or remove this one to begin again."
LINES_AT_ONCE = 4096
"""Lines that are forced to disk together where one ledger takes over another."""
STOPPING_S = 5.0
"""Time that a run which was stopped or failed gives its last lines to arrive."""
SORT_AFTER_NAMES = 1 << 14
"""New names of an index that wait in a dict until they are sorted in."""
_LINE_BEGIN = b'{"name":"'


class Ledger:
    """Finished tasks of one run: ``done[name]`` has the digest and further facts.

    Facts stay in the file: memory grows by about forty bytes per task.
    """

    def __init__(
        self, lines: Lines, fingerprint: dict[str, Any], done: "Entries | None" = None
    ) -> None:
        self._lines = lines
        self.fingerprint = fingerprint
        self.done = Entries(lines) if done is None else done
        self._end = 0  # of the last whole line that was read

    @property
    def path(self) -> Path:
        """The file; raises for a ledger in an object store."""
        return self._lines.path

    @classmethod
    def open(
        cls,
        address: Address,
        fingerprint: dict[str, Any],
        *,
        disposable: Container[str] | None = None,
        is_worthless: Callable[[Mapping[str, Any]], bool] = lambda entry: False,
        cure: str = _CURE,
    ) -> "Ledger":
        """Begin a ledger, or go on with the one there.

        Parameters
        ----------
        disposable : tasks that count for nothing. A ledger of another fingerprint is begun again
            where no other task is done; None = it is an error in any case.
        is_worthless : whether the entry of a task says that it has stored nothing; such a task
            counts for nothing either.
        cure : what to do where it is one.

        Raises
        ------
        FingerprintMismatch : the one there was begun from other input, settings or code.
        StoreCorrupt : a line other than the last is damaged.
        """
        lines = lines_at(Location.parse(address))
        fingerprint = json.loads(json.dumps(fingerprint))
        if not lines.exists():
            ledger = cls(lines, fingerprint)
            lines.begin(_line({"fingerprint": fingerprint}))
            return ledger
        ledger = cls._of(lines)
        if not ledger.fingerprint or ledger._may_be_dropped(fingerprint, disposable, is_worthless):
            lines.remove()
            return cls.open(address, fingerprint)
        begun = f"{lines.folder} was begun"
        check_fingerprint(ledger.fingerprint, fingerprint, begun=begun, cure=cure)
        # A process killed while appending leaves part of a line; cut it off before going on.
        lines.cut(ledger._end)
        return ledger

    @classmethod
    def read(cls, address: Address) -> "Ledger":
        """Read a ledger, whatever its fingerprint.

        Raises
        ------
        StoreError : there is none.
        StoreCorrupt : a line other than the last is damaged.
        """
        return cls._of(lines_at(Location.parse(address)))

    @classmethod
    def _of(cls, lines: Lines) -> "Ledger":
        fingerprint: dict[str, Any] = {}
        places, end = LineIndex(), 0
        for begin, text, stop in _whole_lines(lines):
            if end:
                places[_name_of(text)] = begin
            else:
                fingerprint = json.loads(text).get("fingerprint", {})
            end = stop
        ledger = cls(lines, fingerprint, Entries(lines, places))
        ledger._end = end
        return ledger

    def _may_be_dropped(
        self,
        fingerprint: dict[str, Any],
        disposable: Container[str] | None,
        is_worthless: Callable[[Mapping[str, Any]], bool],
    ) -> bool:
        if disposable is None or self.fingerprint == fingerprint:
            return False
        return all(name in disposable or is_worthless(self.done[name]) for name in self.done)

    def record(self, name: str, digest: str, **facts: Any) -> None:
        """Note that the result of a task is stored.

        In a file the line is on disk afterwards; in an object store it follows within a second,
        and ``flush`` waits for it.
        """
        place = self._lines.size()
        self._lines.append(_line({"name": name, "digest": digest, **facts}))
        self.done.note(name, place)

    def absorb(self, other: "Ledger") -> int:
        """Take over what another ledger of the run has and this one lacks; returns how many tasks.

        The other one may be removed afterwards: the lines are where they survive this process.
        """
        new = (pair for pair in other.done.items() if pair[0] not in self.done)
        taken = 0
        while block := list(islice(new, LINES_AT_ONCE)):
            place = self._lines.size()
            lines = [_line({"name": name, **facts}) for name, facts in block]
            self._lines.append(b"".join(lines))
            for (name, _), line in zip(block, lines, strict=True):
                self.done.note(name, place)
                place += len(line)
            taken += len(block)
        self.flush()
        return taken

    def flush(self) -> None:
        """Wait until every line is where it survives this process.

        Raises
        ------
        PlaceError : the object store takes no more.
        """
        self._lines.flush()

    @contextmanager
    def flushed(self) -> Iterator[Self]:
        """Flush at the end; a block that was stopped or failed waits for some seconds at most.

        So nobody who takes over its lock finds less done than it had noted, and an object store
        that answers no more does not keep a run from ending.
        """
        try:
            yield self
        except BaseException:
            with suppress(DistcnnError):
                self._lines.flush(timeout=STOPPING_S)
            raise
        self.flush()


def check_fingerprint(
    found: Mapping[str, Any], asked: Mapping[str, Any], *, begun: str, cure: str = _CURE
) -> None:
    """Compare the fingerprint of a product with that of what is asked for.

    Parameters
    ----------
    begun : beginning of the message: ``"predictions.zarr was begun"``.

    Raises
    ------
    FingerprintMismatch : they differ; names what differs, with both values.
    """
    before, now = dict(dotted(found)), dict(dotted(asked))
    other = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if not other:
        return
    shown = other[:MAX_DIFFERENCES_NAMED]
    more = f" (and {len(other) - len(shown)} more)" if len(other) > len(shown) else ""
    raise FingerprintMismatch(
        f"{begun} with " + ", ".join(_told(key, before.get(key)) for key in shown) + more,
        expected=", ".join(f"{key} = {_short(now.get(key))}" for key in shown) + ", as asked now",
        cure=cure,
    )


def _told(key: str, value: Any) -> str:
    text = f"{key} = {_short(value)}"
    return f"{_DIGESTS[key]} ({text})" if key in _DIGESTS else text


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if _SHA256.fullmatch(text):
        return f"{text[:8]}..."
    return text if len(text) <= 60 else f"{text[:57]}..."


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
        """LineIndex in the order of the file, int64 [N]."""
        self._sort_in()
        return np.sort(self._places)

    def by_name(self) -> Array:
        """LineIndex in the order of the names, int64 [N]."""
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
            raise _unreadable(self._lines, error) from None

    def _entry(self, line: bytes) -> tuple[str, Facts]:
        text = _checked(line.removesuffix(b"\n"))
        if text is None:
            raise StoreCorrupt(f"{self._lines} was changed while it was in use", cure=_CURE)
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


def _whole_lines(lines: Lines) -> Iterator[tuple[int, bytes, int]]:
    """Begin, text and end of every line up to one that is torn [bytes].

    Raises
    ------
    StoreError : the file cannot be read.
    StoreCorrupt : a line other than the last is damaged.
    """
    begin, torn = 0, 0
    try:
        with lines.open() as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                if torn:
                    raise StoreCorrupt(f"{lines}, line {torn} is damaged", cure=_CURE)
                text, end = _checked(line[:-1]), begin + len(line)
                if text is None:
                    torn = number
                else:
                    yield begin, text, end
                begin = end
    except OSError as error:
        raise _unreadable(lines, error) from None


def _line(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _name_of(text: bytes) -> str:
    """Name in a line; one that stands first, without escapes, is found without parsing."""
    end = text.find(b'"', len(_LINE_BEGIN))
    name = text[len(_LINE_BEGIN) : end]
    if text.startswith(_LINE_BEGIN) and b"\\" not in name:
        return name.decode()
    return str(json.loads(text)["name"])


def _checked(line: bytes) -> bytes | None:
    """The text of a line; None if its checksum does not fit."""
    check, _, text = line.partition(b" ")
    return text if check == b"%08x" % zlib.crc32(text) else None


def _unreadable(lines: Lines, error: OSError) -> StoreError:
    """What to say of a ledger that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return StoreError(
            f"{lines} does not exist",
            expected="a ledger, which says what is stored",
            cure="Copy a store with its folder .distcnn, or make it again.",
        )
    return StoreError(f"{lines} cannot be read ({error})", expected="a ledger")
