"""Gaia RVS mean spectra in bulk: ``RvsMeanSpectrum_aaaaaa-bbbbbb.csv.gz``, or RAW of DataLink.

One row per star, flux and error as quoted arrays on the release's common grid
(DR3: 2401 pixels of 0.01 nm from 846 nm, vacuum, stellar rest frame; Gaia DR3
documentation 20.12.1, table rvs_mean_spectrum).
"""

from collections.abc import Iterator
from pathlib import Path

from distcnn.arrays import Array
from distcnn.config import FilesConfig, GridConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.preprocess.statements import SILENT, Statements
from distcnn.ingest.preprocess.velocity import VELOCITY_VARIABLES
from distcnn.ingest.preprocess.wavelength import wavelengths
from distcnn.ingest.readers.base import (
    Block,
    BlockBuilder,
    ReadRequest,
    find_column,
)
from distcnn.ingest.readers.formats.binary import open_tables
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource, blocks_of_each, table_sources
from distcnn.ingest.readers.formats.text.fields import to_array, to_float
from distcnn.ingest.readers.formats.text.table import TextTable, blocks_by_row
from distcnn.ingest.readers.tables.arrays import array_blocks
from distcnn.ingest.readers.values.identifiers import KINDS, kept_name
from distcnn.ingest.readers.values.identifiers import identify as identify_value
from distcnn.ingest.readers.values.numbers import text_of

COLUMNS = ("source_id", "ra", "dec", "flux", "flux_error")
ARRAYS = ("flux", "flux_error")


class GaiaRvs:
    """Reader ``gaia_rvs``.

    ``columns`` are those that must be there; ``texts`` allows text identifiers.
    """

    def __init__(
        self,
        files: FilesConfig,
        request: ReadRequest,
        columns: tuple[str, ...] = COLUMNS,
        texts: bool = False,
    ) -> None:
        given = {k: str(v) for k, v in files.columns.items()}
        columns = (*columns, *(n for n in VELOCITY_VARIABLES if n in given and n not in columns))
        self.columns = {name: given.get(name, name) for name in columns}
        self.hdu, self.files, self.texts = files.hdu, files, texts
        self.grid: GridConfig = request.grid
        self.pixels = len(wavelengths(request.grid))

    def wavelength(self, path: Path) -> Array:
        """The declared grid: the files do not hold one."""
        return wavelengths(self.grid)

    def statements(self, path: Path) -> Statements:
        """Nothing: the files have columns of flux alone."""
        return SILENT

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, ra, dec, flux, flux_error."""
        sources = table_sources(path, "RVS", self.files)
        return blocks_of_each(sources, lambda source: self.source_blocks(source, rows, ids))

    def source_blocks(
        self, table_source: TableSource, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        """Blocks of one table."""
        if table_source.format == "text":
            table = table_source.text()
            with table.stream:
                yield from self.text_blocks(table, rows, ids)
            return
        for opened in open_tables(table_source, self.hdu):
            yield from self.binary_blocks(opened, rows, ids)

    def binary_blocks(self, table: BinaryTable, rows: int, ids: Array | None) -> Iterator[Block]:
        """Blocks of a binary table that is open."""
        names = {k: [find_column(table.columns, v, table.name)] for k, v in self.columns.items()}
        identifier = names.pop("source_id")[0]
        return array_blocks(
            table, identifier, names, pixels=self.pixels, texts=False, rows=rows, ids=ids
        )

    def text_blocks(self, table: TextTable, rows: int, ids: Array | None) -> Iterator[Block]:
        """Blocks of a text table that is open."""
        names = {k: find_column(table.columns, v, table.path) for k, v in self.columns.items()}
        places = {name: table.columns.index(column) for name, column in names.items()}
        place = places.pop("source_id")
        arrays = [(name, places[name]) for name in places if name in ARRAYS]
        scalars = [(name, places[name]) for name in places if name not in ARRAYS]

        def identify(fields: list[bytes]) -> int:
            star = identify_value(text_of(fields[place]), names=self.texts)
            builder.columns["id_kind"][builder.count] = KINDS.index(star[1])
            builder.columns["name"][builder.count] = kept_name(star[2])
            return star[0]

        def fill(fields: list[bytes], builder: BlockBuilder) -> None:
            for name, at in arrays:
                builder.columns[name][builder.count] = to_array(fields[at], self.pixels, name)
            for name, at in scalars:
                builder.columns[name][builder.count] = to_float(fields[at], name)

        widths = {name: self.pixels if name in ARRAYS else 0 for name in places}
        builder = BlockBuilder(str(table.path), rows, widths)
        yield from blocks_by_row(table, builder, identify, fill, ids)
        # One bad star is quarantined; if all have the same other length, the grid is wrong.
        lengths = builder.rejected_lengths
        if not builder.accepted and len(lengths) == 1 and min(lengths) > 0:
            raise self._other_grid(table, min(lengths))

    def _other_grid(self, table: TextTable, length: int) -> GridMismatch:
        return GridMismatch(
            f"{table.path}, row 1: every spectrum has {length} pixels",
            expected=f"{self.pixels} pixels of {self.grid.step} {self.grid.unit}",
            cure="Set ingest.grid to the grid of this release.",
        )
