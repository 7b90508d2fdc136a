"""Tables that are not text: FITS, VOTable and Parquet, handed out a few rows at a time.

An uncompressed FITS table is read by seeking, so that a file of any length takes the memory of
one block. VOTables, zip members and compressed FITS files are small products; they are read whole.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import parse

from distcnn.arrays import Array
from distcnn.errors import InputError
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.containers import TableSource, read_all, tell_unread
from distcnn.ingest.readers.formats.statements import TableFacts, parquet_facts


@dataclass
class BinaryTable:
    """An open binary table: column names, header values, and a way to read rows of columns."""

    name: str
    columns: list[str]
    header: dict[str, Any]
    length: int
    _read: Callable[[int, int, Sequence[str]], dict[str, Array]]
    units: dict[str, str] = field(default_factory=dict)
    """Units of columns and of PARAMs, where the file gives one."""
    ucds: dict[str, str] = field(default_factory=dict)
    """UCDs of columns."""

    @property
    def facts(self) -> TableFacts:
        """What the table says besides its rows."""
        return TableFacts(self.name, self.header, self.units, self.ucds)

    def blocks(self, rows: int, names: Sequence[str]) -> Iterator[tuple[Array, dict[str, Array]]]:
        """Row numbers (from 1) and columns; masked values are NaN in floats, 0 in integers."""
        for start in range(0, self.length, rows):
            stop = min(start + rows, self.length)
            try:
                columns = self._read(start, stop, names)
            except Exception as error:  # pages of Parquet are unpacked, and checked, only now
                raise _unreadable(self.name, "", error, row=start + 1) from None
            yield np.arange(start + 1, stop + 1), columns


def open_table(table_source: TableSource, hdu: int | str = 1) -> BinaryTable:
    """Open one table of a FITS, VOTable or Parquet file; further ones are told.

    Parameters
    ----------
    hdu : number (the first table is 1) or name of a table extension, or of a TABLE of a VOTable.

    Raises
    ------
    FileBroken : it cannot be read as what its name says, or has no rows.
    """
    return next(_tables(table_source, hdu))


def open_tables(table_source: TableSource, hdu: int | str = 1) -> Iterator[BinaryTable]:
    """All tables of a FITS, VOTable or Parquet file, as DataLink joins those of several stars.

    With an ``hdu`` other than the first it is that one alone.

    Raises
    ------
    FileBroken : as in ``open_table``.
    """
    return _tables(table_source, None if hdu == 1 else hdu)


def _tables(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    kind = table_source.format
    opener = {"fits": _open_fits, "votable": _open_votable, "parquet": _open_parquet}[kind]
    tables = opener(table_source, hdu)
    given, empty = False, None
    while True:
        try:
            with warnings.catch_warnings():
                # Real archive files carry unit texts and dates that astropy warns about.
                warnings.simplefilter("ignore")
                table = next(tables, None)
        except Exception as error:  # libraries let errors of every kind through from bad bytes
            raise _unreadable(table_source.name, f" as {kind}", error) from None
        if table is None:
            if empty is not None:
                raise empty
            return
        if table.length:
            given, empty = True, None
            yield table
            continue
        if given:  # of a star of several there may be no data
            tell_unread("tables without rows", table.name, "nothing can be taken from them")
        else:
            empty = broken(
                table.name,
                "the table has no rows",
                row=0,
                cure="Nothing can be taken from it; leave it out by 'files', or name another "
                "table by 'hdu'.",
            )


def _unreadable(name: str, kind: str, error: Exception, row: int | None = None) -> InputError:
    """What a library says of bad bytes as an error that names file and cure."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MemoryError):
        cure = "Give the workers more memory, or cut the file into several."
        return broken(name, "the table does not fit into memory", cure=cure)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return broken(name, f"the file is not readable{kind} ({reason})", row=row)


