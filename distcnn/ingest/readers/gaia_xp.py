"""Gaia XP mean spectra in continuous form: 55 BP and 55 RP coefficients per star.

Bulk ``XpContinuousMeanSpectrum_*.csv.gz``; DataLink csv, ecsv, fits, votable, also inside the
zip that DataLink sends; and tables of every other layout (``tables.xp_table``).
Names of the Gaia DR3 data model, table xp_continuous_mean_spectrum. A star may lack BP.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.ingest.readers.base import (
    XP_COEFFICIENTS,
    Block,
    BlockBuilder,
    ReadRequest,
    find_column,
)
from distcnn.ingest.readers.formats.binary import open_tables
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource, blocks_of_each, table_sources
from distcnn.ingest.readers.formats.text.fields import to_array
from distcnn.ingest.readers.formats.text.table import TextTable, blocks_by_row
from distcnn.ingest.readers.tables.xp_table import VARIABLES, XpPiece, xp_blocks, xp_pieces
from distcnn.ingest.readers.values.identifiers import identify as identify_value
from distcnn.ingest.readers.values.numbers import masks_of, text_of

PER_BAND = XP_COEFFICIENTS
ARRAY_COLUMNS = {
    "bp_coefficients": ("xp", 0),
    "bp_coefficient_errors": ("xp_error", 0),
    "rp_coefficients": ("xp", PER_BAND),
    "rp_coefficient_errors": ("xp_error", PER_BAND),
}


class GaiaXp:
    """Reader ``gaia_xp``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        self.hdu, self.files = files.hdu, files
        self.given = {name: column for name, column in files.columns.items() if name in VARIABLES}
        self.identifier = str(files.columns.get("source_id", "source_id"))

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, xp, xp_error (BP first, then RP; NaN where a band is missing)."""

        def read(table_source: TableSource) -> Iterator[Block]:
            if table_source.format == "text":
                yield from self._from_text(table_source, rows, ids)
                return
            # One TABLE, or extension, per star where DataLink was asked for COMBINED products.
            for table in open_tables(table_source, self.hdu):
                yield from self._from_binary(table, rows, ids)

        return blocks_of_each(table_sources(path, "XP_CONTINUOUS", self.files), read)

    def _from_text(
        self, table_source: TableSource, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        table = table_source.text()
        with table.stream:
            name = str(table.path)
            identifier = find_column(table.columns, self.identifier, name)
            pieces = xp_pieces(table.columns, self.given, name)
            if _is_an_array_per_band(pieces, table.columns):
                yield from self._from_arrays(table, identifier, pieces, rows, ids)
                return
            yield from xp_blocks(table, identifier, pieces, texts=False, rows=rows, ids=ids)

    def _from_arrays(
        self,
        table: TextTable,
        identifier: str,
        pieces: Sequence[XpPiece],
        rows: int,
        ids: Array | None,
    ) -> Iterator[Block]:
        """Fast path of ``xp_blocks`` for bulk files; same, tested in test_ingest_xp.py."""
        place = table.columns.index(identifier)
        places = [table.columns.index(piece.columns[0]) for piece in pieces]

        def identify(fields: list[bytes]) -> int:
            return identify_value(text_of(fields[place]), names=False)[0]

        def fill(fields: list[bytes], builder: BlockBuilder) -> None:
            for at, piece in zip(places, pieces, strict=True):
                text = fields[at].strip()
                # No bracketed array is shorter than that: "null" or nothing, a missing band.
                missing = len(text) <= len(b"null")
                values = np.nan if missing else to_array(text, PER_BAND, piece.columns[0])
                row = builder.columns[piece.variable][builder.count]
                row[piece.start : piece.start + PER_BAND] = values

        widths = {"xp": 2 * PER_BAND, "xp_error": 2 * PER_BAND}
        builder = BlockBuilder(str(table.path), rows, widths)
        yield from blocks_by_row(table, builder, identify, fill, ids)

    def _from_binary(self, table: BinaryTable, rows: int, ids: Array | None) -> Iterator[Block]:
        identifier = find_column(table.columns, self.identifier, table.name)
        pieces = xp_pieces(table.columns, self.given, table.name)
        yield from xp_blocks(table, identifier, pieces, texts=False, rows=rows, ids=ids)


def _is_an_array_per_band(pieces: Sequence[XpPiece], names: Sequence[str]) -> bool:
    whole = len(pieces) == len(ARRAY_COLUMNS)
    masks = masks_of([column for piece in pieces for column in piece.columns], names)
    return whole and not masks and all(len(piece.columns) == 1 for piece in pieces)
