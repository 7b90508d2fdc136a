"""Lines of a ledger, and where they are kept: in one file, or in objects.

An object store appends nothing, so there every ``append`` becomes part of an object that is
written whole and never changed. A thread sends what has come together since the last object, at
most one a second: a driver that stores a thousand regions a second waits for none of them, and
one that is killed forgets the last second, whose regions are computed again. When many small
objects have come together they are written once more as one, and then removed: what a reader
has to list and to fetch stays at some hundred objects for a million regions. Measured with
``benchmarks/objects.py``.
"""

import atexit
import io
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol
from weakref import WeakSet, finalize

from distcnn.errors import PlaceError, StoreCorrupt, StoreError
from distcnn.location import Location, ObjectLocation

SECONDS_BETWEEN_OBJECTS = 1.0
"""Least time between two objects of one ledger; also the most that a killed driver forgets."""
MERGED_OBJECTS = 128
"""Objects of one size that are put together."""
MAX_MERGED_BYTES = 32 << 20
FINGERPRINT = "fingerprint"
_IDLE_SECONDS = 10.0
"""A thread that had nothing to send for so long ends."""
_WRITTEN_AT_ONCE = 1 << 30
_TRIES = 5
"""Times that a list is asked for again because somebody merged what was on it."""


class Lines(Protocol):
    """Whole lines, each ended by a line feed; the first one says what the others belong to."""

    @property
    def path(self) -> Path:
        """The file; raises where there is none."""

    @property
    def folder(self) -> str:
        """Where the ledger is, for messages."""

    def exists(self) -> bool:
        """Whether anything was written."""

    def size(self) -> int:
        """Bytes so far, the place of the next line."""

    def open(self) -> BinaryIO:
        """All lines, to be read from any place.

        Raises
        ------
        OSError : there are none, or they cannot be read.
        """

    def begin(self, line: bytes) -> None:
        """Write the first line; it is there afterwards.

        Raises
        ------
        StoreError, PlaceError : it cannot be written.
        """

    def append(self, lines: bytes) -> None:
        """Add lines; in a file they are on disk afterwards, in objects within a second.

        Raises
        ------
        StoreError, PlaceError : they cannot be written, or earlier ones could not.
        """

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all lines are where they survive this process, or for ``timeout`` seconds.

        Raises
        ------
        PlaceError : they cannot be written.
        """

    def cut(self, end: int) -> None:
        """Drop what follows a place [bytes]."""

    def remove(self) -> None:
        """Remove all lines."""


def lines_at(place: Location) -> Lines:
    """The lines at a place, there or not."""
    return ObjectLines(place) if isinstance(place, ObjectLocation) else FileLines(place.local_path)


class FileLines:
    """Lines of one file, forced to disk one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> str:
        return str(self.path.parent)

    def exists(self) -> bool:
        return self.path.exists()

    def size(self) -> int:
        # No file: appending says what is wrong.
        return self.path.stat().st_size if self.path.exists() else 0

    def open(self) -> BinaryIO:
        return self.path.open("rb")

    def begin(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.append(line)

    def append(self, lines: bytes) -> None:
        try:
            with self.path.open("ab") as stream:
                stream.write(lines)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error})",
                cure="Free space, then run the same command again.",
            ) from None

    def flush(self, timeout: float | None = None) -> None:
        """Nothing: they are on disk."""

    def cut(self, end: int) -> None:
        if end != self.path.stat().st_size:
            os.truncate(self.path, end)

    def remove(self) -> None:
        self.path.unlink()


