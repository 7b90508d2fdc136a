"""Parquet: row groups of one block each; columns and file carry their meaning as metadata.

Three conventions are followed at once: plain ``unit``, ``ucd`` and ``description`` on every
Arrow field, astropy's own header, and the VOTable-in-Parquet header that TOPCAT reads.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table.meta import get_yaml_from_table

from distcnn.catalogue.table import Sheet, flag_table
from distcnn.catalogue.writers.astropy_table import empty_table
from distcnn.catalogue.writers.votable import frame

SUFFIXES = (".parquet",)


def write(path: Path, sheet: Sheet) -> int:
    """Write the file; returns its number of rows."""
    schema = _schema(sheet)
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in sheet.blocks():
            writer.write_table(_arrow(block, schema), row_group_size=len(block))
            rows += len(block)
    return rows


def _arrow(block: "np.ndarray[tuple[int], np.dtype[np.void]]", schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        column = np.ascontiguousarray(block[field.name])
        if column.dtype.kind == "S":
            column = column.astype(str)
        arrays.append(pa.array(column, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _schema(sheet: Sheet) -> pa.Schema:
    fields = []
    for column in sheet.columns:
        kind = np.dtype(column.dtype)
        meaning = {"unit": column.unit, "ucd": column.ucd, "description": column.description}
        arrow = pa.string() if kind.kind == "S" else pa.from_numpy_dtype(kind)
        fields.append(pa.field(column.name, arrow, nullable=False, metadata=meaning))
    return pa.schema(fields, metadata=_metadata(sheet))


def _metadata(sheet: Sheet) -> dict[str, str]:
    texts = [c for c in sheet.columns if np.dtype(c.dtype).kind == "S"]
    flags = {name: {"bit": bit, "text": text} for name, bit, text in flag_table()}
    return {
        **{fact.name: fact.value for fact in sheet.facts},
        "flags": json.dumps(flags),
        "table_meta_yaml": "\n".join(get_yaml_from_table(empty_table(sheet))),
        **{f"table::len::{c.name}": str(np.dtype(c.dtype).itemsize) for c in texts},
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": frame(sheet, data=False),
    }
