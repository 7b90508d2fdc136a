"""The head of a text table: comments, delimiter, names of columns, and what is no data below them.

Spreadsheets write a mark of UTF-8 and ``sep=;``, numpy the names behind a ``#``, VizieR a line of
units and one of dashes below the names, RDB a line of types.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distcnn.ingest.readers.base import broken, is_number
from distcnn.ingest.readers.formats.packing import MAX_LINE_BYTES
from distcnn.ingest.readers.formats.text.fields import split_row
from distcnn.ingest.readers.values.numbers import text_of

_UTF8_MARK = b"\xef\xbb\xbf"
_MAX_COMMENTS = 10_000
_SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?\s*$', re.IGNORECASE)
_DASHES = re.compile(r"[-=]+")
_RDB_TYPE = re.compile(r"\d*[NSM]", re.IGNORECASE)


@dataclass
class TextHeader:
    """What stands before the rows of a text table."""

    columns: list[str]
    delimiter: str
    comments: list[str] = field(default_factory=list)
    """Lines before the header that begin with ``#``; an ECSV keeps its metadata there."""
    units: dict[str, str] = field(default_factory=dict)
    """Units of columns, of a line below their names."""
    first: bytes = b""
    """Lines of data that were read to learn what they are."""


def read_header(next_line: Callable[[], bytes], given: str, path: Path) -> TextHeader:
    """The head of a table, from its lines; ``given`` is the delimiter of the configuration.

    Raises
    ------
    FileBroken : it is empty, no text of this kind, or its delimiter cannot be told.
    """
    comments, line = _comments(next_line, path)
    shown = [text.decode("utf-8", "replace").rstrip() for text in comments[:_MAX_COMMENTS]]
    _check(line, comments, path)
    said = _SEPARATOR_LINE.match(line)
    if said is not None:  # Excel
        given, line = given or said[1].decode("latin-1"), next_line()
    delimiter = _delimiter(given, line, comments, path)
    fields = names_of(line, delimiter)
    # numpy.savetxt and others write the names behind a "#".
    commented = names_of(comments[-1].lstrip(b"# "), delimiter) if comments else []
    if is_ecsv(comments):
        return TextHeader(fields, delimiter, shown)
    if _is_header_of(commented, fields):
        return TextHeader(commented, delimiter, shown, first=line)
    units, first = _below(next_line, fields, delimiter)
    return TextHeader(fields, delimiter, shown, units, first)


def _comments(next_line: Callable[[], bytes], path: Path) -> tuple[list[bytes], bytes]:
    comments: list[bytes] = []
    size, line = 0, next_line().removeprefix(_UTF8_MARK)
    while line.startswith(b"#") or (line and not line.strip()):
        if len(comments) < _MAX_COMMENTS:
            comments.append(line)
        else:  # the last one may hold the names
            comments[-1] = line
        size, line = size + len(line), next_line()
        if size > MAX_LINE_BYTES:
            problem = f"more than {MAX_LINE_BYTES >> 20} MiB of comments stand before its header"
            raise broken(path, problem, row=0, cure="Look at it: this is no table of text.")
    return comments, line


def names_of(line: bytes, delimiter: str) -> list[str]:
    """The fields of a line as texts."""
    row = line.strip() if delimiter == "whitespace" else line
    try:
        fields = split_row(row, delimiter.encode())
    except csv.Error:  # of a lone carriage return; as a row it is told as one that is malformed
        fields = [row]
    return [text_of(name).strip('"') for name in fields]


def _check(line: bytes, comments: Sequence[bytes], path: Path) -> None:
    if not line:
        raise broken(path, "the file is empty: there is no header line", row=0)
    first = comments[0] if comments else line
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line:
        raise broken(path, "the text is UTF-16 or UTF-32", row=0, cure="Save it as UTF-8.")
    if b"\r" in line.rstrip(b"\r\n"):
        problem = "its lines end with a carriage return alone"
        raise broken(path, problem, row=0, cure="Save it with LF or CR LF.")


def _delimiter(given: str, header: bytes, comments: Sequence[bytes], path: Path) -> str:
    """The delimiter that is configured, declared in ECSV, or the only one the header shows."""
    if given:
        return given
    for comment in comments:
        if comment.startswith(b"# delimiter:"):
            declared = comment.split(b":", 1)[1].decode("utf-8", "replace").strip().strip("'\"")
            if len(declared) > 1:
                raise broken(path, f"it declares the delimiter {declared!r}", row=0)
            return declared or " "
    if is_ecsv(comments):
        return " "
    header = re.sub(rb'"[^"]*"', b"", header)  # names may hold anything
    if b"," in header:
        return ","
    shown = [mark for mark in ("\t", ";", "|") if mark.encode() in header]
    if len(shown) > 1:
        raise broken(
            path,
            f"its header holds {' and '.join(map(repr, shown))}",
            row=0,
            cure="Say with 'delimiter' of this kind of file which of them parts the columns.",
        )
    # One name is a table of one column; several with blanks between them are aligned columns.
    return shown[0] if shown else "whitespace" if len(header.split()) > 1 else ","


def is_ecsv(comments: Sequence[bytes]) -> bool:
    """Whether the lines before the header are those of an ECSV."""
    return any(comment.startswith(b"# %ECSV") for comment in comments)


def _is_header_of(names: list[str], first: list[str]) -> bool:
    """Whether a comment names the columns, and the line below holds numbers, no names."""
    return (
        len(names) == len(first)
        and len(set(names)) == len(names)
        and not any(map(is_number, names))
        and any(map(is_number, first))
    )


def _below(
    next_line: Callable[[], bytes], columns: list[str], delimiter: str
) -> tuple[dict[str, str], bytes]:
    """Units of a line below the names, and the lines of data that were read to find it."""
    first = next_line()
    fields = names_of(first, delimiter)
    if _are(_DASHES, fields):
        return {}, b""
    if _are(_RDB_TYPE, fields) and len(fields) == len(columns):
        return {}, b""
    second = next_line() if first else b""
    if not _are(_DASHES, names_of(second, delimiter)):
        return {}, first + second
    units = dict(zip(columns, fields, strict=False)) if len(fields) == len(columns) else {}
    return {name: unit for name, unit in units.items() if unit}, b""


def _are(pattern: re.Pattern[str], fields: list[str]) -> bool:
    shown = [text for text in fields if text]
    return bool(shown) and all(map(pattern.fullmatch, shown))
