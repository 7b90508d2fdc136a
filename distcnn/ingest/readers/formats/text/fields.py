"""Fields of a text table: splitting a row, and turning a field into a number, an array, a star.

Whatever is wrong with a field becomes a RowProblem with its reason.
"""

import csv
import re
import struct
from functools import lru_cache

import numpy as np
import orjson

from distcnn.arrays import Array
from distcnn.ingest.readers.base import RowProblem
from distcnn.schema import Reason

MISSING_TEXTS = (
    *("", "nan", "null", "none", "<na>", "na", "n/a", "nil", "masked", "missing", "\\n"),
    *("-", "--", "---", "...", "indef", "#n/a", "nat"),
    *("-nan", "nan(ind)", "-nan(ind)", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind"),
)
"""Texts that say "no value", in lower case; they count in whatever case. (INDEF is IRAF's, #N/A
Excel's, the last ones are those of C on Windows.)"""
WHITESPACE = b"whitespace"
"""As a delimiter: any number of blanks and tabs."""
_CASES = ("NaN", "nan", "NAN", "null", "NULL", "Null", "None", "NONE", "none", "<NA>", "NA", "\\N")
MISSING = ("", "--", "-", "N/A", "n/a", *_CASES)
"""The same as people write them, for a parser that compares to the letter."""
_LOGICAL = {"true": 1.0, "t": 1.0, "false": 0.0, "f": 0.0}
_FORTRAN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)d[+-]?\d+")
"""Doubles as Fortran writes them, in lower case: ``0.95d+01``."""
_ONE_IN_BRACKETS = re.compile(r"\[[^,\[\]]*\]|\([^,()]*\)")
"""An array of one value, as columns of shape (n, 1) are written."""
_COMMA = re.compile(r"[+-]?\d*,\d+(?:e[+-]?\d+)?")
_MISSING_SENTINEL = -1e308
"""Stands for a missing value between orjson, which has no NaN, and numpy; no flux comes near."""


def split_row(line: bytes, delimiter: bytes = b",") -> list[bytes]:
    """Fast path of ``csv.reader``; same, tested in test_ingest_reader_rules.py; 10 times faster.

    Fields of a line; quoted ones lose their quotes.

    Splitting at the quotes first leaves arrays of thousands of commas in one piece: odd parts
    are quoted fields, even ones the plain text between them, whose outer commas belong to the
    quoted neighbours.
    """
    line = line.rstrip(b"\r\n")
    if delimiter == WHITESPACE:
        return _split_at_blanks(line)
    if b'"' not in line:
        return line.split(delimiter)
    parts = line.split(b'"')
    last = len(parts) - 1
    if delimiter != b" ":  # blanks between a delimiter and a quote
        parts[0], parts[last] = parts[0].rstrip(b" "), parts[last].lstrip(b" ")
        parts[2:last:2] = [part.strip(b" ") for part in parts[2:last:2]]
    # An odd number of quotes is torn; an empty part between two fields is a doubled quote, and
    # other letters beside a quote are none of its field. What these mean csv decides.
    if last % 2 or not _are_parted(parts, last, delimiter):
        text = line.decode("utf-8", "surrogateescape")
        row = next(csv.reader([text], delimiter=delimiter.decode()), [])
        return [value.encode("utf-8", "surrogateescape") for value in row]
    return _of_parts(parts, last, delimiter)


def _of_parts(parts: list[bytes], last: int, delimiter: bytes) -> list[bytes]:
    fields: list[bytes] = []
    for number, part in enumerate(parts):
        if number % 2:
            fields.append(part)
        elif number == 0:
            fields += part[:-1].split(delimiter) if part else []
        elif number == last:
            fields += part[1:].split(delimiter) if part else []
        elif len(part) > 1:
            fields += part[1:-1].split(delimiter)
    return fields


def _are_parted(parts: list[bytes], last: int, delimiter: bytes) -> bool:
    """Whether delimiters stand on both sides of all quoted fields, the odd parts."""
    if parts[0] and not parts[0].endswith(delimiter):
        return False
    if parts[last] and not parts[last].startswith(delimiter):
        return False
    inner = parts[2:last:2]
    return all(part.startswith(delimiter) and part.endswith(delimiter) for part in inner)


def _split_at_blanks(line: bytes) -> list[bytes]:
    if b'"' not in line:
        return line.split()
    text = line.decode("utf-8", "surrogateescape").replace("\t", " ").strip()
    row = next(csv.reader([text], delimiter=" ", skipinitialspace=True))
    return [value.encode("utf-8", "surrogateescape") for value in row]


