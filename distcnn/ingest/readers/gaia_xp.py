"""Gaia XP mean spectra in continuous form: 55 BP and 55 RP coefficients per star.

Bulk ``XpContinuousMeanSpectrum_*.csv.gz``; DataLink csv, ecsv, fits, votable, also inside the
zip that DataLink sends; and FITS tables with one column per coefficient (``bp_coeff_0`` ...).
Names of the Gaia DR3 data model, table xp_continuous_mean_spectrum. A star may lack BP.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from distcnn.config import FilesConfig
from distcnn.ingest.readers.base import (
    XP_COEFFICIENTS,
    Array,
    Block,
    ReadRequest,
    Rejected,
    RowProblem,
    broken,
    find_column,
    look_for,
    member_of,
)
from distcnn.ingest.readers.formats.binary import (
    BinaryTable,
    TableSource,
    as_matrix,
    open_table,
    table_sources,
)
from distcnn.ingest.readers.formats.fields import to_array, to_id
from distcnn.ingest.readers.formats.scalars import identify
from distcnn.ingest.readers.formats.text import TextTable, check_fields
from distcnn.schema import Reason

N = XP_COEFFICIENTS
PARTS = {
    "bp_coefficients": ("xp", 0),
    "bp_coefficient_errors": ("xp_error", 0),
    "rp_coefficients": ("xp", N),
    "rp_coefficient_errors": ("xp_error", N),
}
WIDE = {
    "bp_coefficients": "bp_coeff_{}",
    "bp_coefficient_errors": "e_bp_coeff_{}",
    "rp_coefficients": "rp_coeff_{}",
    "rp_coefficient_errors": "e_rp_coeff_{}",
}


class GaiaXp:
    """Reader ``gaia_xp``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        self.hdu = files.hdu
        given = {k: str(v) for k, v in files.columns.items()}
        self.identifier = given.get("source_id", "source_id")
        self.names = {part: given.get(part, part) for part in PARTS}

    def wavelength(self, path: Path) -> None:
        """XP coefficients have no wavelengths."""
        return

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, xp, xp_error (BP first, then RP; NaN where a band is missing)."""
        for table_source in table_sources(path, "XP_CONTINUOUS"):
            if table_source.format == "text":
                yield from self._from_text(table_source, rows, ids)
            else:
                table = open_table(table_source, self.hdu)
                yield from self._from_binary(table, table_source, rows, ids)

    def _from_text(
        self, table_source: TableSource, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        table = table_source.text()
        with table.stream:
            names = {
                p: find_column(table.columns, c, table_source.path) for p, c in self.names.items()
            }
            names["source_id"] = find_column(table.columns, self.identifier, table_source.path)
            places = {part: table.columns.index(column) for part, column in names.items()}
            stars = None if ids is None else set(ids.tolist())
            filling = _Filling(rows, table_source.name)
            for number, line in table.lines():
                filling.add(number, line, table, places, stars)
                if len(filling.rows) == rows:
                    yield filling.block()
            if not table.row:
                raise broken(table_source.name, "the file has a header but no rows", row=0)
            if filling.rows or filling.rejected:
                yield filling.block()

    def _from_binary(
        self, table: BinaryTable, table_source: TableSource, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        identifier = find_column(table.columns, self.identifier, table_source.path)
        wide = look_for(table.columns, self.names["bp_coefficients"]) is None
        wide = wide and look_for(table.columns, "bp_coeff_0") is not None
        names = {part: self._columns_of(part, table, table_source, wide) for part in PARTS}
        every = [identifier, *(column for columns in names.values() for column in columns)]
        for numbers, columns in table.blocks(rows, every):
            source_id, rejected = identify(columns[identifier], numbers, table_source, texts=False)
            block = Block(numbers, {"source_id": source_id}, tuple(rejected))
            block = _with_coefficients(block, columns, names, table_source)
            yield block.take(
                (block.columns["source_id"] > 0) & member_of(source_id, ids), block.rejected
            )

    def _columns_of(
        self, part: str, table: BinaryTable, table_source: TableSource, wide: bool
    ) -> list[str]:
        if not wide:
            return [find_column(table.columns, self.names[part], table_source.path)]
        names = [WIDE[part].format(index) for index in range(N)]
        return [find_column(table.columns, name, table_source.path) for name in names]


def _with_coefficients(
    block: Block,
    columns: Mapping[str, Array],
    names: Mapping[str, list[str]],
    table_source: TableSource,
) -> Block:
    shape = (len(block), 2 * N)
    out = {name: np.full(shape, np.nan, np.float32) for name in ("xp", "xp_error")}
    source_id = block.columns["source_id"].copy()
    rejected = list(block.rejected)
    for part, (variable, start) in PARTS.items():
        if len(names[part]) == 1:
            matrix, lengths = as_matrix(columns[names[part][0]], N)
        else:
            matrix = np.stack([columns[name] for name in names[part]], axis=1).astype(float)
            lengths = np.full(len(block), N)
        out[variable][:, start : start + N] = matrix
        for index in np.flatnonzero((lengths != N) & (lengths > 0) & (source_id > 0)):
            detail = f"{part} has {lengths[index]} values, expected {N}"
            row = int(block.rows[index])
            star = int(source_id[index])
            rejected.append(Rejected(table_source.name, row, star, Reason.ARRAY_LENGTH, detail))
            source_id[index] = 0
    return Block(block.rows, {"source_id": source_id, **out}, tuple(rejected))


class _Filling:
    """The block being filled from text."""

    def __init__(self, size: int, name: str) -> None:
        self.size, self.name = size, name
        self._begin()

    def _begin(self) -> None:
        self.rows: list[int] = []
        self.source_id: list[int] = []
        self.rejected: list[Rejected] = []
        shape = (self.size, 2 * N)
        self.out = {name: np.full(shape, np.nan, np.float32) for name in ("xp", "xp_error")}

    def add(
        self,
        number: int,
        line: bytes,
        table: TextTable,
        places: dict[str, int],
        stars: set[int] | None,
    ) -> None:
        source_id, at = 0, len(self.rows)
        try:
            fields = check_fields(line, table)
            source_id = to_id(fields[places["source_id"]])
            if stars is not None and source_id not in stars:
                return
            for part, (variable, start) in PARTS.items():
                field = fields[places[part]].strip()
                values = to_array(field, N, part) if len(field) > 4 else np.nan
                self.out[variable][at, start : start + N] = values
        except RowProblem as problem:
            rejected = Rejected(self.name, number, source_id, problem.reason, problem.detail)
            self.rejected.append(rejected)
            return
        self.rows.append(number)
        self.source_id.append(source_id)

    def block(self) -> Block:
        count = len(self.rows)
        columns = {name: values[:count] for name, values in self.out.items()}
        source_id = np.array(self.source_id, np.int64)
        rows = np.array(self.rows, np.int64)
        block = Block(rows, {"source_id": source_id, **columns}, tuple(self.rejected))
        self._begin()
        return block