def _open_fits(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    plain_file = table_source.is_plain
    stream = table_source.open() if plain_file else read_all(table_source)
    with stream, fits.open(stream, memmap=False) as hdus:
        # An HDU that is cut off is left out by astropy, with no more than a warning.
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            numbers = [n for n, one in enumerate(hdus) if isinstance(one, fits.BinTableHDU)]
        rotten = any("corrupted" in str(warning.message) for warning in told)
        if rotten and (hdu is None or hdu not in numbers):
            raise ValueError("an extension is damaged, or the file is truncated")
        whole = hdu is None and bool(numbers)
        chosen = numbers if whole else [_number_of(hdus, hdu or 1, table_source, numbers)]
        for number in sorted(set(numbers) - set(chosen)):
            called = f" ({hdus[number].name})" if hdus[number].name else ""
            where = f"{Path(table_source.name).name}: HDU {number}{called}"
            tell_unread("further tables of FITS files", where, "choose with 'hdu'")
        for number in chosen:
            one = hdus[number]
            name = table_source.name if len(chosen) == 1 else f"{table_source.name}, HDU {number}"
            table = _fits_table(table_source, name, dict(hdus[0].header), one, plain_file)
            units, ucds = _of_fits_columns(one)
            yield replace(table, units=units, ucds=ucds)


def _of_fits_columns(found: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Units and UCDs of the columns of a table extension."""
    units = {column.name: str(column.unit) for column in found.columns if column.unit}
    keys = {name: f"TUCD{number}" for number, name in enumerate(found.columns.names, 1)}
    ucds = {name: str(found.header[key]) for name, key in keys.items() if key in found.header}
    return units, ucds


def _number_of(hdus: Any, hdu: int | str, table_source: TableSource, numbers: Sequence[int]) -> int:
    """Where the table extension of that number or name stands."""
    try:
        found = int(hdus.index_of(hdu))
        there = found in numbers
    except (KeyError, IndexError):
        there = False
    if there:
        return found
    tables = ", ".join(f"{number} ({hdus[number].name or 'no name'})" for number in numbers)
    raise broken(
        table_source.name,
        f"the file is not readable as fits: HDU {hdu!r} is no binary table",
        cure=f"Set 'hdu' of this kind of file to one that is: {tables or 'it has none'}.",
    )


def _fits_table(
    table_source: TableSource, name: str, primary: dict[str, Any], found: Any, plain_file: bool
) -> BinaryTable:
    header = primary | dict(found.header)
    columns, length = found.columns, int(found.header["NAXIS2"])
    plain = not any(c.bscale or c.bzero or c.format[:1] in "PQ" for c in columns)
    plain = plain and not any(c.format.startswith(("1P", "1Q", "0P")) for c in columns)
    offset, dtype = found.fileinfo()["datLoc"], columns.dtype.newbyteorder(">")
    if not plain_file or not plain:
        data = found.data
        arrays = {column: _native(data[column]) for column in columns.names}
        return _from_memory(name, header, arrays, length)
    _check_size(table_source, offset + length * dtype.itemsize)

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        with table_source.path.open("rb") as stream:
            stream.seek(offset + start * dtype.itemsize)
            rows = np.fromfile(stream, dtype, stop - start)
        return {column: _native(rows[column]) for column in names}

    return BinaryTable(name, list(columns.names), header, length, read)


def _check_size(table_source: TableSource, needed: int) -> None:
    size = table_source.path.stat().st_size
    if size < needed:
        raise ValueError(f"it has {size} bytes, its header announces {needed}; it is truncated")


def _from_memory(
    name: str, header: dict[str, Any], arrays: dict[str, Array], length: int
) -> BinaryTable:
    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        return {column: arrays[column][start:stop] for column in names}

    return BinaryTable(name, list(arrays), header, length, read)


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


def _open_votable(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    document = parse(read_all(table_source), verify="ignore")
    tables = [table for table in document.iter_tables() if not table.is_empty()]
    whole = hdu is None and bool(tables)
    chosen = range(len(tables)) if whole else [_place_of(tables, hdu or 1, table_source)]
    shared = [param for resource in document.resources for param in resource.params]
    for place in sorted(set(range(len(tables))) - set(chosen)):
        called = f" ({tables[place].name})" if tables[place].name else ""
        where = f"{Path(table_source.name).name}: TABLE {place + 1}{called}"
        tell_unread("further tables of VOTables", where, "choose with 'hdu'")
    for place in chosen:
        table = tables[place]
        header = {param.name: _plain(param.value) for param in (*shared, *table.params)}
        fields = {field.name: field.ID for field in table.fields}
        arrays = {name: _unmask(table.array[key]) for name, key in fields.items()}
        called = f" ({table.name})" if table.name else ""
        name = f"{table_source.name}, table {place + 1}{called}"
        name = table_source.name if len(tables) == 1 else name
        every = (*shared, *table.params, *table.fields)
        units = {one.name: str(one.unit) for one in every if one.unit is not None}
        ucds = {one.name: str(one.ucd) for one in every if one.ucd}
        found = _from_memory(name, header, arrays, len(table.array))
        yield replace(found, units=units, ucds=ucds)


def _place_of(tables: Sequence[Any], hdu: int | str, table_source: TableSource) -> int:
    """Where the TABLE of that number (from 1), name or ID stands."""
    for place, table in enumerate(tables):
        if hdu in (place + 1, table.name, table.ID):
            return place
    called = ", ".join(f"{n} ({table.name or 'no name'})" for n, table in enumerate(tables, 1))
    raise broken(
        table_source.name,
        f"the file is not readable as votable: there is no TABLE {hdu!r} with data",
        cure=f"Set 'hdu' of this kind of file to one that is: {called}."
        if tables
        else "A query may have failed: look at what the file says.",
    )


def _plain(value: Any) -> Any:
    """The value of a PARAM as a Python number or text."""
    return value.item() if isinstance(value, np.generic) else value


def _open_parquet(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    content = table_source.path if table_source.is_plain else read_all(table_source)
    file = pq.ParquetFile(content)
    groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    edges = np.concatenate([[0], np.cumsum(groups)])
    facts = parquet_facts(table_source.name, file.schema_arrow)

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        part = file.read_row_groups(list(range(first, last)), columns=list(names))
        part = part.slice(start - int(edges[first]), stop - start)
        return {name: _from_arrow(part[name].combine_chunks()) for name in names}

    yield BinaryTable(
        table_source.name,
        file.schema_arrow.names,
        dict(facts.header),
        file.metadata.num_rows,
        read,
        dict(facts.units),
        dict(facts.ucds),
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


def as_matrix(array: Array, size: int, *, padded: bool = False) -> tuple[Array, Array]:
    """Rows of a 2-D or object column as float64 [n, size], and the length each row had.

    Rows of another length are NaN, or with ``padded`` shorter ones have NaN behind their values;
    length 0 means that the row had no array.
    """
    if array.dtype != object:
        flat = array.reshape(len(array), -1)
        lengths = np.full(len(array), flat.shape[1])
        good = flat.shape[1] == size
        return flat.astype(float) if good else np.full((len(array), size), np.nan), lengths
    lengths = np.array([np.size(row) for row in array], int)
    matrix = np.full((len(array), size), np.nan)
    for number in np.flatnonzero((lengths == size) | (padded & (lengths < size) & (lengths > 0))):
        matrix[number, : lengths[number]] = np.asarray(array[number], float).ravel()
    return matrix, lengths
