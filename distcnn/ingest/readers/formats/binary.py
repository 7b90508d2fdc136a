"""Tables that are not text: FITS, VOTable and Parquet, handed out a few rows at a time.

An uncompressed FITS table is read by seeking, so that a file of any length takes the memory of
one block. VOTables, zip members and compressed FITS files are small products; they are read whole.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import parse_single_table

from distcnn.arrays import Array
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.containers import TableSource


@dataclass
class BinaryTable:
    """An open binary table: column names, header values, and a way to read rows of columns."""

    name: str
    columns: list[str]
    header: dict[str, Any]
    length: int
    _read: Callable[[int, int, Sequence[str]], dict[str, Array]]

    def blocks(self, rows: int, names: Sequence[str]) -> Iterator[tuple[Array, dict[str, Array]]]:
        """Row numbers (from 1) and columns; masked values are NaN in floats, 0 in integers."""
        for start in range(0, self.length, rows):
            stop = min(start + rows, self.length)
            yield np.arange(start + 1, stop + 1), self._read(start, stop, names)


def open_table(table_source: TableSource, hdu: int | str = 1) -> BinaryTable:
    """Open a FITS, VOTable or Parquet table.

    Raises
    ------
    FileBroken : it cannot be read as what its name says, or has no rows.
    """
    kind = table_source.format
    opener = {"fits": _open_fits, "votable": _open_votable, "parquet": _open_parquet}[kind]
    try:
        with warnings.catch_warnings():
            # Real archive files carry unit texts and dates that astropy warns about.
            warnings.simplefilter("ignore")
            table = opener(table_source, hdu)
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, pa.ArrowException) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise broken(table_source.name, f"the file is not readable as {kind} ({reason})") from None
    if not table.length:
        raise broken(table_source.name, "the table has no rows", row=0)
    return table


def _open_fits(table_source: TableSource, hdu: int | str) -> BinaryTable:
    with table_source.open() as stream:
        packed = table_source.name.lower().endswith(".gz") or table_source.path.suffix == ".zip"
        content = io.BytesIO(stream.read()) if packed else stream
        with fits.open(content, memmap=False) as hdus:
            if not isinstance(hdus[hdu], fits.BinTableHDU):
                raise ValueError(f"HDU {hdu} is not a table")
            found = hdus[hdu]
            header = dict(hdus[0].header) | dict(found.header)
            columns, length = found.columns, int(found.header["NAXIS2"])
            plain = not any(c.bscale or c.bzero or c.format[:1] in "PQ" for c in columns)
            plain = plain and not any(c.format.startswith(("1P", "1Q", "0P")) for c in columns)
            offset, dtype = found.fileinfo()["datLoc"], columns.dtype.newbyteorder(">")
            if packed or not plain:
                data = found.data
                arrays = {name: _native(data[name]) for name in columns.names}
                return _from_memory(table_source, header, arrays, length)
    _check_size(table_source, offset + length * dtype.itemsize)

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        with table_source.path.open("rb") as stream:
            stream.seek(offset + start * dtype.itemsize)
            rows = np.fromfile(stream, dtype, stop - start)
        return {name: _native(rows[name]) for name in names}

    return BinaryTable(table_source.name, list(columns.names), header, length, read)


def _check_size(table_source: TableSource, needed: int) -> None:
    size = table_source.path.stat().st_size
    if size < needed:
        raise ValueError(f"it has {size} bytes, its header announces {needed}; it is truncated")


def _from_memory(
    table_source: TableSource, header: dict[str, Any], arrays: dict[str, Array], length: int
) -> BinaryTable:
    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        return {name: arrays[name][start:stop] for name in names}

    return BinaryTable(table_source.name, list(arrays), header, length, read)


def _native(array: Array) -> Array:
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind in "iufc" else array


def _unmask(array: Any) -> Array:
    """A masked array as a plain one: NaN, zero, empty text or an empty array where masked."""
    array = np.ma.asarray(array)
    if array.dtype.kind in "iub":
        return np.asarray(array.filled(0))
    if array.dtype.kind == "f":
        return np.asarray(array.filled(np.nan))
    values: Array = np.asarray(array.data)
    if values.dtype == object and values.ndim == 1:
        values = np.empty(len(array), object)
        values[:] = [np.ma.filled(np.ma.asarray(row, dtype=None), 0) for row in array.data]
    return values


def _open_votable(table_source: TableSource, hdu: int | str) -> BinaryTable:
    with table_source.open() as stream:
        table = parse_single_table(io.BytesIO(stream.read()), verify="ignore")
    fields = {field.name: field.ID for field in table.fields}
    arrays = {name: _unmask(table.array[key]) for name, key in fields.items()}
    return _from_memory(table_source, {}, arrays, len(table.array))


def _open_parquet(table_source: TableSource, hdu: int | str) -> BinaryTable:
    file = pq.ParquetFile(table_source.path)
    groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    edges = np.concatenate([[0], np.cumsum(groups)])
    header = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        part = file.read_row_groups(list(range(first, last)), columns=list(names))
        part = part.slice(start - int(edges[first]), stop - start)
        return {name: _from_arrow(part[name].combine_chunks()) for name in names}

    return BinaryTable(
        table_source.name, file.schema_arrow.names, header, file.metadata.num_rows, read
    )


def _from_arrow(column: pa.Array) -> Array:
    if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
        rows = column.to_pylist()
        values = np.empty(len(rows), object)
        values[:] = [np.array(row if row is not None else [], float) for row in rows]
        return values
    if pa.types.is_integer(column.type):
        return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(["" if v is None else v for v in column.to_pylist()])
    return np.asarray(column.to_numpy(zero_copy_only=False))


def as_matrix(array: Array, size: int) -> tuple[Array, Array]:
    """Rows of a 2-D or object column as float64 [n, size], and the length each row had.

    Rows of another length are NaN; length 0 means that the row had no array.
    """
    if array.dtype != object:
        flat = array.reshape(len(array), -1)
        lengths = np.full(len(array), flat.shape[1])
        good = flat.shape[1] == size
        return flat.astype(float) if good else np.full((len(array), size), np.nan), lengths
    lengths = np.array([np.size(row) for row in array], int)
    matrix = np.full((len(array), size), np.nan)
    for number in np.flatnonzero(lengths == size):
        matrix[number] = np.asarray(array[number], float).ravel()
    return matrix, lengths
