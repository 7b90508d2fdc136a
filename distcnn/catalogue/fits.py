"""FITS: one binary table, written block by block.

TUNIT, TUCD and TCOMM (a sentence) stand for every column, as TOPCAT reads them; missing
numbers are NaN. ``dex`` is not a FITS unit but is what catalogues use: astropy says so when
it reads the file, and keeps it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from distcnn.catalogue.sheet import Sheet, flag_table

SUFFIXES = (".fits",)
_BLOCK = 2880
_CODES = {"int64": "K", "int32": "J", "int16": "I", "float64": "D", "float32": "E"}


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
    make: Callable[..., Any] = fits.Column
    cells = [
        make(name=c.name, format=_format(c.dtype), unit=c.unit or None, disp=c.format)
        for c in sheet.columns
    ]
    table = fits.BinTableHDU.from_columns(cells, nrows=0, name="CATALOGUE")
    header = table.header
    header["NAXIS2"] = sheet.rows
    for number, column in enumerate(sheet.columns, start=1):
        header[f"TUCD{number}"] = column.ucd
        header[f"TCOMM{number}"] = column.description
    for fact in sheet.facts:
        header[fact.name] = (fact.value, fact.description)
    for name, bit, sentence in flag_table():
        header.add_comment(f"flags & {bit}: {name}: {sentence}")
    return header


def _format(dtype: str) -> str:
    kind = np.dtype(dtype)
    return f"{kind.itemsize}A" if kind.kind == "S" else _CODES[dtype]
