"""Delimited text: CSV and ECSV, plain or gzipped, streamed in chunks of whole lines.

Fields hold numbers, texts, or whole arrays as quoted ``"[...]"`` or ``"(...)"``, with ``NaN``,
``null`` or nothing for a missing value, as the Gaia archive writes them.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from distcnn.arrays import Array
from distcnn.errors import FileBroken
from distcnn.ingest.readers.base import Block, BlockBuilder, Rejected, RowProblem, broken, no_rows
from distcnn.ingest.readers.formats.packing import MAX_LINE_BYTES, UNPACKING_ERRORS, cannot_unpack
from distcnn.ingest.readers.formats.text.fields import MISSING, split_row
from distcnn.ingest.readers.formats.text.header import read_header
from distcnn.ingest.readers.values.identifiers import Identifiers, classify, of_one
from distcnn.ingest.readers.values.numbers import numbers
from distcnn.schema import Reason

CHUNK_BYTES = 4 << 20
_READ_BYTES = 1 << 19
_DECIMAL_COMMA = re.compile(rb"^(\s*[+-]?\d*),(\d+(?:[eE][+-]?\d+)?\s*)$")
_STAR = "\0star"
"""Key of the identifiers among columns; no column is called so."""


@dataclass
class TextTable:
    """An open text table: column names, and an iterator over chunks of whole lines.

    ``delimiter``: that of the configuration; empty: what the header says or shows. ``decimal``:
    the point or comma before the fraction of a number.
    """

    path: Path
    stream: IO[bytes]
    delimiter: str = ""
    decimal: str = "."
    columns: list[str] = field(default_factory=list)
    row: int = 0
    """Data rows handed out so far."""
    comments: list[str] = field(default_factory=list)
    """Lines before the header that begin with ``#``; an ECSV keeps its metadata there."""
    units: dict[str, str] = field(default_factory=dict)
    """Units of columns, where a line below their names gives them."""
    _first: bytes = b""
    """Lines of data that were read with the header."""

    def __post_init__(self) -> None:
        header = read_header(self._line, self.delimiter, self.path)
        self.columns, self.delimiter = header.columns, header.delimiter
        self.comments, self.units, self._first = header.comments, header.units, header.first

    @property
    def separator(self) -> bytes:
        """The delimiter as ``split_row`` takes it."""
        return self.delimiter.encode()

    def _line(self) -> bytes:
        with self.guard():
            line = self.stream.readline(MAX_LINE_BYTES)
        if len(line) == MAX_LINE_BYTES:
            raise self._endless(0)
        return line

    def _endless(self, row: int) -> FileBroken:
        problem = f"a line is longer than {MAX_LINE_BYTES >> 20} MiB; this is no table of text"
        return broken(self.path, problem, row=row, cure="Look at it, or correct 'files'.")

    def guard(self) -> "_Guard":
        """Context in which errors of the stream become FileBroken with the row reached."""
        return _Guard(self)

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Whole lines, about ``size`` bytes at a time; ``row`` counts them once handed back."""
        rest, self._first = self._first, b""
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
            if len(rest) > MAX_LINE_BYTES:
                raise self._endless(self.row + 1)
        if rest.strip():
            last = rest if rest.endswith(b"\n") else rest + b"\n"
            yield last
            self.row += last.count(b"\n")

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Row number (from 1) and line, one by one; empty lines are left out."""
        number = self.row
        for chunk in self.chunks(_READ_BYTES):
            for line in chunk.split(b"\n")[:-1]:
                number += 1
                if line and not line.isspace():
                    yield number, line


@dataclass
class _Guard:
    table: TextTable

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if kind is None:
            return
        if issubclass(kind, UNPACKING_ERRORS):
            raise cannot_unpack(self.table.path, error, self.table.row + 1) from None


@dataclass(frozen=True)
class TextSelection:
    """The columns to parse: ``identifier`` names the star, ``numbers`` become float64.

    ``texts`` : identifiers may be texts, which are hashed (``identifiers.classify``). ``star`` :
    source_id of every row, where no column tells it; 0 = ``identifier`` does.
    """

    identifier: str
    numbers: tuple[str, ...]
    texts: bool = False
    star: int = 0


def scalar_columns(
    table: TextTable, chunk: bytes, selection: TextSelection
) -> tuple[Array, Identifiers, dict[str, Array], list[Rejected]]:
    """A chunk of a table without arrays: row numbers, stars, columns, rejected rows."""
    try:
        _count_fields(table, chunk)
        columns = _parse(table, chunk, selection)
    except (ValueError, OverflowError):
        return _slow_columns(table, chunk, selection)
    rows = np.arange(table.row + 1, table.row + 1 + chunk.count(b"\n"))
    if selection.star:
        return rows, of_one(selection.star, len(rows)), columns, []
    return rows, classify(columns.pop(_STAR), names=False), columns, []


