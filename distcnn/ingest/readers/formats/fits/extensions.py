"""Table extensions of FITS files.

An uncompressed one is read by seeking, so that a file of any length takes the memory of one block.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.binary_table import BinaryTable, tell_table
from distcnn.ingest.readers.formats.containers import TableSource, sought, tell_unread
from distcnn.ingest.readers.formats.fits.headers import (
    DAMAGED_EXTENSION,
    FitsHdu,
    open_hdus,
    place_of,
)
from distcnn.ingest.readers.formats.fits.table import fits_table

_STRUCTURAL = re.compile(
    r"|SIMPLE|XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|TFIELDS|EXTEND|THEAP|COMMENT|HISTORY|CHECKSUM|"
    r"DATASUM|EXTNAME|EXTVER|T[A-Z]+\d+"
)
"""Keywords that describe the table, not the star."""


def open_fits(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    """The table extension ``hdu``; of None all of them."""
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
            tell_table("further tables of FITS files", where, number in chosen)
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
