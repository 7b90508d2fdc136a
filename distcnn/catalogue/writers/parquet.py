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

from distcnn.catalogue.table import CatalogueTable, flag_table
from distcnn.catalogue.writers.base import CatalogueHeader, empty_astropy_table
from distcnn.catalogue.writers.votable import votable_document


def write(path: Path, table: CatalogueTable) -> int:
    """Write the file; returns its number of rows."""
    schema = _schema(table)
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in table.blocks():
            writer.write_table(_arrow(block, schema), row_group_size=len(block))
            rows += len(block)
    return rows


def read_header(path: Path) -> CatalogueHeader:
    """The header of a catalogue file."""
    file = pq.ParquetFile(path)
    columns = []
    for field in file.schema_arrow:
        about = _texts(field.metadata)
        columns.append((field.name, about.get("unit", ""), about.get("description", "")))
    entries = _texts(file.schema_arrow.metadata)
    return CatalogueHeader(file.metadata.num_rows, entries, tuple(columns))


def _texts(metadata: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (metadata or {}).items()}


def _arrow(block: "np.ndarray[tuple[int], np.dtype[np.void]]", schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        column = np.ascontiguousarray(block[field.name])
        if column.dtype.kind == "S":
            column = column.astype(str)
        arrays.append(pa.array(column, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _schema(table: CatalogueTable) -> pa.Schema:
    fields = []
    for column in table.columns:
        kind = np.dtype(column.dtype)
        meaning = {"unit": column.unit, "ucd": column.ucd, "description": column.description}
        arrow = pa.string() if kind.kind == "S" else pa.from_numpy_dtype(kind)
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
