"""Tables of VOTables: small products, which astropy reads whole."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io.votable import parse

from distcnn.arrays import Array
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.binary_table import (
    BinaryTable,
    from_memory,
    plain_texts,
    tell_table,
)
from distcnn.ingest.readers.formats.containers import TableSource, sought, tell_unread

_MAX_VOTABLE_BYTES = 2 << 30
_OUTSIDE = re.compile(rb"<(?:\w+:)?(?:STREAM\b[^>]*\bhref\s*=[^>]*|FITS\b[^>]*)>", re.IGNORECASE)
_TAG_BYTES = 4096
"""Longest tag that is looked for across the pieces a file is read in."""


def open_votable(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    """The TABLE ``hdu``, by number from 1, name or ID; of None all that have data."""
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
        tell_table("further tables of VOTables", where, place in chosen)
    for place in chosen:
        table = tables[place]
        header = {param.name: _plain(param.value) for param in (*shared, *table.params)}
        columns = [field.name for field in table.fields]
        values = {field.name: plain_texts(table.array[field.ID]) for field in table.fields}
        constants = _constants((*table.params, *shared), columns, len(table.array))
        called = f" ({table.name})" if table.name else ""
        name = f"{table_source.name}, table {place + 1}{called}"
        name = table_source.name if len(tables) == 1 else name
        every = (*shared, *table.params, *table.fields)
        units = {one.name: str(one.unit) for one in every if one.unit is not None}
        ucds = {one.name: str(one.ucd) for one in every if one.ucd}
        columns += list(constants)
        found = from_memory(name, header, columns, values | constants, len(table.array))
        yield replace(found, units=units, ucds=ucds)


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
