"""Tables that are not text: FITS, VOTable, Parquet and HDF5, handed out a few rows at a time.

An uncompressed FITS table is read by seeking, so that a file of any length takes the memory of
one block. VOTables, zip members and compressed FITS files are small products; they are read whole.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
from astropy.io.votable import parse

from distcnn.arrays import Array
from distcnn.errors import InputError
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.aligned import aligned_table
from distcnn.ingest.readers.formats.containers import TableSource, sought, tell_read, tell_unread
from distcnn.ingest.readers.formats.fits.headers import (
    DAMAGED_EXTENSION,
    FitsHdu,
    open_hdus,
    place_of,
)
from distcnn.ingest.readers.formats.fits.table import PackedInTiles, fits_table
from distcnn.ingest.readers.formats.hdf5_table import hdf5_tables
from distcnn.ingest.readers.formats.packing import cannot_unpack
from distcnn.ingest.readers.formats.parquet_columns import from_arrow, inner, inner_columns
from distcnn.ingest.readers.statements.statements import TableFacts, parquet_facts
from distcnn.ingest.readers.values.numbers import masked, masks_of


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
        """Row numbers (from 1) and columns as they are, masked where missing.

        A column ``NAME.mask``, which astropy writes beside one that is masked, counts.

        ``values.numbers``, ``values.arrays`` and ``identifiers.classify`` say what they mean.

        Raises
        ------
        FileBroken : the bytes cannot be read after all.
        """
        for start in range(0, self.length, rows):
            stop = min(start + rows, self.length)
            yield np.arange(start + 1, stop + 1), self.read(start, stop, names)

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        """Columns of rows [start, stop), as ``blocks`` gives them.

        Raises
        ------
        FileBroken : the bytes cannot be read after all.
        """
        masks = masks_of(names, self.columns)
        every = list(dict.fromkeys([*names, *masks.values()]))
        try:
            columns = self._read(start, stop, every)
            return columns | {n: masked(columns[n], columns[mask]) for n, mask in masks.items()}
        except Exception as error:  # pages of Parquet are unpacked, and checked, only now
            raise unreadable(self.name, "", error, row=start + 1) from None


def open_table(table_source: TableSource, hdu: int | str = 1) -> BinaryTable:
    """Open one table of a FITS, VOTable, Parquet or HDF5 file; further ones are told.

    Parameters
    ----------
    hdu : number (the first table is 1) or name of a table extension, of a TABLE of a VOTable, or
        of a group or table of HDF5.

    Raises
    ------
    FileBroken : it cannot be read as what its name says, or has no rows.
    """
    return next(_tables(table_source, hdu))


def open_tables(table_source: TableSource, hdu: int | str = 1) -> Iterator[BinaryTable]:
    """All tables of a file that is no text, as DataLink joins those of several stars.

    With an ``hdu`` other than the first it is that one alone.

    Raises
    ------
    FileBroken : as in ``open_table``.
    """
    return _tables(table_source, None if hdu == 1 else hdu)


def _tables(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    kind = table_source.format
    opener = _OPENERS[kind]
    tables = opener(table_source, hdu)
    given, empty = False, None
    while True:
        try:
            with warnings.catch_warnings():
                # Real archive files carry unit texts and dates that astropy warns about.
                warnings.simplefilter("ignore")
                table = next(tables, None)
        except Exception as error:  # libraries let errors of every kind through from bad bytes
            raise unreadable(table_source.name, f" as {kind}", error) from None
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


def _tell_table(what: str, where: str, is_read: bool) -> None:
    if is_read:
        tell_read(where)
    else:
        tell_unread(what, where, "choose with 'hdu'")


def unreadable(name: str, kind: str, error: Exception, row: int | None = None) -> InputError:
    """What a library says of bad bytes as an error that names file and cure."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, PackedInTiles):
        return broken(name, str(error), cure="Unpack it with funpack.")
    if isinstance(error, MemoryError):
        cure = "Give the workers more memory, or cut the file into several."
        return broken(name, "the table does not fit into memory", cure=cure)
    if isinstance(error, EOFError):
        return cannot_unpack(name, error, row)
    if isinstance(error, OSError) and error.errno is not None:
        cure = "Check that it is there, that it may be read, and the disk."
        return broken(name, f"the file cannot be read ({error.strerror})", cure=cure)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return broken(name, f"the file is not readable{kind} ({reason})", row=row)


