"""Gaia XP mean spectra in continuous form: 55 BP and 55 RP coefficients per star.

Bulk ``XpContinuousMeanSpectrum_*.csv.gz``; DataLink csv, ecsv, fits, votable, also inside the
zip that DataLink sends; and FITS tables with one column per coefficient (``bp_coeff_0`` ...).
Names of the Gaia DR3 data model, table xp_continuous_mean_spectrum. A star may lack BP.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.ingest.readers.base import (
    XP_COEFFICIENTS,
    Block,
    BlockBuilder,
    ReadRequest,
    Rejected,
    find_column,
    look_for,
    member_of,
)
from distcnn.ingest.readers.formats.arrays import stacked
from distcnn.ingest.readers.formats.binary import (
    BinaryTable,
    open_tables,
)
from distcnn.ingest.readers.formats.containers import TableSource, blocks_of_each, table_sources
from distcnn.ingest.readers.formats.fields import to_array
from distcnn.ingest.readers.formats.text import blocks_by_row
from distcnn.ingest.readers.formats.text_arrays import ArrayText
from distcnn.ingest.readers.values.identifiers import identify as identify_value
from distcnn.ingest.readers.values.numbers import arrays, text_of
from distcnn.ingest.readers.values.scalars import identify, reject, star_columns
from distcnn.schema import Reason

PER_BAND = XP_COEFFICIENTS
ARRAY_COLUMNS = {
    "bp_coefficients": ("xp", 0),
    "bp_coefficient_errors": ("xp_error", 0),
    "rp_coefficients": ("xp", PER_BAND),
    "rp_coefficient_errors": ("xp_error", PER_BAND),
}
NUMBERED_COLUMNS = {
    "bp_coefficients": "bp_coeff_{}",
    "bp_coefficient_errors": "e_bp_coeff_{}",
    "rp_coefficients": "rp_coeff_{}",
    "rp_coefficient_errors": "e_rp_coeff_{}",
}


class GaiaXp:
    """Reader ``gaia_xp``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        self.hdu, self.members = files.hdu, files.member_patterns
        self.delimiter = files.delimiter
        given = {k: str(v) for k, v in files.columns.items()}
        self.identifier = given.get("source_id", "source_id")
        self.names = {name: given.get(name, name) for name in ARRAY_COLUMNS}

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, xp, xp_error (BP first, then RP; NaN where a band is missing)."""

        def read(table_source: TableSource) -> Iterator[Block]:
            if table_source.format == "text":
                yield from self._from_text(table_source, rows, ids)
                return
            # One TABLE, or extension, per star where DataLink was asked for COMBINED products.
            for table in open_tables(table_source, self.hdu):
                yield from self._from_binary(table, table_source, rows, ids)

        return blocks_of_each(
            table_sources(path, "XP_CONTINUOUS", self.members, self.delimiter), read
        )

    def _numbered(self, columns: list[str]) -> bool:
        arrays = look_for(columns, self.names["bp_coefficients"])
        return arrays is None and look_for(columns, "bp_coeff_0") is not None

    def _from_text(
        self, table_source: TableSource, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        table, path = table_source.text(), table_source.path
        with table.stream:
            if self._numbered(table.columns):
                identifier = look_for(table.columns, self.identifier)
                wide = ArrayText(table, [identifier or ""])
                yield from self._from_binary(wide, table_source, rows, ids)
                return
            place = table.columns.index(find_column(table.columns, self.identifier, path))
            names = {name: find_column(table.columns, c, path) for name, c in self.names.items()}
            places = {name: table.columns.index(column) for name, column in names.items()}

            def identify(fields: list[bytes]) -> int:
                return identify_value(text_of(fields[place]), names=False)[0]

            def fill(fields: list[bytes], builder: BlockBuilder) -> None:
                for array, (variable, start) in ARRAY_COLUMNS.items():
                    text = fields[places[array]].strip()
                    # No bracketed array is shorter than that: "null" or nothing, a missing band.
                    values = to_array(text, PER_BAND, array) if len(text) > len(b"null") else np.nan
                    builder.columns[variable][builder.count, start : start + PER_BAND] = values

            builder = BlockBuilder(
                table_source.name, rows, {"xp": 2 * PER_BAND, "xp_error": 2 * PER_BAND}
            )
            yield from blocks_by_row(table, builder, identify, fill, ids)

    def _from_binary(
        self,
        table: BinaryTable | ArrayText,
        table_source: TableSource,
        rows: int,
        ids: Array | None,
    ) -> Iterator[Block]:
        identifier = find_column(table.columns, self.identifier, table_source.name)
        wide = self._numbered(table.columns)
        names = {
            array: self._columns_of(array, table, table_source, wide) for array in ARRAY_COLUMNS
        }
        every = [identifier, *(column for columns in names.values() for column in columns)]
        for numbers, columns in table.blocks(rows, every):
            stars, rejected = identify(columns[identifier], numbers, table.name, texts=False)
            rejected += table.take_rejected() if isinstance(table, ArrayText) else ()
            block = Block(numbers, star_columns(stars), tuple(rejected))
            block = _with_coefficients(block, columns, names, table_source)
            yield block.take(
                (block.columns["source_id"] > 0) & member_of(stars.source_id, ids), block.rejected
            )

    def _columns_of(
        self, array: str, table: BinaryTable | ArrayText, table_source: TableSource, wide: bool
    ) -> list[str]:
        if not wide:
            return [find_column(table.columns, self.names[array], table_source.name)]
        names = [NUMBERED_COLUMNS[array].format(index) for index in range(PER_BAND)]
        return [find_column(table.columns, name, table_source.name) for name in names]


def _with_coefficients(
    block: Block,
    columns: Mapping[str, Array],
    names: Mapping[str, list[str]],
    table_source: TableSource,
) -> Block:
    shape = (len(block), 2 * PER_BAND)
    out = {name: np.full(shape, np.nan, np.float32) for name in ("xp", "xp_error")}
    source_id = block.columns["source_id"].copy()
    rejected = list(block.rejected)
    for array, (variable, start) in ARRAY_COLUMNS.items():
        if len(names[array]) == 1:
            matrix, lengths, bad = arrays(columns[names[array][0]], PER_BAND, array)
        else:
            matrix, bad = stacked(columns, names[array], table_source.name)
            lengths = np.full(len(block), PER_BAND)
        reject(source_id, bad, block.rows, table_source.name, rejected)
        out[variable][:, start : start + PER_BAND] = matrix
        for index in np.flatnonzero((lengths != PER_BAND) & (lengths > 0) & (source_id > 0)):
            detail = f"{array} has {lengths[index]} values, expected {PER_BAND}"
            row = int(block.rows[index])
            star = int(source_id[index])
            rejected.append(Rejected(table_source.name, row, star, Reason.ARRAY_LENGTH, detail))
            source_id[index] = 0
    return Block(block.rows, {**block.columns, "source_id": source_id, **out}, tuple(rejected))
