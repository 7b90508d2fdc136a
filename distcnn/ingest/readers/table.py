"""Any survey by configuration: a FITS, Parquet, VOTable or CSV table of one row per star.

``columns`` names the file's column of each variable; a table may serve as spectra, source and
labels at once. Identifiers may be texts. The wavelength grid is declared, or stands in the
header (CRVAL1 and CDELT1, COEFF0 and COEFF1, WAVE0 and DWAVE), or in a column. What the file says
of units, medium, frame and errors is compared with the settings (``statements``).
"""

from collections.abc import Iterator
from pathlib import Path

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.errors import ConfigError
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.readers.base import (
    Block,
    ReadRequest,
    find_column,
)
from distcnn.ingest.readers.formats.binary import open_table
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import (
    TableSource,
    blocks_of_each,
    of_first,
    table_sources,
)
from distcnn.ingest.readers.formats.text.table import TextTable
from distcnn.ingest.readers.gaia_rvs import GaiaRvs
from distcnn.ingest.readers.gaia_source import gather_bands
from distcnn.ingest.readers.tables.arrays import ONE_NUMBER
from distcnn.ingest.readers.tables.spectra_table import SpectraTable
from distcnn.ingest.readers.tables.xp_table import VARIABLES, xp_blocks, xp_pieces
from distcnn.ingest.readers.values.crosswalk import crosswalk_blocks
from distcnn.ingest.readers.values.labels import label_blocks, label_selection
from distcnn.ingest.readers.values.scalars import ColumnSelection, scalar_blocks


class Table:
    """Reader ``table``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        self.files, self.request = files, request
        self.given = dict(files.columns)
        self._last: SpectraTable | None = None

    def _name(self, variable: str) -> str:
        name = self.given.get(variable, variable)
        if isinstance(name, tuple):
            raise ConfigError(f"columns.{variable} = {name}", expected="one column")
        return name

    def _sources(self, path: Path) -> Iterator[TableSource]:
        return table_sources(path, files=self.files)

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with the variables of the kind that was asked for."""
        return blocks_of_each(self._sources(path), lambda source: self._blocks(source, rows, ids))

    def _blocks(self, table_source: TableSource, rows: int, ids: Array | None) -> Iterator[Block]:
        if self.request.kind == "spectra":
            yield from self._spectra(table_source, rows, ids)
        elif self.request.kind == "labels":
            columns = {k: v for k, v in self.given.items() if isinstance(v, str)}
            selection = label_selection(
                self.request.labels,
                self.request.cuts,
                columns,
                identifier=self._name("source_id"),
                texts=True,
                hdu=self.files.hdu,
                velocity=self.request.velocity,
            )
            labels = self.request.labels
            yield from label_blocks(table_source, selection, labels, rows=rows, ids=ids)
        elif self.request.kind == "source":
            selection = self._source_selection()
            for block in scalar_blocks(table_source, selection, rows=rows, ids=ids):
                yield gather_bands(block, self.request.bands)
        elif self.request.kind == "crosswalk":
            columns = {k: self._name(k) for k in self.given}
            cuts, hdu = self.request.cuts, self.files.hdu
            yield from crosswalk_blocks(table_source, columns, cuts, hdu=hdu, rows=rows, ids=ids)
        else:
            yield from self._xp(table_source, rows, ids)

    def _source_selection(self) -> ColumnSelection:
        names = {n: self._name(n) for n in ("ra", "dec", "parallax", "parallax_error", "snr")}
        bands = self.given.get("photometry", self.request.bands)
        bands = (bands,) if isinstance(bands, str) else bands
        if len(bands) != len(self.request.bands):
            raise ConfigError(
                f"columns.photometry names {len(bands)} columns",
                expected=f"{len(self.request.bands)}, one for each of ingest.bands",
            )
        optional = frozenset(name for name in names if name not in self.given)
        names |= {name: self._name(name) for name in self.request.scalars}
        for band, column in zip(self.request.bands, bands, strict=True):
            names[f"band/{band}"] = column
        return ColumnSelection(self._name("source_id"), names, optional, True, self.files.hdu)

    def wavelength(self, path: Path) -> Array:
        """The grid of a file of spectra: declared, of the header, or of the first row's column."""
        return of_first(self._sources(path), lambda source: self._opened(source).wavelength())

    def statements(self, path: Path) -> Statements:
        """Units, medium, frame and kind of error that a file of spectra states."""
        return of_first(self._sources(path), lambda source: self._opened(source).stated)

    def _opened(self, table_source: TableSource) -> SpectraTable:
        # One is kept, for a file is asked for its grid and its statements before its rows.
        if self._last is None or self._last.source.name != table_source.name:
            self._last = SpectraTable(table_source, self.files, self.request)
        self._last.source = table_source  # a zip archive that was opened again
        return self._last

    def _spectra(self, table_source: TableSource, rows: int, ids: Array | None) -> Iterator[Block]:
        table = self._opened(table_source)
        if table_source.format == "text" and table.is_plain:
            table.wavelength()  # raises if the header contradicts the declared grid
            optional = [n for n in ("flux_error", *ONE_NUMBER) if n in table.columns]
            names = ("source_id", "flux", *optional)
            reader = GaiaRvs(self.files, self.request, names, texts=True)
            yield from reader.source_blocks(table_source, rows, ids)
            return
        yield from table.blocks(rows, ids)

    def _xp(self, table_source: TableSource, rows: int, ids: Array | None) -> Iterator[Block]:
        if table_source.format != "text":
            yield from self._xp_of(open_table(table_source, self.files.hdu), rows, ids)
            return
        text = table_source.text()
        with text.stream:
            yield from self._xp_of(text, rows, ids)

    def _xp_of(
        self, table: BinaryTable | TextTable, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        name = table.name if isinstance(table, BinaryTable) else str(table.path)
        identifier = find_column(table.columns, self._name("source_id"), name)
        given = {variable: c for variable, c in self.given.items() if variable in VARIABLES}
        pieces = xp_pieces(table.columns, given, name)
        yield from xp_blocks(table, identifier, pieces, texts=True, rows=rows, ids=ids)