def _count_fields(table: TextTable, chunk: bytes) -> None:
    # pandas fills short rows up with missing values and says nothing; counting the delimiters of
    # the whole chunk costs next to nothing.
    rows, width = chunk.count(b"\n"), len(table.columns)
    if table.delimiter == "whitespace":
        found = len(chunk.split()) - rows
    else:
        found = chunk.count(table.separator)
    if found != rows * (width - 1):
        raise ValueError("a row has more or fewer fields than the header")


def _parse(table: TextTable, chunk: bytes, selection: TextSelection) -> dict[str, Array]:
    """Fast path of ``_slow_columns``; same results, tested in test_ingest_values.py; gain 20.

    (Rows per CPU second, 20,000 rows of five numbers.)

    Columns of a chunk whose identifiers are positive integers and whose numbers are numbers.
    """
    # By place, not by name: other columns may share a name.
    names = {name: table.columns.index(name) for name in selection.numbers}
    place = -1 if selection.star else table.columns.index(selection.identifier)
    types: dict[Any, Any] = dict.fromkeys(names.values(), np.float64)
    if place in types:
        raise ValueError("the source_id is read as a number too")
    read = sorted({*types, *(() if selection.star else (place,))})
    missing: Any = {number: list(MISSING) for number in names.values() if number != place}
    frame = pd.read_csv(
        io.BytesIO(chunk),
        sep=r"\s+" if table.delimiter == "whitespace" else table.delimiter,
        header=None,
        names=list(range(len(table.columns))),
        usecols=read,
        dtype=types,
        na_values=missing,
        keep_default_na=False,
        skip_blank_lines=False,
        decimal=table.decimal,
        engine="c",
        low_memory=False,
        index_col=False,
    )
    columns: dict[str, Array] = {n: frame[at].to_numpy().astype(float) for n, at in names.items()}
    if selection.star:
        return columns
    columns[_STAR] = frame[place].to_numpy()
    # Asked for integers, pandas would take floats that have lost their last digits for them.
    if columns[_STAR].dtype != np.int64:
        raise ValueError("a source_id is no integer")
    if (columns[_STAR] <= 0).any():
        raise ValueError("a source_id is not positive")
    return columns


def _slow_columns(
    table: TextTable, chunk: bytes, selection: TextSelection
) -> tuple[Array, Identifiers, dict[str, Array], list[Rejected]]:
    lines: list[list[bytes]] = []
    rows: list[int] = []
    rejected: list[Rejected] = []
    for number, line in enumerate(chunk.split(b"\n")[:-1], table.row + 1):
        if not line.strip():
            continue
        try:
            lines.append(check_fields(line, table))
            rows.append(number)
        except RowProblem as problem:
            rejected.append(Rejected(str(table.path), number, 0, problem.reason, problem.detail))
    columns = {name: _column(lines, table.columns.index(name)) for name in selection.numbers}
    if selection.star:
        stars = of_one(selection.star, len(lines))
    else:
        identifiers = _column(lines, table.columns.index(selection.identifier))
        stars = classify(identifiers, names=selection.texts)
    problems = dict(stars.problems)
    out: dict[str, Array] = {}
    for name, values in columns.items():
        out[name], bad = numbers(values, name, str(table.path))
        problems = bad | problems
    for place, why in sorted(problems.items()):
        star = int(stars.source_id[place])
        rejected.append(Rejected(str(table.path), rows[place], star, why.reason, why.detail))
    good = np.array([place for place in range(len(rows)) if place not in problems], int)
    rejected.sort(key=lambda row: row.row)
    kept = {name: values[good] for name, values in out.items()}
    return np.array(rows, np.int64)[good], stars.take(good), kept, rejected


def _column(lines: list[list[bytes]], place: int) -> Array:
    column = np.empty(len(lines), object)
    column[:] = [fields[place] for fields in lines]
    return column


def check_fields(line: bytes, table: TextTable) -> list[bytes]:
    """Fields of a line.

    Raises
    ------
    RowProblem : more or fewer of them than the header has.
    """
    try:
        fields = split_row(line, table.separator)
    except csv.Error as error:
        raise RowProblem(Reason.MALFORMED, f"the row cannot be split ({error})") from None
    while len(fields) > len(table.columns) and not fields[-1].strip():
        fields = fields[:-1]  # a delimiter at the end of the row
    if table.decimal == ",":
        fields = [_DECIMAL_COMMA.sub(rb"\1.\2", text) for text in fields]
    if len(fields) != len(table.columns):
        detail = f"the row has {len(fields)} fields, the header {len(table.columns)}"
        raise RowProblem(Reason.MALFORMED, detail)
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
