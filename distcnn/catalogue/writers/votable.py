"""VOTable 1.4 with BINARY2 data, written block by block.

Readers hold the whole table in memory, text and all: for tens of millions of stars Parquet
or FITS serve better.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from astropy.io import votable

from distcnn.arrays import Array
from distcnn.catalogue.columns import Column
from distcnn.catalogue.table import CatalogueTable, flag_table
from distcnn.catalogue.writers.base import CatalogueHeader

_NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.3"
_DATA_MARKER = "DATA-STAND-HERE"
_TYPES = {
    "int64": "long",
    "int32": "int",
    "int16": "short",
    "float64": "double",
    "float32": "float",
}


def write(path: Path, table: CatalogueTable) -> int:
    """Write the file; returns its number of rows."""
    before, after = votable_document(table, data=True).split(_DATA_MARKER)
    rows = 0
    with path.open("wb") as stream:
        stream.write(before.encode())
        rest = b""
        for block in table.blocks():
            data = rest + _binary2(block)
            # base64 joins without padding only at multiples of three bytes
            whole = len(data) - len(data) % 3
            stream.writelines(_lines(data[:whole]))
            rest = data[whole:]
            rows += len(block)
        stream.writelines(_lines(rest))
        stream.write(after.encode())
    return rows


def read_header(path: Path) -> CatalogueHeader:
    """The header of a catalogue file, which astropy reads together with the rows."""
    table = votable.parse_single_table(path)
    entries = {param.name: str(param.value) for param in table.params}
    columns = tuple((f.name, str(f.unit or ""), f.description or "") for f in table.fields)
    return CatalogueHeader(table.nrows, entries, columns)


def votable_document(table: CatalogueTable, *, data: bool) -> str:
    """The document without rows; with ``data`` it has a place where they belong."""
    document = ET.Element("VOTABLE", version="1.4", xmlns=_NAMESPACE)
    resource = ET.SubElement(document, "RESOURCE", type="results")
    ET.SubElement(resource, "COOSYS", ID="icrs", system="ICRS")
    element = ET.SubElement(resource, "TABLE", name="catalogue", nrows=str(table.rows))
    for entry in table.header:
        _parameter(element, entry.name, entry.value, entry.description)
    for name, bit, sentence in flag_table():
        _parameter(element, f"FLAG_{name}", bit, sentence)
    for column in table.columns:
        _field(element, column)
    if data:
        binary = ET.SubElement(ET.SubElement(element, "DATA"), "BINARY2")
        ET.SubElement(binary, "STREAM", encoding="base64").text = _DATA_MARKER
    ET.indent(document)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(document, encoding="unicode")


def _parameter(table: ET.Element, name: str, value: object, sentence: str) -> None:
    shape = {"datatype": "int"} if isinstance(value, int) else {"datatype": "char"}
    if not isinstance(value, int):
        shape["arraysize"] = "*"
    parameter = ET.SubElement(table, "PARAM", {"name": name, "value": str(value), **shape})
    ET.SubElement(parameter, "DESCRIPTION").text = sentence


def _field(table: ET.Element, column: Column) -> None:
    kind = np.dtype(column.dtype)
    shape = {"datatype": _TYPES.get(column.dtype, "char")}
    if kind.kind == "S":
        shape["arraysize"] = str(kind.itemsize)
    elif column.shape:
        shape["arraysize"] = "x".join(map(str, reversed(column.shape)))
    if column.unit:
        shape["unit"] = column.unit
    if column.name in ("ra", "dec"):
        shape["ref"] = "icrs"
    field = ET.SubElement(table, "FIELD", {"name": column.name, "ucd": column.ucd, **shape})
    ET.SubElement(field, "DESCRIPTION").text = column.description


def _binary2(block: Array) -> bytes:
    """Rows with their mask of nulls before them: one bit per column, none set; NaN is missing."""
    names = block.dtype.names or ()
    mask = ("mask", "u1", (-(-len(names) // 8),))
    cells = [(name, block.dtype[name].newbyteorder(">")) for name in names]
    rows = np.zeros(len(block), np.dtype([mask, *cells]))
    for name in names:
        rows[name] = block[name]
    return rows.tobytes()


def _lines(data: bytes) -> Iterator[bytes]:
    step = 57 * 1024
    for start in range(0, len(data), step):
        yield base64.encodebytes(data[start : start + step])
