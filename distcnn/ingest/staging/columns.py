"""Staged columns: one raw file per variable of a part, appended to block by block.

A part appears under its name complete or not at all, and any of its rows can be read alone.

Why not Arrow IPC: its batches hold all columns of some rows, while here spectra come first, then
source rows and labels, then XP in the order of another file, written in place on disk. With Arrow
that would be several files per part, or columns held in memory. Nor is it faster: 20,000 stars of
800 pixels took 0.35-0.93 s to write and 0.02-0.05 s to read, with Arrow 0.49-1.0 s and
0.04-0.07 s (one core, four turns each).
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from distcnn import errors, hashing
from distcnn.arrays import Array
from distcnn.errors import ColumnMissing, FileBroken, InputError
from distcnn.files import naming, printable
from distcnn.ingest.readers.base import Block, Kind, Rejected
from distcnn.ingest.readers.formats.containers import Unread, collecting_notes
from distcnn.schema import NAME_BYTES, Reason

_META = "part.json"
_FILES = "files.json"
_REJECTED = "rejected.jsonl"


def to_lines(kind: str, rejected: Iterable[Rejected]) -> bytes:
    """Rejected rows as lines of JSON."""
    rows = ({"kind": kind, **vars(row), "file": printable(row.file)} for row in rejected)
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@dataclass(frozen=True)
class FileFailure:
    """A file of which nothing can be used, and the error that says why."""

    kind: Kind
    file: str
    error: str
    """Class of the error, in ``distcnn.errors``."""
    problem: str
    expected: str
    cure: str

    @classmethod
    def of(cls, kind: Kind, path: Path, error: InputError) -> "FileFailure":
        """The failure of a file with that error."""
        text = error.problem, error.expected, error.cure
        return cls(kind, str(path), type(error).__name__, *text)

    def as_error(self, cure: str = "") -> InputError:
        """The error, with one more sentence of cure."""
        kind: type[InputError] = getattr(errors, self.error)
        return kind(self.problem, expected=self.expected, cure=f"{self.cure} {cure}".strip())


def name_bytes(block: Block) -> Array:
    """Names of a block's stars as bytes [n, NAME_BYTES], zero where there is none."""
    if "name" not in block.columns:
        return np.zeros((len(block), NAME_BYTES), np.uint8)
    names = np.ascontiguousarray(block.columns["name"], f"S{NAME_BYTES}")
    return names.view(np.uint8).reshape(len(block), NAME_BYTES)


@dataclass
class ColumnSpec:
    """How a column's raw file is to be read."""

    dtype: str
    shape: list[int]
    """Shape of one row; empty for a number."""
    rows: int

    @property
    def row_size(self) -> int:
        """Numbers in one row."""
        return int(np.prod(self.shape, dtype=int))


