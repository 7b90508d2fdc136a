"""CDS: a folder to hand in to VizieR, ``catalogue.dat`` in columns of bytes and its ``ReadMe``.

After the "Standards for Astronomical Catalogues" of the CDS: ASCII, one star a line, blank where
a number is missing, every byte described. Numbers have as many digits as give them back exactly.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.columns import Column
from distcnn.catalogue.table import CatalogueTable, flag_table
from distcnn.catalogue.writers.base import CatalogueHeader
from distcnn.errors import UsageError

TABLE, README = "catalogue.dat", "ReadMe"
WIDTH = 80
"""Letters of a line of the ReadMe."""
_FORMATS = {
    "int64": ("I20", "%20d"),
    "int32": ("I11", "%11d"),
    "int16": ("I6", "%6d"),
    "float64": ("E24.16", "%24.16e"),
    "float32": ("E15.8", "%15.8e"),
}
"""Per type: the format of the ReadMe, and that which prints it."""
_RULE = "-" * WIDTH
_NULL = "?"
"""Before the sentence of a column: blank where there is no value."""


@dataclass(frozen=True)
class Field:
    """Where a column stands in a line: bytes from 1 to ``end``, both counted."""

    column: Column
    start: int
    form: str
    print: str

    @property
    def width(self) -> int:
        """Bytes."""
        return int(re.findall(r"\d+", self.form)[0])

    @property
    def end(self) -> int:
        """Last byte."""
        return self.start + self.width - 1


def write(path: Path, table: CatalogueTable) -> int:
    """Fill the folder; returns the number of rows."""
    fields = list(_fields(table))
    rows = 0
    with (path / TABLE).open("wb") as stream:
        for block in table.blocks():
            stream.write(_lines(block, fields))
            rows += len(block)
    (path / README).write_text(_readme(table, fields), encoding="ascii")
    return rows


def read_header(path: Path) -> CatalogueHeader:
    """The header of a catalogue, from its ReadMe."""
    text = (path / README).read_text(encoding="ascii")
    rows = re.search(rf"^{re.escape(TABLE)} +\d+ +(\d+) ", text, re.MULTILINE)
    lines = re.findall(r"^  ([A-Z]{2,8}) = (.*(?:\n    .*)*)$", text, re.MULTILINE)
    entries = {name: " ".join(value.split()) for name, value in lines}
    if rows is None:
        raise ValueError(f"{README} does not tell how many rows {TABLE} has")
    return CatalogueHeader(int(rows[1]), entries, tuple(_described(text)))


def _described(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, unit and sentence of each column of a ReadMe that this file wrote."""
    part = text.split("Byte-by-byte Description", 1)[1].split(_RULE)[2]
    sentences: list[list[str]] = []
    for line in part.strip("\n").split("\n"):
        head = re.match(r" *\d+- *\d+ +(\S+) +(\S+) +(\S+) +(.*)$", line)
        if head:
            unit = "" if head[2] == "---" else head[2]
            sentences.append([head[3], unit, head[4].removeprefix(_NULL).strip()])
        else:
            sentences[-1][2] += f" {line.strip()}"
    yield from ((name, unit, sentence) for name, unit, sentence in sentences)


def _fields(table: CatalogueTable) -> Iterator[Field]:
    start = 1
    for column in table.columns:
        if column.shape:
            raise UsageError(
                f"the column {column.name} of arrays in a CDS catalogue",
                expected="a number or a text in every column",
                cure="Ask for --covariance columns.",
            )
        size = np.dtype(column.dtype).itemsize
        form, how = _FORMATS.get(column.dtype, (f"A{size}", f"%-{size}s"))
        field = Field(column, start, form, how)
        yield field
        start = field.end + 2


def _lines(block: Array, fields: list[Field]) -> bytes:
    out = np.full((len(block), fields[-1].end + 1), ord(" "), np.uint8)
    out[:, -1] = ord("\n")
    for field in fields:
        values = np.ascontiguousarray(block[field.column.name])
        if values.dtype.kind == "S":
            texts = np.char.ljust(values, field.width)
        else:
            texts = np.char.mod(field.print, values).astype(f"S{field.width}")
        letters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(block), field.width)
        if values.dtype.kind == "f":
            letters = np.where(np.isfinite(values)[:, None], letters, ord(" "))
        out[:, field.start - 1 : field.end] = np.where(letters == 0, ord(" "), letters)
    return out.tobytes()


def _readme(table: CatalogueTable, fields: list[Field]) -> str:
    known = {entry.name: entry for entry in table.header}
    survey = " ".join(known[name].value for name in ("SURVEY", "RELEASE") if name in known)
    creator = known["CREATOR"].value if "CREATOR" in known else "distcnn"
    parts = [
        f"{survey}: stellar labels with calibrated errors",
        "=" * WIDTH,
        "Description:",
        *_wrapped(f"Labels of {table.rows} stars by an ensemble of neural networks ({creator})."),
        "",
        "File Summary:",
        _RULE,
        f"{'FileName':20s} {'Lrecl':>7s} {'Records':>10s}   Explanations",
        _RULE,
        f"{README:20s} {WIDTH:7d} {'.':>10s}   This file",
        f"{TABLE:20s} {fields[-1].end:7d} {table.rows:10d}   The catalogue",
        _RULE,
        "",
        f"Byte-by-byte Description of file: {TABLE}",
        _RULE,
        "   Bytes Format Units          Label     Explanations",
        _RULE,
        *(line for field in fields for line in _description(field)),
        _RULE,
        "",
        "Provenance:",
        *(line for entry in table.header for line in _wrapped(f"{entry.name} = {entry.value}")),
        "",
        "Bits of flags:",
        *(
            line
            for name, bit, text in flag_table()
            for line in _wrapped(f"{bit} = {name}: {text}", "    ")
        ),
        "",
        "=" * WIDTH,
        f"(End) {creator}",
    ]
    return "\n".join(part.encode("ascii", "replace").decode() for part in parts) + "\n"


def _description(field: Field) -> Iterator[str]:
    column = field.column
    head = (
        f"{field.start:4d}-{field.end:4d} {field.form:6s} {column.unit or '---':6s} {column.name} "
    )
    missing = f"{_NULL} " if np.dtype(column.dtype).kind == "f" else ""
    first, *more = _explained(missing + column.description, WIDTH - len(head), WIDTH - 24)
    yield head + first
    yield from (" " * 24 + line for line in more)


def _explained(text: str, first: int, others: int) -> list[str]:
    """The text in lines of at most so many letters, none of which but the first begins with a
    digit: readers would take that for the bytes of another column.
    """
    lines: list[list[str]] = [[]]
    for word in text.split():
        room = first if len(lines) == 1 else others
        if lines[-1] and len(" ".join([*lines[-1], word])) > room:
            moved = [word]
            while moved[0][0].isdigit() and len(lines[-1]) > 1:
                moved.insert(0, lines[-1].pop())
            lines.append(moved)
        else:
            lines[-1].append(word)
    return [" ".join(line) for line in lines]


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