def _open_fits(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    plain_file = table_source.is_plain
    stream = sought(table_source)
    # What was unpacked is kept, open, while its tables are; only a file can be opened again.
    with stream if plain_file else nullcontext():
        hdus, damage = open_hdus(stream)
        numbers = [n for n, one in enumerate(hdus) if one.is_table]
        whole = hdu is None and bool(numbers)
        if hdu == 1 and len(numbers) == 1:  # the only table, wherever it stands
            hdu = numbers[0]
        if damage == DAMAGED_EXTENSION and (hdu is None or place_of(hdus, hdu) not in numbers):
            raise ValueError(damage)
        if damage:
            tell_damage(table_source.name, damage)
        chosen = numbers if whole else [_number_of(hdus, hdu or 1, table_source, numbers)]
        for number in numbers if len(numbers) > 1 else ():
            called = f" ({hdus[number].name})" if hdus[number].name else ""
            where = f"{Path(table_source.name).name}: HDU {number}{called}"
            _tell_table("further tables of FITS files", where, number in chosen)
        for number in chosen:
            name = table_source.name if len(chosen) == 1 else f"{table_source.name}, HDU {number}"
            yield table_of_hdu(name, hdus, number, table_source, stream)


def tell_damage(name: str, damage: str) -> None:
    """Note a file that is damaged behind what is read of it."""
    where = f"{Path(name).name}: {damage}"
    what, cure = "ends of files that are cut off or damaged", "fetch these files again"
    tell_unread(what, where, cure, is_fault=True)


def table_of_hdu(
    name: str,
    hdus: Sequence[FitsHdu],
    number: int,
    table_source: TableSource,
    stream: IO[bytes],
    *,
    stays_open: bool = False,
) -> BinaryTable:
    """The table extension of that number of an open FITS file.

    ``stays_open``: the stream does as long as the table is read.

    Raises
    ------
    ValueError : as ``fits_table`` does.
    """
    content = content_of(table_source, stream, not stays_open and table_source.is_plain)
    found = fits_table(hdus[number], hdus[0], *content)
    names = [column.name for column in found.columns]
    table = BinaryTable(name, names, found.header, found.length, found.read)
    if found.length == 1:
        table = _with_keywords(table)
    units, ucds = _of_fits_columns(found.header)
    return replace(table, units=units, ucds=ucds)


_MAX_VOTABLE_BYTES = 2 << 30
_OUTSIDE = re.compile(rb"<(?:\w+:)?(?:STREAM\b[^>]*\bhref\s*=[^>]*|FITS\b[^>]*)>", re.IGNORECASE)
_STRUCTURAL = re.compile(
    r"|SIMPLE|XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|TFIELDS|EXTEND|THEAP|COMMENT|HISTORY|CHECKSUM|"
    r"DATASUM|EXTNAME|EXTVER|T[A-Z]+\d+"
)
"""Keywords that describe the table, not the star."""
_TAG_BYTES = 4096
"""Longest tag that is looked for across the pieces a file is read in."""


def _with_keywords(table: BinaryTable) -> BinaryTable:
    """A table of one row, as ESO has one for each spectrum, with its keywords as columns.

    (Of a table of many rows the header tells nothing of one of them.)
    """
    known = {name.lower() for name in table.columns}
    said = {
        key: value
        for key, value in table.header.items()
        if isinstance(value, (bool, int, float, str))
        and not _STRUCTURAL.fullmatch(key)
        and key.lower() not in known
    }

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        found = table._read(start, stop, [name for name in names if name not in said])
        for name in (name for name in names if name in said):
            found[name] = np.empty(stop - start, object)
            found[name][:] = [said[name]] * (stop - start)
        return found

    return replace(table, columns=[*table.columns, *said], _read=read)


def _of_fits_columns(header: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Units and UCDs of the columns of a table extension."""
    said: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for number in range(1, int(header["TFIELDS"]) + 1):
        for keyword, found in zip(("TUNIT", "TUCD"), said, strict=True):
            if header.get(f"{keyword}{number}"):
                name = str(header.get(f"TTYPE{number}") or f"col{number}").strip()
                found[name] = str(header[f"{keyword}{number}"])
    return said


def content_of(
    table_source: TableSource, stream: IO[bytes], plain_file: bool
) -> tuple[int, Callable[[], AbstractContextManager[IO[bytes]]]]:
    """Bytes in all, and how to open them again."""
    if plain_file:
        path = table_source.path
        return path.stat().st_size, lambda: path.open("rb")
    return stream.seek(0, os.SEEK_END), lambda: nullcontext(stream)


def _number_of(
    hdus: Sequence[FitsHdu], hdu: int | str, table_source: TableSource, numbers: Sequence[int]
) -> int:
    """Where the table extension of that number or name stands."""
    found = place_of(hdus, hdu)
    if found is not None and found in numbers:
        return found
    tables = ", ".join(f"{number} ({hdus[number].name or 'no name'})" for number in numbers)
    raise broken(
        table_source.name,
        f"the file is not readable as fits: HDU {hdu!r} is no table",
        cure=f"Set 'hdu' of this kind of file to one that is: {tables}."
        if tables
        else "It holds images, or nothing: describe them with reader: described and a 'layout' "
        "(conf/surveys has those of surveys).",
    )


def _from_memory(
    name: str, header: dict[str, Any], columns: list[str], arrays: Mapping[str, Array], length: int
) -> BinaryTable:
    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        return {column: arrays[column][start:stop] for column in names}

    return BinaryTable(name, columns, header, length, read)


def _plain_texts(array: Any) -> Array:
    """A column of a VOTable: masked numbers as they are; texts and arrays, None where masked."""
    column: Array = np.ma.asarray(array)
    if column.dtype.kind in "biufc":
        return column
    values = np.empty(len(array), object)
    mask = np.ma.getmaskarray(array)
    for place, value in enumerate(array.data):
        hidden = bool(np.all(mask[place])) and not isinstance(value, np.ndarray)
        values[place] = None if hidden else value
    return values


def _constants(params: Iterable[Any], taken: Iterable[str], length: int) -> dict[str, Array]:
    """PARAMs of one value as columns, as the standard has it; a FIELD of the name goes first."""
    known = {name.lower() for name in taken}
    found: dict[str, Array] = {}
    for param in params:
        value = _plain(param.value)
        if isinstance(value, (bool, int, float, str, bytes)) and param.name.lower() not in known:
            column = np.empty(length, object)
            column[:] = [value] * length
            found[param.name] = column
    return found


def _open_votable(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    with sought(table_source) as stream:
        _check_votable(stream, table_source)
        document = parse(stream, verify="ignore")
    tables = [table for table in document.iter_tables() if not table.is_empty()]
    answer = _answer(document, table_source)
    whole = hdu is None and bool(tables)
    chosen = range(len(tables)) if whole else [_place_of(tables, hdu or 1, table_source, answer)]
    shared = [param for resource in document.resources for param in resource.params]
    for place in range(len(tables)) if len(tables) > 1 else ():
        called = f" ({tables[place].name})" if tables[place].name else ""
        where = f"{Path(table_source.name).name}: TABLE {place + 1}{called}"
        _tell_table("further tables of VOTables", where, place in chosen)
    for place in chosen:
        table = tables[place]
        header = {param.name: _plain(param.value) for param in (*shared, *table.params)}
        columns = [field.name for field in table.fields]
        values = {field.name: _plain_texts(table.array[field.ID]) for field in table.fields}
        constants = _constants((*table.params, *shared), columns, len(table.array))
        called = f" ({table.name})" if table.name else ""
        name = f"{table_source.name}, table {place + 1}{called}"
        name = table_source.name if len(tables) == 1 else name
        every = (*shared, *table.params, *table.fields)
        units = {one.name: str(one.unit) for one in every if one.unit is not None}
        ucds = {one.name: str(one.ucd) for one in every if one.ucd}
        columns += list(constants)
        found = _from_memory(name, header, columns, values | constants, len(table.array))
        yield replace(found, units=units, ucds=ucds)


def _check_votable(stream: IO[bytes], table_source: TableSource) -> None:
    """Refuse data that lie elsewhere, which the parser would fetch, and what memory cannot hold."""
    size = stream.seek(0, os.SEEK_END)
    if size > _MAX_VOTABLE_BYTES:
        raise broken(
            table_source.name,
            f"a VOTable of {size / 2**30:.1f} GiB, which is read whole",
            cure="Convert it to FITS or Parquet, which are read in pieces, or cut it into several.",
        )
    stream.seek(0)
    rest = b""
    while data := stream.read(1 << 20):
        found = _OUTSIDE.search(rest + data)
        if found is not None:
            raise broken(
                table_source.name,
                f"its data are not in the VOTable: {found[0][:80].decode('latin-1')}",
                cure="Save it as a VOTable that holds its data (TOPCAT: TABLEDATA or BINARY2), or "
                "as FITS.",
            )
        rest = data[-_TAG_BYTES:]
    stream.seek(0)


def _answer(document: Any, table_source: TableSource) -> str:
    """What the service said of the query, if it failed; rows that it cut off are told."""
    for resource in document.resources:
        for info in resource.infos:
            if info.name == "QUERY_STATUS" and info.value == "OVERFLOW":
                where = Path(table_source.name).name
                cure = "ask the service again for all of them (MAXREC)"
                tell_unread("results that the service cut off at its limit of rows", where, cure)
            if info.name == "QUERY_STATUS" and info.value == "ERROR":
                return str(info.content or info.value).strip()[:200]
    return ""


def _place_of(tables: Sequence[Any], hdu: int | str, table_source: TableSource, answer: str) -> int:
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
        else f"A query may have failed: {answer or 'look at what the file says'}.",
    )


def _plain(value: Any) -> Any:
    """The value of a PARAM as a Python number or text."""
    return value.item() if isinstance(value, np.generic) else value


def _open_parquet(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    content = table_source.path if table_source.is_plain else sought(table_source)
    file = pq.ParquetFile(content)
    groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    edges = np.concatenate([[0], np.cumsum(groups)])
    facts = parquet_facts(table_source.name, file.schema_arrow)
    inside: dict[str, tuple[str, ...]] = {}
    for place, column in enumerate(file.schema_arrow):
        if column.name in file.schema_arrow.names[:place]:
            continue  # of one name several: look_for refuses it, and others may be read
        inside |= {name: (column.name, *path) for name, path in inner_columns(column)}

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        outer = list(dict.fromkeys(inside.get(name, (name,))[0] for name in names))
        part = file.read_row_groups(list(range(first, last)), columns=outer)
        part = part.slice(start - int(edges[first]), stop - start)
        found = {}
        for name in names:
            column, *path = inside.get(name, (name,))
            parts = [] if path else [n for n, where in inside.items() if where[0] == name]
            if parts:
                problem = f"column {name!r} holds several in each row: {', '.join(parts)}"
                raise broken(table_source.name, problem, cure="Name one of them in 'columns'.")
            found[name] = from_arrow(inner(part[column].combine_chunks(), path))
        return found

    yield BinaryTable(
        table_source.name,
        [*file.schema_arrow.names, *inside],
        dict(facts.header),
        file.metadata.num_rows,
        read,
        dict(facts.units),
        dict(facts.ucds),
    )


def _open_hdf5(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    tables = hdf5_tables(table_source)
    names = [table.name for table in tables]
    whole = hdu is None and bool(tables)
    chosen = range(len(tables)) if whole else [_place_of_group(names, hdu or 1, table_source)]
    for place, name in enumerate(names) if len(names) > 1 else ():
        where = f"{Path(table_source.name).name}: {name}"
        _tell_table("further tables of HDF5 files", where, place in chosen)
    for place in chosen:
        table = tables[place]
        name = table_source.name if len(tables) == 1 else f"{table_source.name}:{table.name}"
        facts = table.facts
        yield BinaryTable(
            name,
            list(table.columns),
            dict(facts.header),
            table.length,
            table.read,
            dict(facts.units),
            dict(facts.ucds),
        )


def _place_of_group(names: Sequence[str], hdu: int | str, table_source: TableSource) -> int:
    """Where the table of that number (from 1) or name stands."""
    for place, name in enumerate(names):
        if hdu in (place + 1, name, name.strip("/"), name.rpartition("/")[2]):
            return place
    raise broken(
        table_source.name,
        f"the file is not readable as hdf5: there is no table {hdu!r}",
        cure=f"Set 'hdu' of this kind of file to one that is: {', '.join(names[:20])}."
        if names
        else "It holds no datasets of rows; write them as FITS, Parquet or CSV.",
    )


def _open_aligned(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    found = aligned_table(table_source)
    columns = {name: _plain_texts(column) for name, column in found.columns.items()}
    table = _from_memory(table_source.name, found.header, list(columns), columns, found.length)
    yield replace(table, units=found.units)


_OPENERS = {
    "fits": _open_fits,
    "votable": _open_votable,
    "parquet": _open_parquet,
    "hdf5": _open_hdf5,
    "aligned": _open_aligned,
}
