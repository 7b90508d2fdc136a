"""Delimited text: CSV and ECSV, plain or gzipped, streamed in chunks of whole lines.

Fields hold numbers, texts, or whole arrays as quoted ``"[...]"`` or ``"(...)"``, with ``NaN``,
``null`` or nothing for a missing value, as the Gaia archive writes them.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from isal import igzip, isal_zlib

from distcnn.arrays import Array
from distcnn.ingest.readers.base import Block, BlockBuilder, Rejected, RowProblem, broken, no_rows
from distcnn.ingest.readers.formats.fields import MISSING, name_to_id, split_row, to_float, to_id
from distcnn.schema import Reason

CHUNK_BYTES = 4 << 20
_READ_BYTES = 1 << 19
_MAX_COMMENTS = 10_000


@dataclass
class TextTable:
    """An open text table: column names, and an iterator over chunks of whole lines."""

    path: Path
    stream: IO[bytes]
    columns: list[str] = field(default_factory=list)
    delimiter: str = ","
    row: int = 0
    """Data rows handed out so far."""
    comments: list[str] = field(default_factory=list)
    """Lines before the header that begin with ``#``; an ECSV keeps its metadata there."""

    def __post_init__(self) -> None:
        ecsv = False
        while True:
            line = self._line()
            if not line:
                raise broken(self.path, "the file is empty: there is no header line", row=0)
            if not line.startswith(b"#"):
                break
            if len(self.comments) < _MAX_COMMENTS:
                self.comments.append(line.decode("utf-8", "replace").rstrip())
            ecsv = ecsv or line.startswith(b"# %ECSV")
            if line.startswith(b"# delimiter:"):
                self.delimiter = line.split(b":", 1)[1].decode().strip().strip("'\"") or " "
                ecsv = False
        self.delimiter = " " if ecsv else self.delimiter
        names = line.decode("utf-8", "replace").rstrip("\r\n").split(self.delimiter)
        self.columns = [name.strip().strip('"') for name in names]

    def _line(self) -> bytes:
        with self.guard():
            return self.stream.readline()

    def guard(self) -> "_Guard":
        """Context in which errors of the stream become FileBroken with the row reached."""
        return _Guard(self)

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Whole lines, about ``size`` bytes at a time; ``row`` counts them once handed back."""
        rest = b""
        while True:
            with self.guard():
                data = self.stream.read(size)
            if not data:
                break
            cut = data.rfind(b"\n") + 1
            if cut:
                chunk = rest + data[:cut]
                yield chunk
                self.row += chunk.count(b"\n")
                rest = data[cut:]
            else:
                rest += data
        if rest.strip():
            yield rest + b"\n"
            self.row += 1

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Row number (from 1) and line, one by one; empty lines are left out."""
        while True:
            with self.guard():
                lines = self.stream.readlines(_READ_BYTES)
            if not lines:
                return
            for line in lines:
                self.row += 1
                if not line.isspace():
                    yield self.row, line


@dataclass
class _Guard:
    table: TextTable

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            return
        if issubclass(kind, EOFError):
            problem = "the gzip stream ends too early; the file is truncated"
            raise broken(self.table.path, problem, row=self.table.row + 1) from None
        if issubclass(kind, (OSError, zlib.error, cast(type[Exception], isal_zlib.error))):
            problem = f"the file cannot be unpacked ({error})"
            raise broken(self.table.path, problem, row=self.table.row + 1) from None