class PartWriter:
    """Writes a part into a draft folder; ``close`` makes it appear."""

    def __init__(self, path: Path, kind: str, files: Iterable[Path]) -> None:
        self.path = path
        self.origin = {"kind": kind, "files": [printable(str(file)) for file in files]}
        self.draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True)
        self.columns: dict[str, ColumnSpec] = {}
        self._streams: dict[str, IO[bytes]] = {}
        """Files of the columns, open: of small files there are many, of a few rows each."""
        self.rejected: dict[str, int] = {}
        self.failures: list[FileFailure] = []
        self.unread: list[Unread] = []
        self.read_beside: set[str] = set()
        self.overridden: set[str] = set()
        """What was read of files of which other things were not."""

    @contextmanager
    def whole_or_none(self, kind: Kind, path: Path) -> Iterator[None]:
        """What is staged of a file inside stays only if the file can be used to its end.

        A file that cannot is noted in ``failures`` and among the rejected rows, and whatever was
        staged of it is taken back. Other errors are those of settings, which a user has to mend.
        """
        rows = {name: spec.rows for name, spec in self.columns.items()}
        lines = self.draft / _REJECTED
        before = dict(self.rejected), lines.stat().st_size if lines.exists() else 0
        with collecting_notes() as notes:
            try:
                yield
            except (FileBroken, ColumnMissing) as error:
                self._return_to(rows, *before)
                self.failures.append(FileFailure.of(kind, path, error))
                unusable = [Rejected(str(path), 0, 0, Reason.UNUSABLE_FILE, str(error))]
            else:
                unusable = notes.unusable
        self.reject(kind, unusable)
        self.read_beside |= notes.read
        self.unread += [note for note in notes.unread if note not in self.unread]

    def _return_to(self, rows: Mapping[str, int], rejected: dict[str, int], size: int) -> None:
        for name, spec in list(self.columns.items()):
            if name not in rows:
                self.remove(name)
            elif spec.rows != rows[name]:
                spec.rows = rows[name]
                row_bytes = spec.row_size * np.dtype(spec.dtype).itemsize
                os.truncate(self.draft / name, spec.rows * row_bytes)
        self.rejected = rejected
        if (self.draft / _REJECTED).exists():
            os.truncate(self.draft / _REJECTED, size)

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows to columns; a column keeps the type and width that it began with."""
        for name, values in columns.items():
            first = ColumnSpec(values.dtype.str, list(values.shape[1:]), 0)
            spec = self.columns.setdefault(name, first)
            # Not ``tofile``, which says of a full disk how many values it has written.
            with naming(self.draft / name):
                if name not in self._streams:
                    self._streams[name] = (self.draft / name).open("ab")
                self._streams[name].write(np.ascontiguousarray(values, spec.dtype).tobytes())
                self._streams[name].flush()
            spec.rows += len(values)

    def reject(self, kind: str, rejected: Iterable[Rejected]) -> None:
        """Note rows that were quarantined from a file of that kind."""
        lines = to_lines(kind, rejected)
        if lines:
            with (self.draft / _REJECTED).open("ab") as stream:
                stream.write(lines)
            self.rejected[kind] = self.rejected.get(kind, 0) + lines.count(b"\n")

    def read(self, name: str) -> Array:
        """A column written so far."""
        spec = self.columns[name]
        return np.fromfile(self.draft / name, spec.dtype).reshape(spec.rows, *spec.shape)

    def remove(self, *names: str) -> None:
        """Forget columns."""
        for name in names:
            self._streams.pop(name).close()
            (self.draft / name).unlink()
            del self.columns[name]

    def close(self) -> str:
        """Make the part appear; returns its digest."""
        self._close_streams()
        specs = {name: vars(self.columns[name]) for name in sorted(self.columns)}
        (self.draft / _META).write_bytes(orjson.dumps(specs))
        (self.draft / _FILES).write_bytes(orjson.dumps(self.origin))
        (self.draft / _REJECTED).touch()
        files = sorted(self.draft.iterdir())
        digest = hashing.of_value({file.name: hashing.of_file(file) for file in files})
        shutil.rmtree(self.path, ignore_errors=True)
        self.draft.rename(self.path)
        return digest

    def _close_streams(self) -> None:
        while self._streams:
            self._streams.popitem()[1].close()

    def discard(self) -> None:
        """Remove the draft."""
        with suppress(OSError):  # of a disk that is full still
            self._close_streams()
        shutil.rmtree(self.draft, ignore_errors=True)


class Part:
    """A part that was written, for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        specs = orjson.loads((path / _META).read_bytes())
        self.columns = {name: ColumnSpec(**spec) for name, spec in specs.items()}

    def __len__(self) -> int:
        return self.columns["source_id"].rows

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Rows [start, stop) of a column."""
        spec = self.columns[name]
        dtype = np.dtype(spec.dtype)
        stop = spec.rows if stop is None else stop
        with (self.path / name).open("rb") as stream:
            stream.seek(start * spec.row_size * dtype.itemsize)
            values = np.fromfile(stream, dtype, (stop - start) * spec.row_size)
        return values.reshape(stop - start, *spec.shape)

    def origin(self) -> tuple[str, list[str]]:
        """Kind and names of the files that its rows come from, by the numbers in ``file``."""
        about = orjson.loads((self.path / _FILES).read_bytes())
        return about["kind"], about["files"]

    @property
    def rejected(self) -> Path:
        """The file of rows that were quarantined, one JSON object a line."""
        return self.path / _REJECTED