class ObjectLines:
    """Lines in objects below a prefix, and a copy of them in a nameless file of this machine."""

    def __init__(self, place: ObjectLocation) -> None:
        self._place = place
        self._copy: int | None = None
        self._size = self._sent = 0
        self._levels: list[list[_Sent]] = [[]]
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurry = False

    def __str__(self) -> str:
        return str(self._place)

    @property
    def path(self) -> Path:
        return self._place.local_path  # raises

    @property
    def folder(self) -> str:
        return str(self._place.parent)

    def exists(self) -> bool:
        return self._size > 0 or (self._place / FINGERPRINT).exists()

    def size(self) -> int:
        self._load()
        return self._size

    def open(self) -> BinaryIO:
        self._load()
        if not self._size:
            raise FileNotFoundError(f"there is no object below {self._place}")
        return io.BufferedReader(_Window(self._descriptor, lambda: self._size))

    @property
    def _descriptor(self) -> int:
        assert self._copy is not None
        return self._copy

    def _load(self) -> None:
        if self._copy is not None:
            return
        with tempfile.TemporaryFile(prefix="distcnn-ledger-") as file:
            self._copy = os.dup(file.fileno())
        finalize(self, os.close, self._copy)
        for data in self._fetch():
            if data and not data.endswith(b"\n"):
                raise StoreCorrupt(f"{self._place}: an object of the ledger is not whole")
            self._copy_in(data)
        self._sent = self._size

    def _fetch(self) -> list[bytes]:
        """Contents of all objects, the fingerprint first, then by time."""
        known: dict[str, bytes] = {}
        for _ in range(_TRIES):
            names = sorted(name for name, _ in self._place.objects_below())
            missing = [name for name in names if name not in known]
            try:
                known |= dict(zip(missing, self._place.read_many(missing), strict=True))
            except FileNotFoundError:  # merged just now, so the list has another object for it
                continue
            if known and FINGERPRINT not in known:
                raise StoreCorrupt(f"{self._place / FINGERPRINT} is missing")
            first = [known.pop(FINGERPRINT)] if known else []
            return first + [known[name] for name in sorted(known)]
        raise StoreError(f"{self._place} changes all the time", cure="Wait for the run that does.")

    def _copy_in(self, data: bytes) -> None:
        at = self._size
        for begin in range(0, len(data), _WRITTEN_AT_ONCE):
            at += os.pwrite(self._descriptor, data[begin : begin + _WRITTEN_AT_ONCE], at)
        self._size = at

    def begin(self, line: bytes) -> None:
        self._load()
        (self._place / FINGERPRINT).write_bytes(line)
        self._copy_in(line)
        self._sent = self._size

    def append(self, lines: bytes) -> None:
        self._load()
        with self._changed:
            self._raise_error()
            self._copy_in(lines)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="ledger", daemon=True)
                self._thread.start()
                _WRITING.add(self)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._error is not None or self._sent == self._size, timeout
            )
            self._hurry = False
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error, self._thread = self._error, None, None
            raise error

    def _send(self) -> None:
        """Thread: what has come together becomes an object, then small ones become one."""
        try:
            while True:
                with self._changed:
                    if not self._changed.wait_for(lambda: self._sent < self._size, _IDLE_SECONDS):
                        self._thread = None  # the next append begins another
                        return
                    begin, end = self._sent, self._size
                self._levels[0].append(self._put(begin, end))
                with self._changed:
                    self._sent = end
                    self._changed.notify_all()
                self._merge()
                with self._changed:
                    self._changed.wait_for(lambda: self._hurry, SECONDS_BETWEEN_OBJECTS)
        except Exception as error:  # raised by the next append, or by flush
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _put(self, begin: int, end: int, level: int = 0) -> "_Sent":
        name = f"{time.time_ns():020d}-{level}-{secrets.token_hex(4)}"
        (self._place / name).write_bytes(os.pread(self._descriptor, end - begin, begin))
        return _Sent(name, begin, end)

    def _merge(self) -> None:
        """As in a log-structured merge tree: objects of one size become one of the next."""
        for level, sent in enumerate(self._levels):
            begin, end = (sent[0].begin, sent[-1].end) if sent else (0, 0)
            if len(sent) < MERGED_OBJECTS or end - begin > MAX_MERGED_BYTES:
                return
            whole = self._put(begin, end, level + 1)
            # The copy is there, so these count for nothing any more.
            self._place.delete_objects(part.name for part in sent)
            sent.clear()
            if len(self._levels) == level + 1:
                self._levels.append([])
            self._levels[level + 1].append(whole)

    def cut(self, end: int) -> None:
        if end != self.size():
            raise StoreCorrupt(f"{self._place}: an object of the ledger is damaged")

    def remove(self) -> None:
        self._place.remove()
        self._copy, self._size, self._sent, self._levels = None, 0, 0, [[]]


class _Sent:
    """An object that was written: its name, and the lines in it [bytes of the copy]."""

    def __init__(self, name: str, begin: int, end: int) -> None:
        self.name, self.begin, self.end = name, begin, end


class _Window(io.RawIOBase):
    """A file from its beginning, whatever others read of it at the same time."""

    def __init__(self, descriptor: int, size: Callable[[], int]) -> None:
        self._descriptor, self._at, self._limit = descriptor, 0, size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}
        self._at = offset + (base[whence] if whence in base else self._limit())
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count


_WRITING: "WeakSet[ObjectLines]" = WeakSet()


@atexit.register
def _send_the_rest() -> None:
    for lines in list(_WRITING):
        with suppress(PlaceError):
            lines.flush(timeout=5)
