"""A catalogue format of one folder, to prove that export and its kit serve folders as well.

``PART-n.parquet`` hold the blocks as the Parquet writer writes them.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from distcnn.catalogue.table import CatalogueTable
from distcnn.catalogue.writers import CatalogueHeader, WriterEntry, parquet

ENTRY = WriterEntry("parquet_folder", (".parts",), "folder")


def write(path: Path, table: CatalogueTable) -> int:
    """One Parquet file per block; returns the number of rows."""
    total = 0
    for number, block in enumerate(table.blocks()):

        def blocks(block: np.ndarray = block) -> Iterator[np.ndarray]:
            yield block

        part = replace(table, rows=len(block), blocks=blocks)
        total += parquet.write(path / f"PART-{number}.parquet", part)
    return total


def read_header(path: Path) -> CatalogueHeader:
    """Header entries and columns of the first part, rows of all."""
    headers = [parquet.read_header(part) for part in sorted(path.glob("PART-*.parquet"))]
    if not headers:
        raise ValueError("it has no parts")
    return replace(headers[0], rows=sum(header.rows for header in headers))
