"""Values: whatever a table can say besides a float, as a float or as missing, in every format.

This is the one place below all readers where nulls, logicals, texts and masked integers become
numbers, so that the same table gives the same survey in FITS, VOTable, Parquet, CSV and ECSV.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import RowProblem, broken
from distcnn.ingest.readers.formats.text.fields import parse_array, to_array, to_float
from distcnn.schema import Reason

_NUMERIC = "biuf"


def text_of(value: str | bytes) -> str:
    """A text without padding (blanks, NUL); bytes that are no UTF-8 are taken as Latin-1."""
    text = value if isinstance(value, str) else _decoded(value)
    return text.partition("\0")[0].strip()


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def numbers(column: Array, name: str, file: str) -> tuple[Array, dict[int, RowProblem]]:
    """One number per row as float64 [n], NaN where missing; problems by place.

    Parameters
    ----------
    column : numbers or logicals [n], masked where missing, texts, bytes, or Python objects.

    Raises
    ------
    FileBroken : the column holds arrays, or something that is never a number.
    """
    width = int(np.prod(column.shape[1:]))
    if width != 1:
        raise _no_numbers(file, name, f"arrays of {width} values, not one number per row")
    column = column.reshape(len(column))
    if column.dtype.kind in _NUMERIC:
        return _filled(column), {}
    if column.dtype.kind not in "SUTO":
        raise _no_numbers(file, name, f"{column.dtype}, not numbers")
    out = np.full(len(column), np.nan)
    problems: dict[int, RowProblem] = {}
    for place, value in enumerate(column.tolist()):
        try:
            out[place] = _number(value, name)
        except RowProblem as problem:
            problems[place] = problem
    return out, problems


def _filled(values: Array) -> Array:
    """Float64 with NaN where masked."""
    out: Array = np.array(np.ma.getdata(values), float)
    if np.ma.is_masked(values):
        out[np.ma.getmaskarray(values)] = np.nan
    return out


def masks_of(names: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Columns ``NAME.mask``, which astropy writes beside some that are masked, by their NAME."""
    return {name: f"{name}.mask" for name in names if f"{name}.mask" in columns}


def masked(column: Array, mask: Array) -> Array:
    """A column with its values missing where another one, of logicals, is true."""
    if column.dtype.kind in _NUMERIC and column.shape == mask.shape:
        hidden = np.ma.filled(mask, True).astype(bool)
        both: Array = np.ma.array(column, mask=np.ma.getmaskarray(column) | hidden)
        return both
    out = np.empty(len(column), object)
    for place, (value, one) in enumerate(zip(column, mask, strict=True)):
        hidden = np.ma.filled(np.ma.asarray(one), True).astype(bool).ravel()
        if np.size(value) > 1 and hidden.size == np.size(value):
            out[place] = np.ma.array(value, float, mask=hidden.reshape(np.shape(value)))
        else:
            out[place] = None if hidden.size and hidden.all() else value
    return out


def _number(value: Any, name: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, (str, bytes)):
        return to_float(text_of(value).encode(), name)
    try:
        if isinstance(value, (np.ndarray, list, tuple)) and np.size(value) == 1:
            return _number(np.ma.asarray(value).ravel().tolist()[0], name)
        return float(value)  # logicals, integers, Decimal
    except (TypeError, ValueError, OverflowError):
        shown = str(value)[:40]
        raise RowProblem(Reason.NOT_A_NUMBER, f"{name} is {shown!r}, not a number") from None


def _no_numbers(file: str, name: str, problem: str) -> Exception:
    cure = "Name another column in the configuration ('columns' of this kind of file)."
    return broken(file, f"column {name!r} holds {problem}", cure=cure)


def arrays(
    column: Array, size: int, name: str, *, padded: bool = False
) -> tuple[Array, Array, dict[int, RowProblem]]:
    """One array per row as float64 [n, size], the length each had, and problems by place.

    Rows of another length are NaN, or with ``padded`` shorter ones have NaN behind their values;
    length 0 means that the row had no array.
    """
    if column.dtype.kind in _NUMERIC:
        flat = _filled(column).reshape(len(column), int(np.prod(column.shape[1:])))
        lengths = np.full(len(column), flat.shape[1])
        good = flat.shape[1] == size
        if column.ndim == 1 and not good:
            lengths[np.isnan(flat[:, 0])] = 0  # fields that say "no value"
        return (flat if good else np.full((len(column), size), np.nan)), lengths, {}
    matrix = np.full((len(column), size), np.nan)
    lengths = np.zeros(len(column), int)
    problems: dict[int, RowProblem] = {}
    for place, value in enumerate(column):
        try:
            row = row_array(value, name) if padded else _row_array(value, size, name)
        except RowProblem as problem:
            if problem.length < 0:
                problems[place] = problem
            lengths[place] = max(problem.length, 0)
            continue
        lengths[place] = len(row)
        if len(row) == size or (padded and len(row) < size):
            matrix[place, : len(row)] = row
    return matrix, lengths, problems


def _row_array(value: Any, size: int, name: str) -> Array:
    text = text_of(value).encode() if isinstance(value, (str, bytes)) else b""
    return to_array(text, size, name) if text[:1] in (b"[", b"(") else row_array(value, name)


def row_array(value: Any, name: str) -> Array:
    """The array of one row as float64 [length], NaN where missing; empty if the row has none.

    Raises
    ------
    RowProblem : it holds something that is no number.
    """
    if value is None or value is np.ma.masked or (isinstance(value, float) and np.isnan(value)):
        return np.empty(0)
    if isinstance(value, (str, bytes)):
        return parse_array(text_of(value).encode(), name)
    try:
        held = np.ma.asarray(value)
        if held.dtype != object:
            return _filled(held).ravel()
        if held.size and all(isinstance(one, np.ndarray) for one in held.ravel()):
            return np.concatenate([row_array(one, name) for one in held.ravel()])  # lists of lists
        return _filled(held).ravel()
    except (TypeError, ValueError):  # lists with None in them
        return np.array([_number(one, name) for one in np.ravel(np.array(value, object))])