def open_bytes(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked if they are gzipped, whatever the name.

    Raises
    ------
    FileBroken : there is no such file, or it is empty.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise broken(path, f"the file cannot be opened ({error.strerror})") from None
    magic = stream.peek(2)[:2]
    if not magic:
        stream.close()
        raise broken(path, "the file is empty (0 bytes)", row=0)
    if magic == b"\x1f\x8b":
        stream.close()
        return cast(IO[bytes], igzip.IGzipFile(path, "rb"))  # type: ignore[no-untyped-call]
    return stream


@dataclass(frozen=True)
class TextSelection:
    """The columns to parse: ``identifier`` names the star, ``numbers`` become float64.

    ``texts`` : identifiers may be texts, which are hashed (``name_to_id``). ``star`` : source_id of
    every row, where no column tells it; 0 = ``identifier`` does.
    """

    identifier: str
    numbers: tuple[str, ...]
    texts: bool = False
    star: int = 0

    def identify(self, text: bytes) -> int:
        """The source_id of a field."""
        return name_to_id(text.decode("utf-8", "replace")) if self.texts else to_id(text)


def scalar_columns(
    table: TextTable, chunk: bytes, selection: TextSelection
) -> tuple[Array, dict[str, Array], list[Rejected]]:
    """Columns of a chunk of a table without arrays: row numbers, columns, rejected rows."""
    rows = np.arange(table.row + 1, table.row + 1 + chunk.count(b"\n"))
    rejected: list[Rejected] = []
    try:
        _count_fields(table, chunk)
        columns = _parse(table, chunk, selection)
    except (ValueError, OverflowError, RowProblem):
        chunk, rows, rejected = _diagnose(table, chunk, selection)
        columns = _parse(table, chunk, selection) if len(rows) else _nothing(selection)
    return rows, columns, rejected


def _nothing(selection: TextSelection) -> dict[str, Array]:
    columns: dict[str, Array] = {name: np.empty(0) for name in selection.numbers}
    return columns | {selection.identifier: np.empty(0, np.int64)}


def _count_fields(table: TextTable, chunk: bytes) -> None:
    # pandas fills short rows up with missing values and says nothing; counting the delimiters of
    # the whole chunk costs next to nothing.
    expected = chunk.count(b"\n") * (len(table.columns) - 1)
    if chunk.count(table.delimiter.encode()) != expected:
        raise ValueError("a row has more or fewer fields than the header")


def _parse(table: TextTable, chunk: bytes, selection: TextSelection) -> dict[str, Array]:
    own = () if selection.star else (selection.identifier,)
    names = list(dict.fromkeys([*own, *selection.numbers]))
    types: dict[str, Any] = dict.fromkeys(selection.numbers, np.float64)
    if not selection.star:
        types[selection.identifier] = object if selection.texts else np.int64
    frame = pd.read_csv(
        io.BytesIO(chunk),
        sep=table.delimiter,
        header=None,
        names=table.columns,
        usecols=names,
        dtype=types,
        na_values={name: list(MISSING) for name in selection.numbers},
        keep_default_na=False,
        skip_blank_lines=False,
        engine="c",
        index_col=False,
    )
    columns: dict[str, Array] = {name: frame[name].to_numpy() for name in names}
    if selection.star:
        return columns | {selection.identifier: np.full(len(frame), selection.star, np.int64)}
    if selection.texts:
        texts = [str(text) for text in columns[selection.identifier]]
        columns[selection.identifier] = np.array([name_to_id(text) for text in texts], np.int64)
    if (columns[selection.identifier] <= 0).any():
        raise ValueError("a source_id is not positive")
    return columns


def _diagnose(
    table: TextTable, chunk: bytes, selection: TextSelection
) -> tuple[bytes, Array, list[Rejected]]:
    """Find the rows of a chunk that cannot be parsed; the others are given back as a chunk."""
    good: list[bytes] = []
    rows: list[int] = []
    rejected: list[Rejected] = []
    places = {name: table.columns.index(name) for name in selection.numbers}
    place = 0 if selection.star else table.columns.index(selection.identifier)
    for number, line in enumerate(chunk.split(b"\n")[:-1], table.row + 1):
        source_id = 0
        if not line.strip():
            continue
        try:
            fields = check_fields(line, table)
            source_id = selection.star or selection.identify(fields[place])
            for name, index in places.items():
                to_float(fields[index], name)
        except RowProblem as problem:
            where = str(table.path)
            rejected.append(Rejected(where, number, source_id, problem.reason, problem.detail))
        else:
            good.append(line)
            rows.append(number)
    return b"".join(line + b"\n" for line in good), np.array(rows, np.int64), rejected


def check_fields(line: bytes, table: TextTable) -> list[bytes]:
    """Fields of a line.

    Raises
    ------
    RowProblem : more or fewer of them than the header has.
    """
    fields = split_row(line, table.delimiter.encode())
    if len(fields) != len(table.columns):
        detail = f"the row has {len(fields)} fields, the header {len(table.columns)}"
        raise RowProblem(Reason.MALFORMED, detail)
    fields[-1] = fields[-1].rstrip(b"\r\n")
    return fields


def blocks_by_row(
    table: TextTable,
    builder: BlockBuilder,
    identify: Callable[[list[bytes]], int],
    fill: Callable[[list[bytes], BlockBuilder], None],
    ids: Array | None,
) -> Iterator[Block]:
    """Blocks of a table whose fields hold whole arrays, which pandas does not parse.

    Parameters
    ----------
    identify : the source_id of a row's fields.
    fill : writes a row's fields to row ``builder.count`` of the columns.
    ids : only rows of these stars; rows of others are not even parsed.

    Raises
    ------
    FileBroken : there are no rows, or the stream breaks off.
    """
    stars = None if ids is None else set(ids.tolist())
    for number, line in table.lines():
        source_id = 0
        try:
            fields = check_fields(line, table)
            source_id = identify(fields)
            if stars is not None and source_id not in stars:
                continue
            fill(fields, builder)
        except RowProblem as bad:
            rejected = Rejected(builder.file, number, source_id, bad.reason, bad.detail)
            builder.reject(rejected, bad.length)
            continue
        builder.accept(number, source_id)
        if builder.full:
            yield builder.take()
    if not table.row:
        raise no_rows(builder.file)
    yield from builder.rest()
