"""Parquet: row groups of one block each; columns and file carry their meaning as metadata.

Three conventions are followed at once: plain ``unit``, ``ucd`` and ``description`` on every
Arrow field, astropy's own header, and the VOTable-in-Parquet header that TOPCAT reads.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table.meta import get_yaml_from_table

from distcnn.arrays import Array
from distcnn.catalogue.table import CatalogueTable, flag_table
from distcnn.catalogue.writers.base import CatalogueHeader, empty_astropy_table
from distcnn.catalogue.writers.votable import votable_document

OWN_HEADERS = ("table_meta_yaml", "IVOA.VOTable-Parquet.content", "IVOA.VOTable-Parquet.version")
"""Keys under which astropy's and the VOTable header stand."""


def write(path: Path, table: CatalogueTable) -> int:
    """Write the file; returns its number of rows."""
    schema = arrow_schema(table)
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in table.blocks():
            writer.write_table(arrow_table(block, schema), row_group_size=len(block))
            rows += len(block)
    return rows


def read_header(path: Path) -> CatalogueHeader:
    """The header of a catalogue file."""
    file = pq.ParquetFile(path)
    return header_of(file.schema_arrow, file.metadata.num_rows)


def header_of(schema: pa.Schema, rows: int) -> CatalogueHeader:
    """What an Arrow schema made by ``arrow_schema`` says of the catalogue."""
    columns = []
    for field in schema:
        about = _texts(field.metadata)
        columns.append((field.name, about.get("unit", ""), about.get("description", "")))
    return CatalogueHeader(rows, _texts(schema.metadata), tuple(columns))


def _texts(metadata: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (metadata or {}).items()}


def arrow_table(block: Array, schema: pa.Schema) -> pa.Table:
    """Rows of ``CatalogueTable.blocks`` as an Arrow table."""
    arrays = []
    for field in schema:
        column = np.ascontiguousarray(block[field.name])
        if column.ndim > 1:
            arrays.append(_lists(column, field.type))
            continue
        if column.dtype.kind == "S":
            column = column.astype(str)
        arrays.append(pa.array(column, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _lists(values: Array, kind: pa.DataType) -> pa.Array:
    """Arrays [N, ...] as one flat list per row."""
    length = int(np.prod(values.shape[1:]))
    offsets = np.arange(0, (len(values) + 1) * length, length, dtype="i4")
    return pa.ListArray.from_arrays(offsets, values.ravel(), type=kind)


def arrow_schema(table: CatalogueTable) -> pa.Schema:
    """Types of the columns, with unit, UCD and sentence; the whole table's header as metadata."""
    fields = []
    for column in table.columns:
        kind = np.dtype(column.dtype)
        meaning = {"unit": column.unit, "ucd": column.ucd, "description": column.description}
        arrow = pa.string() if kind.kind == "S" else pa.from_numpy_dtype(kind)
        arrow = pa.list_(arrow) if column.shape else arrow
        fields.append(pa.field(column.name, arrow, nullable=False, metadata=meaning))
    return pa.schema(fields, metadata=_metadata(table))


def _metadata(table: CatalogueTable) -> dict[str, str]:
    texts = [c for c in table.columns if np.dtype(c.dtype).kind == "S"]
    flags = {name: {"bit": bit, "text": text} for name, bit, text in flag_table()}
    return {
        **{entry.name: entry.value for entry in table.header},
        "flags": json.dumps(flags),
        "table_meta_yaml": "\n".join(get_yaml_from_table(empty_astropy_table(table))),
        **{f"table::len::{c.name}": str(np.dtype(c.dtype).itemsize) for c in texts},
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": votable_document(table, data=False),
    }
