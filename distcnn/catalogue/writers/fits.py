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

from distcnn.catalogue.table import CatalogueTable, flag_table
from distcnn.catalogue.writers.base import CatalogueHeader, empty_astropy_table

FITS_BLOCK_BYTES = 2880


def write(path: Path, table: CatalogueTable) -> int:
    """Write the file; returns its number of rows."""
    header = _header(table)
    big_endian = table.dtype.newbyteorder(">")
    size = 0
    rows = 0
    with path.open("wb") as stream:
        stream.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        stream.write(header.tostring().encode("ascii"))
        for block in table.blocks():
            size += stream.write(block.astype(big_endian).tobytes())
            rows += len(block)
        stream.write(b"\0" * (-size % FITS_BLOCK_BYTES))
    return rows


def read_header(path: Path) -> CatalogueHeader:
    """The header of a catalogue file."""
    header = fits.getheader(path, 1)
    numbers = range(1, header["TFIELDS"] + 1)
    columns = tuple(
        (header[f"TTYPE{n}"], header.get(f"TUNIT{n}", ""), header.get(f"TCOMM{n}", ""))
        for n in numbers
    )
    return CatalogueHeader(header["NAXIS2"], {k: str(v) for k, v in header.items()}, columns)


def _header(table: CatalogueTable) -> Any:
    header = _native_header(table)
    header["EXTNAME"] = "CATALOGUE"
    header["NAXIS2"] = table.rows
    for number, column in enumerate(table.columns, start=1):
        # Cards of one column stay together.
        after = f"TFORM{number}"
        header.set(f"TCOMM{number}", column.description, after=after)
        header.set(f"TUCD{number}", column.ucd, after=after)
        header.set(f"TDISP{number}", column.format, after=after)
        if column.unit:
            header.set(f"TUNIT{number}", column.unit, after=after)
    for entry in table.header:
        fits_in = len(entry.value) + len(entry.description) < 64
        header[entry.name] = (entry.value, entry.description if fits_in else None)
    for name, bit, sentence in flag_table():
        for line in textwrap.wrap(f"flags & {bit}: {name}: {sentence}", 70):
            header.add_comment(line)
    return header


def _native_header(table: CatalogueTable) -> Any:
    """Names and types, and astropy's own comments, from which it reads sentences and dex."""
    with warnings.catch_warnings():
        # Astropy tells that dex goes into those comments.
        warnings.simplefilter("ignore", AstropyUserWarning)
        empty = empty_astropy_table(table)
        empty.meta.clear()
        file = io.BytesIO()
        empty.write(file, format="fits")
        return fits.getheader(io.BytesIO(file.getvalue()), 1)