def is_missing(text: str) -> bool:
    """Whether a text says that there is no value."""
    return text.strip().lower() in MISSING_TEXTS


def to_float(text: bytes, name: str) -> float:
    """A number; missing texts give NaN, true and false (T and F) 1 and 0.

    Raises
    ------
    RowProblem : any other text.
    """
    try:
        if b"_" not in text:  # Python reads "1_5" as 15
            return float(text)
    except ValueError:
        pass
    shown = text[:40].decode("utf-8", "replace")
    plain = shown.strip().lower()
    if plain in MISSING_TEXTS:
        return float("nan")
    if plain in _LOGICAL:
        return _LOGICAL[plain]
    if _FORTRAN.fullmatch(plain):
        return float(plain.replace("d", "e"))
    if _ONE_IN_BRACKETS.fullmatch(plain):
        return to_float(plain[1:-1].encode(), name)
    comma = "; if that is a decimal comma, set decimal: ','" if _COMMA.fullmatch(plain) else ""
    raise RowProblem(Reason.NOT_A_NUMBER, f"{name} is {shown!r}, not a number{comma}")


@lru_cache(maxsize=32)
def _packer(size: int) -> struct.Struct:
    return struct.Struct(f"{size}d")


def to_array(text: bytes, size: int, name: str) -> Array:
    """Fast path of ``_to_array_slowly``; tested in test_ingest_reader_rules.py; 6 times faster.

    An array field as float64 [size]; ``NaN`` and ``null`` give NaN. Most of the time of ingest is
    spent here. orjson parses numbers fastest, and ``struct`` both checks the length and turns
    Python floats into bytes without a loop. (Measured on 2401 pixels.)

    Raises
    ------
    RowProblem : another length, or an element that is not a number.
    """
    inner = text[1:-1]
    if text[:1] + text[-1:] not in (b"[]", b"()"):
        return _to_array_slowly(text, size, name)
    core, lead, trail = _strip_missing(inner) if b"N" in inner else (inner, 0, 0)
    inner_missing = b"N" in core
    if inner_missing:
        core = core.replace(b"NaN", b"-1e308")
    try:
        values = orjson.loads(b"[%b]" % core)
        array = np.frombuffer(_packer(size - lead - trail).pack(*values))
    except (ValueError, struct.error, TypeError):
        # With nulls, and with whatever is wrong.
        return _to_array_slowly(text, size, name)
    array = np.where(array == _MISSING_SENTINEL, np.nan, array) if inner_missing else array
    if not lead and not trail:
        return array
    whole = np.full(size, np.nan)
    whole[lead : size - trail] = array
    return whole


def _strip_missing(inner: bytes) -> tuple[bytes, int, int]:
    """An array's text without the NaN at both ends, where most are, and how many there were.

    Cutting them off is cheaper than replacing each by a number that orjson can read.
    """
    core = inner.lstrip(b"Na,")
    lead = inner[: len(inner) - len(core)]
    kept = core.rstrip(b",Na")
    trail = core[len(kept) :]
    n, m = len(lead) // 4, len(trail) // 4
    if not kept or lead != b"NaN," * n or trail != b",NaN" * m:
        return inner, 0, 0
    return kept, n, m


def _to_array_slowly(text: bytes, size: int, name: str) -> Array:
    # Numbers that JSON has no notation for ("1.", "inf") come here, and all that is wrong.
    values = parse_array(text, name)
    if len(values) != size:
        problem = f"{name} has {len(values)} values, the configuration declares {size}"
        raise RowProblem(Reason.ARRAY_LENGTH, problem, length=len(values))
    return values


def parse_array(text: bytes, name: str) -> Array:
    """An array field as float64 of whatever length; empty where the field says "no value".

    Raises
    ------
    RowProblem : no closing bracket, or an element that is not a number.
    """
    text = text.strip()
    if text[:1] != b"[" and is_missing(text.decode("latin-1")):
        return np.empty(0)
    tokens = text.strip(b"[]()").split(b",")
    tokens = [] if tokens in ([b""], [b" "]) else tokens
    if text[-1:] not in (b"]", b")"):
        problem = f"{name} ends without a bracket after {len(tokens)} values"
        raise RowProblem(Reason.MALFORMED, problem)
    plain = [b"nan" if token == b"null" else token for token in tokens]
    try:
        if b"_" not in text:
            return np.array(list(map(float, plain)))
    except ValueError:
        pass
    return np.array([to_float(token, f"{name}[{index}]") for index, token in enumerate(tokens)])
