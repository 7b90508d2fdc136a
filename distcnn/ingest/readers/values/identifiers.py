"""Identifiers: whatever a table calls its stars by, as a source_id, the same in every format.

An identifier is judged by what it is, never by the format it came in: the integer 17 is the same
in a FITS column of type K, in a VOTable as char, and in CSV as ``17`` or ``"17"``.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import RowProblem
from distcnn.ingest.readers.formats.text.fields import is_missing
from distcnn.ingest.readers.values.numbers import text_of
from distcnn.schema import NAME_BYTES, DescribedName, Reason

_INTEGER = re.compile(r"[+-]?[0-9]+")
# With a point or an exponent, as programs print floats; "1E0657" is the name of a source.
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE][+-]))(?:[eE][+-]?[0-9]+)?")
_DESIGNATION = re.compile(r"Gaia[ _]*(?:E?DR[0-9]+)[ _]+([0-9]+)", re.IGNORECASE)
_RELEASE = re.compile(rb"E?DR[0-9]+", re.IGNORECASE)
# Numbers as spreadsheets keep them from being rounded (="17", '17), and columns of shape (n, 1).
_WRAPPED = re.compile(r'="?([^"]*)"?|\'(\d+)|\[([^,\[\]]*)\]|\(([^,()]*)\)')
_EXACT_FLOAT = 2**53
_LARGEST = 2**63 - 1


class IdKind(DescribedName):
    """How an identifier became a source_id: name, and what it is."""

    INTEGER = "integer", "an integer from 1 to 2^63 - 1: itself"
    FLOAT = "float", "a float without a fraction, below 2^53: the integer"
    DESIGNATION = "designation", "'Gaia DR3 NUMBER' and the like: the number; the text is kept"
    NAME = "name", "any other text, where names are allowed: a hash; the text is kept"
    LARGE = "large", "an integer from 2^63 on, where names are allowed: hashed like a name"


KINDS = tuple(IdKind)
"""In the order of the numbers that ``Identifiers.kind`` holds."""


@dataclass(frozen=True)
class Identifiers:
    """The stars of some rows."""

    source_id: Array
    """int64 [n]; 0 where there is none."""
    kind: Array
    """uint8 [n], place in KINDS; 255 where there is none."""
    name: Array
    """Texts that were not numbers, UTF-8 of at most NAME_BYTES: bytes [n], else empty."""
    problems: dict[int, RowProblem]
    """Why rows have none, by place."""

    def take(self, rows: Array) -> "Identifiers":
        """Those of some rows, all of which have one."""
        return Identifiers(self.source_id[rows], self.kind[rows], self.name[rows], {})


def of_one(star: int, rows: int) -> Identifiers:
    """The same star in every row."""
    return _of_integers(np.full(rows, star, np.int64), False)


def classify(column: Array, *, names: bool) -> Identifiers:
    """The source_id of every value of a column, whatever its type.

    Parameters
    ----------
    column : integers, floats, texts or bytes [n], masked where missing; or Python objects.
    names : whether texts that hold no number are identifiers.
    """
    if column.ndim > 1:
        column = column.reshape(len(column), -1)[:, 0] if column.size == len(column) else column
    if column.dtype.kind in "iu" and column.ndim == 1:
        return _of_integers(column, names)
    return _one_by_one(column.tolist() if column.ndim == 1 else list(column), names)


def _of_integers(column: Array, names: bool) -> Identifiers:
    """Fast path of ``_one_by_one``; same results, tested in test_ingest_values.py; gain 119.

    (Rows per CPU second, 200,000 integers.)
    """
    values = np.ma.getdata(column)
    good = ~np.ma.getmaskarray(column) & (values > 0) & (values <= _LARGEST)
    found = Identifiers(
        np.where(good, values, 0).astype(np.int64),
        np.where(good, 0, 255).astype(np.uint8),
        np.zeros(len(values), f"S{NAME_BYTES}"),
        {},
    )
    odd = np.flatnonzero(~good)
    if odd.size:
        rest = _one_by_one(column[odd].tolist(), names)
        for whole, part in ((found.source_id, rest.source_id), (found.kind, rest.kind)):
            whole[odd] = part
        found.name[odd] = rest.name
        found.problems.update({int(odd[place]): why for place, why in rest.problems.items()})
    return found


def _one_by_one(values: Iterable[Any], names: bool) -> Identifiers:
    ids: list[int] = []
    kinds: list[int] = []
    texts: list[bytes] = []
    problems: dict[int, RowProblem] = {}
    for place, value in enumerate(values):
        number, kind, text = 0, 255, b""
        try:
            number, how, name = identify(value, names=names)
            kind, text = KINDS.index(how), kept_name(name)
        except RowProblem as problem:
            problems[place] = problem
        ids.append(number)
        kinds.append(kind)
        texts.append(text)
    return Identifiers(
        np.array(ids, np.int64), np.array(kinds, np.uint8), np.array(texts, f"S{NAME_BYTES}"),
        problems,
    )  # fmt: skip


def identify(value: Any, *, names: bool) -> tuple[int, IdKind, str]:
    """source_id of one value, how it became one, and its text if that is more than a number.

    Raises
    ------
    RowProblem : it is missing or no identifier; says why and what to do.
    """
    if isinstance(value, (bool, np.bool_)):
        raise _bad(f"{value!r}, true or false")
    if isinstance(value, (int, np.integer)):
        return _of_integer(int(value), names)
    if isinstance(value, (float, np.floating)):
        return _of_float(float(value), str(value))
    if value is None or isinstance(value, (str, bytes)):
        return _of_text(text_of(value or ""), names)
    if isinstance(value, np.ma.core.MaskedConstant):
        return _of_text("", names)
    if isinstance(value, (np.ndarray, list, tuple)) and np.size(value) == 1:
        return identify(np.ma.asarray(value).ravel().tolist()[0], names=names)
    if isinstance(value, (np.ndarray, list, tuple, dict, complex)):
        raise _bad(f"{str(value)[:40]}, several numbers")
    return _of_text(str(value), names)  # Decimal, dates


def _of_text(text: str, names: bool) -> tuple[int, IdKind, str]:
    wrapped = _WRAPPED.fullmatch(text)
    text = wrapped[wrapped.lastindex or 0] if wrapped else text
    if is_missing(text):
        raise RowProblem(Reason.NO_ID, f"the source_id is missing ({text!r})")
    if _INTEGER.fullmatch(text):
        return _of_integer(int(text), names)
    designation = _DESIGNATION.fullmatch(text)
    if designation:
        return (*_of_integer(int(designation[1]), False)[:1], IdKind.DESIGNATION, text)
    # No program prints a float with a leading zero: 0266.51602 is a plate and a fibre.
    if _FLOAT.fullmatch(text) and not (names and re.match("0[0-9]", text)):
        return _of_float(float(text), text)
    if not names:
        raise _bad(f"{text[:40]!r}, not a positive integer", "read names with reader: table")
    if len(text.encode()) > NAME_BYTES:
        shown = f"{text[:40]!r} ..., a name of more than {NAME_BYTES} bytes of UTF-8"
        raise _bad(shown, "it could not be kept; give another column, or shorter names")
    return hash_of_name(text), IdKind.NAME, text


def _of_integer(value: int, names: bool) -> tuple[int, IdKind, str]:
    if value == 0:
        raise RowProblem(Reason.NO_ID, "the source_id is missing (0)")
    if value < 0:
        raise _bad(f"{value}, not a positive integer")
    if value <= _LARGEST:
        return value, IdKind.INTEGER, ""
    if not names:
        raise _bad(
            f"{value}, larger than 2^63 - 1 = {_LARGEST}, the largest that can be stored",
            "reader: table hashes such numbers like names",
        )
    return hash_of_name(str(value)), IdKind.LARGE, str(value)


def _of_float(value: float, text: str) -> tuple[int, IdKind, str]:
    if not np.isfinite(value):
        raise RowProblem(Reason.NO_ID, f"the source_id is missing ({text})")
    if value == 0:
        raise RowProblem(Reason.NO_ID, "the source_id is missing (0)")
    if value < 0 or value % 1:
        raise _bad(f"{text}, not a positive integer")
    if value >= _EXACT_FLOAT:
        raise RowProblem(
            Reason.LOST_DIGITS,
            f"source_id is the float {text}, from 2^53 on: the last digits are lost; write "
            "the column as 64-bit integers, from the table that still has them",
        )
    return int(value), IdKind.FLOAT, ""


def _bad(met: str, cure: str = "") -> RowProblem:
    return RowProblem(Reason.BAD_ID, f"source_id is {met}" + (f"; {cure}" if cure else ""))


def release_of(designation: bytes) -> str:
    """The release whose numbers a designation has: ``DR3`` for EDR3 too, which has the same."""
    found = _RELEASE.search(designation)
    return found[0].decode().upper().removeprefix("E") if found else ""


def hash_of_name(text: str) -> int:
    """A positive 63-bit number for a name: the first bits of BLAKE2b, the same everywhere."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1


def kept_name(name: str) -> bytes:
    """At most NAME_BYTES of UTF-8, whole letters only."""
    return name.encode()[:NAME_BYTES].decode("utf-8", "ignore").encode()
