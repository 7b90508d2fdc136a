"""FITS: one binary table, written block by block.

TUNIT, TUCD and TCOMM (a sentence) stand for every column, as TOPCAT reads them; missing
numbers are NaN. ``dex`` is not a FITS unit but is what catalogues use: astropy says so when
it reads the file, and keeps it.
"""

import io
import textwrap
import warnings
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from distcnn.catalogue.table import Sheet, flag_table
from distcnn.catalogue.writers.astropy_table import empty_table

SUFFIXES = (".fits",)
_BLOCK = 2880


def write(path: Path, sheet: Sheet) -> int:
    """Write the file; returns its number of rows."""
    header = _header(sheet)
    big_endian = sheet.dtype.newbyteorder(">")
    size = 0
    rows = 0
    with path.open("wb") as stream:
        stream.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        stream.write(header.tostring().encode("ascii"))
        for block in sheet.blocks():
            size += stream.write(block.astype(big_endian).tobytes())
            rows += len(block)
        stream.write(b"\0" * (-size % _BLOCK))
    return rows


def _header(sheet: Sheet) -> Any:
    header = _native_header(sheet)
    header["EXTNAME"] = "CATALOGUE"
    header["NAXIS2"] = sheet.rows
    for number, column in enumerate(sheet.columns, start=1):
        # Cards of one column stay together.
        after = f"TFORM{number}"
        header.set(f"TCOMM{number}", column.description, after=after)
        header.set(f"TUCD{number}", column.ucd, after=after)
        header.set(f"TDISP{number}", column.format, after=after)
        if column.unit:
            header.set(f"TUNIT{number}", column.unit, after=after)
    for fact in sheet.facts:
        fits_in = len(fact.value) + len(fact.description) < 64
        header[fact.name] = (fact.value, fact.description if fits_in else None)
    for name, bit, sentence in flag_table():
        for line in textwrap.wrap(f"flags & {bit}: {name}: {sentence}", 70):
            header.add_comment(line)
    return header


def _native_header(sheet: Sheet) -> Any:
    """Names and types, and astropy's own comments, from which it reads sentences and dex."""
    with warnings.catch_warnings():
        # Astropy tells that dex goes into those comments.
        warnings.simplefilter("ignore", AstropyUserWarning)
        table = empty_table(sheet)
        table.meta.clear()
        file = io.BytesIO()
        table.write(file, format="fits")
        return fits.getheader(io.BytesIO(file.getvalue()), 1)
