"""Columns of FITS tables, binary and ASCII, from their bytes: every TFORM with its nulls.

Only the cards that describe columns are read, so that a malformed card elsewhere does no harm,
and only the columns asked for are decoded, a few rows at a time. (astropy reads a table whole,
gives undefined integers (TNULL) and logicals as numbers, and knows no nulls in ASCII tables.)
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.formats.fits.headers import FitsHdu
from distcnn.ingest.readers.values.numbers import text_of

_TYPES = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_TYPES |= {"C": ">c8", "M": ">c16"}
_BINARY = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_ASCII = re.compile(r"\s*([AIFED])(\d+)")


class PackedInTiles(ValueError):
    """A sound table that is packed in a way that is not read."""


@dataclass(frozen=True)
class FitsColumn:
    """One column as its cards say: where it lies in a row and what its bytes mean."""

    name: str
    code: str
    """Letter of TFORM; P and Q with the letter of what lies in the heap, such as PE."""
    repeat: int
    offset: int
    """Bytes from the beginning of a row."""
    width: int
    """Bytes in a row."""
    null: Any
    scale: float
    zero: float

    def decode(self, rows: Array, heap: Callable[[int, int], bytes]) -> Array:
        """Values [n] or [n, repeat] of rows of bytes [n, NAXIS1], masked where undefined."""
        raw = np.ascontiguousarray(rows[:, self.offset : self.offset + self.width])
        if self.code[0] in "PQ":
            return self._from_heap(raw, heap)
        if self.code in ("A", "ascii"):
            texts = raw.view(f"S{self.width}")[:, 0] if self.width else np.zeros(len(raw), "S1")
            return texts if self.code == "A" else self._of_texts(texts)
        values = self._values(raw.reshape(-1)).reshape(len(raw), -1)
        if self.code == "X":
            values = values[:, : self.repeat]
        return values[:, 0] if values.shape[1] == 1 else values

    def _values(self, raw: Array) -> Array:
        """Numbers of the bytes of one or many cells."""
        code = self.code[-1]
        if code == "X":
            bits: Array = np.unpackbits(raw).astype(bool)
            return bits
        if code == "A":
            letters: Array = raw.view("S1")
            return letters
        values: Array = raw.view(_TYPES[code])
        values = values.astype(values.dtype.newbyteorder("="))
        if code == "L":
            neither = (values != ord("T")) & (values != ord("F"))
            logicals: Array = np.ma.array(values == ord("T"), mask=neither)
            return logicals
        missing = values == self.null if code in "BIJK" and self.null is not None else None
        values = self._scaled(values)
        if missing is not None and missing.any():
            masked: Array = np.ma.array(values, mask=missing)
            return masked
        return values

    def _scaled(self, values: Array) -> Array:
        if self.scale == 1 and self.zero == 0:
            return values
        bits = 8 * values.dtype.itemsize
        if values.dtype.kind in "iu" and self.scale == 1:
            # The convention for integers of the other sign: exact, unlike a sum in floats.
            if values.dtype.kind == "i" and self.zero == 2.0 ** (bits - 1):
                unsigned: Array = values.view(f"u{bits // 8}")
                flipped: Array = np.bitwise_xor(unsigned, unsigned.dtype.type(1 << (bits - 1)))
                return flipped
            if values.dtype == np.uint8 and self.zero == -128:
                signed: Array = (values ^ np.uint8(128)).view(np.int8)
                return signed
            if float(self.zero).is_integer() and bits <= 32 and abs(self.zero) < 2**53:
                shifted: Array = values.astype(np.int64) + int(self.zero)
                return shifted
        scaled: Array = values * np.float64(self.scale) + np.float64(self.zero)
        return scaled

    def _of_texts(self, texts: Array) -> Array:
        out = np.empty(len(texts), object)
        null = None if self.null is None else str(self.null).strip()
        for place, raw in enumerate(texts.tolist()):
            text = text_of(raw)
            # Fortran writes the exponents of doubles with a D.
            text = "" if text == null else text if self.repeat else text.replace("D", "E")
            out[place] = text
        if self.scale == 1 and self.zero == 0:
            return out
        numbers = [np.nan if not text else float(text) for text in out]
        return np.array(numbers) * self.scale + self.zero

    def _from_heap(self, raw: Array, heap: Callable[[int, int], bytes]) -> Array:
        kind = ">i4" if self.code[0] == "P" else ">i8"
        code = self.code[-1]
        size = np.dtype(_TYPES[code]).itemsize if code in _TYPES else 1
        out = np.empty(len(raw), object)
        for place, (count, start) in enumerate(raw.view(kind).astype(np.int64).tolist()):
            if count < 0 or start < 0:
                raise ValueError(f"row {place + 1} of {self.name} points outside the file")
            length = (count + 7) // 8 if code == "X" else count * size
            content = np.frombuffer(heap(start, length), np.uint8)
            values = self._values(content)[:count] if count else np.empty(0)
            out[place] = content.tobytes() if code == "A" else values
        return out


@dataclass(frozen=True)
class FitsTable:
    """A table extension: its columns and where its bytes lie in a file or in memory."""

    columns: tuple[FitsColumn, ...]
    header: dict[str, Any]
    row_bytes: int
    length: int
    start: int
    heap_start: int
    end: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        """Columns of rows [start, stop)."""
        wanted = {column.name: column for column in self.columns if column.name in names}
        with self.open() as stream:

            def heap(at: int, size: int) -> bytes:
                if self.heap_start + at + size > self.end:
                    raise ValueError("an array reaches beyond the end of the table")
                stream.seek(self.heap_start + at)
                return _exactly(stream, size)

            stream.seek(self.start + start * self.row_bytes)
            content = _exactly(stream, (stop - start) * self.row_bytes)
            rows = np.frombuffer(content, np.uint8).reshape(stop - start, self.row_bytes)
            return {name: wanted[name].decode(rows, heap) for name in names}


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise ValueError("it ends before its last row; it is truncated")
    return content


def fits_table(
    hdu: FitsHdu,
    primary: FitsHdu,
    size: int,
    opener: Callable[[], AbstractContextManager[IO[bytes]]],
) -> FitsTable:
    """The table of an HDU of a file of ``size`` bytes in all.

    Raises
    ------
    ValueError : the file is shorter than announced, packed in tiles, or a column is described
        wrongly.
    """
    header = primary.cards | hdu.cards
    if header.get("ZTABLE"):
        raise PackedInTiles("the table is packed in tiles (ZTABLE)")
    row_bytes, length = int(header["NAXIS1"]), int(header["NAXIS2"])
    start = hdu.data_start
    needed = start + row_bytes * length
    if size < needed:
        raise ValueError(f"it has {size} bytes, its header announces {needed}; it is truncated")
    binary = hdu.kind != "text table"
    columns = tuple(_columns(header, row_bytes, binary))
    heap = start + int(header.get("THEAP") or row_bytes * length)
    end = min(size, needed + int(header.get("PCOUNT") or 0))
    return FitsTable(columns, header, row_bytes, length, start, heap, end, opener)


def _columns(header: dict[str, Any], row_bytes: int, binary: bool) -> Iterator[FitsColumn]:
    offset = 0
    for number in range(1, int(header["TFIELDS"]) + 1):
        form = str(header[f"TFORM{number}"])
        match = (_BINARY if binary else _ASCII).match(form)
        if match is None:
            raise ValueError(f"TFORM{number} = {form!r} is no format of a column")
        if binary:
            repeat = int(match[1] or 1)
            code = match[2] + match[3] if match[2] in "PQ" else match[2]
            width = _width(code, repeat)
        else:  # of ASCII columns ``repeat`` says whether they hold text
            repeat, code, width = int(match[1] == "A"), "ascii", int(match[2])
            offset = int(header[f"TBCOL{number}"]) - 1
        if offset < 0 or offset + width > row_bytes:
            raise ValueError(f"column {number} reaches beyond the {row_bytes} bytes of a row")
        yield FitsColumn(
            str(header.get(f"TTYPE{number}") or f"col{number}").strip(),
            code,
            repeat,
            offset,
            width,
            header.get(f"TNULL{number}"),
            float(header.get(f"TSCAL{number}", 1)),
            float(header.get(f"TZERO{number}", 0)),
        )
        offset += width


def _width(code: str, repeat: int) -> int:
    if code[0] in "PQ":
        return min(repeat, 1) * (8 if code[0] == "P" else 16)
    if code == "X":
        return (repeat + 7) // 8
    return repeat * (np.dtype(_TYPES[code]).itemsize if code in _TYPES else 1)
