"""Gaia source table: ``GaiaSource_aaaaaa-bbbbbb.csv.gz`` or a query's csv, ecsv or votable.

Column names and units of the Gaia DR3 data model, table gaia_source.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.ingest.readers.base import Block, ReadRequest
from distcnn.ingest.readers.formats.containers import TableSource, blocks_of_each, table_sources
from distcnn.ingest.readers.values.scalars import ColumnSelection, scalar_blocks

COLUMNS = {
    "ra": "ra",
    "dec": "dec",
    "parallax": "parallax",
    "parallax_error": "parallax_error",
    "snr": "rvs_spec_sig_to_noise",
}


class GaiaSource:
    """Reader ``gaia_source``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        given = {k: str(v) for k, v in files.columns.items()}
        self.bands, self.files = request.bands, files
        names = {k: given.get(k, v) for k, v in COLUMNS.items()}
        names |= {f"band/{band}": given.get(band, band) for band in request.bands}
        names |= {name: given[name] for name in request.scalars}
        identifier = given.get("source_id", "source_id")
        optional = frozenset({"snr"})
        self.selection = ColumnSelection(identifier, names, optional, hdu=files.hdu)

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, ra, dec, parallax, parallax_error, snr, photometry, scalars."""

        def read(table_source: TableSource) -> Iterator[Block]:
            return scalar_blocks(table_source, self.selection, rows=rows, ids=ids)

        sources = table_sources(path, files=self.files)
        for block in blocks_of_each(sources, read):
            yield gather_bands(block, self.bands)


def gather_bands(block: Block, bands: tuple[str, ...]) -> Block:
    """Columns ``band/NAME`` joined to ``photometry [n, K]`` in the order of the bands."""
    columns = {k: v for k, v in block.columns.items() if not k.startswith("band/")}
    magnitudes = [block.columns[f"band/{band}"] for band in bands]
    if bands:
        columns["photometry"] = np.stack(magnitudes, axis=1)
    return Block(block.rows, columns, block.rejected)
