"""Tables of text in columns of fixed width: IPAC, and machine-readable tables of journals (CDS).

Small products; astropy reads them, whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.io import ascii as astropy_ascii

from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.binary_table import BinaryTable, from_memory, plain_texts
from distcnn.ingest.readers.formats.containers import TableSource, sought
from distcnn.ingest.readers.formats.kinds import BEGINNING_BYTES, aligned_kind

_MAX_BYTES = 256 << 20
"""astropy takes some twenty times as much memory."""


@dataclass(frozen=True)
class AlignedTable:
    """Columns (masked where blank), units and keywords of such a table."""

    columns: dict[str, Any]
    units: dict[str, str]
    header: dict[str, Any]
    length: int


def open_aligned(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    """The table of such a text; it is the only one."""
    found = aligned_table(table_source)
    columns = {name: plain_texts(column) for name, column in found.columns.items()}
    table = from_memory(table_source.name, found.header, list(columns), columns, found.length)
    yield replace(table, units=found.units)


def aligned_table(table_source: TableSource) -> AlignedTable:
    """The table of a text in columns of fixed width.

    Raises
    ------
    FileBroken : it is too large, or astropy cannot read it.
    """
    with sought(table_source) as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        problem = f"a table in columns of fixed width of more than {_MAX_BYTES >> 20} MiB"
        raise broken(table_source.name, problem, cure="Convert it to Parquet, FITS or CSV.")
    kind = aligned_kind(content[:BEGINNING_BYTES])
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    table = astropy_ascii.read(text, format=kind, guess=False)
    keywords = table.meta.get("keywords", {})
    return AlignedTable(
        {name: np.ma.asarray(table[name]) for name in table.colnames},
        {name: str(table[name].unit) for name in table.colnames if table[name].unit is not None},
        {key: one.get("value") for key, one in keywords.items() if isinstance(one, dict)},
        len(table),
    )
