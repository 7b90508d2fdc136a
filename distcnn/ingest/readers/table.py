"""Any survey by configuration: a FITS, Parquet, VOTable or CSV table of one row per star.

``columns`` names the file's column of each variable; a table may serve as spectra, source and
labels at once. Identifiers may be texts. The wavelength grid is declared, or stands in the
header (CRVAL1 and CDELT1, COEFF0 and COEFF1, WAVE0 and DWAVE), or in a column.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.errors import ConfigError, GridMismatch
from distcnn.ingest.preprocess.wavelength import is_declared, same_grid, wavelengths
from distcnn.ingest.readers.base import (
    XP_COEFFICIENTS,
    Block,
    ReadRequest,
    find_column,
    look_for,
)
from distcnn.ingest.readers.formats.arrays import array_blocks
from distcnn.ingest.readers.formats.binary import (
    BinaryTable,
    open_table,
)
from distcnn.ingest.readers.formats.containers import (
    TableSource,
    blocks_of_each,
    of_first,
    table_sources,
)
from distcnn.ingest.readers.formats.labels import label_blocks, label_selection
from distcnn.ingest.readers.formats.scalars import ColumnSelection, scalar_blocks
from distcnn.ingest.readers.gaia_rvs import GaiaRvs
from distcnn.ingest.readers.gaia_source import gather_bands

_HEADER_GRIDS = (  # first value, step, reference pixel, log10 of wavelength
    ("COEFF0", "COEFF1", None, True),
    ("CRVAL1", "CDELT1", "CRPIX1", False),
    ("CRVAL1", "CD1_1", "CRPIX1", False),
    ("WAVE0", "DWAVE", None, False),
)


class Table:
    """Reader ``table``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        self.files, self.request = files, request
        self.given = dict(files.columns)

    def _name(self, variable: str) -> str:
        name = self.given.get(variable, variable)
        if isinstance(name, tuple):
            raise ConfigError(f"columns.{variable} = {name}", expected="one column")
        return name

    def _sources(self, path: Path) -> Iterator[TableSource]:
        files = self.files
        return table_sources(path, members=files.member_patterns, delimiter=files.delimiter)

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with the variables of the kind that was asked for."""
        sources = self._sources(path)
        return blocks_of_each(sources, lambda source: self._blocks(source, rows, ids))

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
            )
            labels = self.request.labels
            yield from label_blocks(table_source, selection, labels, rows=rows, ids=ids)
        elif self.request.kind == "source":
            selection = self._source_selection()
            for block in scalar_blocks(table_source, selection, rows=rows, ids=ids):
                yield gather_bands(block, self.request.bands)
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
        sources = self._sources(path)
        return of_first(sources, lambda source: self._grid_of(source, path))

    def _grid_of(self, table_source: TableSource, path: Path) -> Array:
        declared = wavelengths(self.request.grid) if is_declared(self.request.grid) else None
        if table_source.format == "text":
            return declared if declared is not None else wavelengths(self.request.grid)
        table = open_table(table_source, self.files.hdu)
        if "wavelength" in self.given:
            column = find_column(table.columns, self._name("wavelength"), path)
            _, first = next(table.blocks(1, [column]))
            return np.asarray(first[column][0], float)
        found = header_grid(table.header, self._pixels(table, path))
        if declared is not None and found is not None:
            _check_grid(path, found, declared)
        grid = found if declared is None else declared
        return grid if grid is not None else wavelengths(self.request.grid)

    def _flux_columns(self, table: BinaryTable, path: Path, variable: str) -> list[str]:
        names = self.given.get(variable, variable)
        names = (names,) if isinstance(names, str) else names
        return [find_column(table.columns, name, path) for name in names]

    def _pixels(self, table: BinaryTable, path: Path) -> int:
        columns = self._flux_columns(table, path, "flux")
        if len(columns) > 1:
            return len(columns)
        return int(np.size(next(table.blocks(1, columns))[1][columns[0]][0]))

    def _spectra(self, table_source: TableSource, rows: int, ids: Array | None) -> Iterator[Block]:
        optional = [n for n in ("flux_error", "ra", "dec", "snr") if n in self.given]
        if table_source.format == "text":
            names = ("source_id", "flux", *optional)
            reader = GaiaRvs(self.files, self.request, names, texts=True)
            yield from reader.source_blocks(table_source, rows, ids)
            return
        table = open_table(table_source, self.files.hdu)
        grid = self._grid_of(table_source, Path(table_source.name))
        identifier = find_column(table.columns, self._name("source_id"), table_source.name)
        arrays = ["flux", *(n for n in ("flux_error", "wavelength") if n in self.given)]
        if look_for(table.columns, "flux_error") and "flux_error" not in arrays:
            arrays.append("flux_error")
        columns = {n: self._flux_columns(table, Path(table_source.name), n) for n in arrays}
        for name in (n for n in optional if n != "flux_error"):
            columns[name] = [find_column(table.columns, self._name(name), table_source.name)]
        yield from array_blocks(
            table, identifier, columns, pixels=len(grid), texts=True, rows=rows, ids=ids
        )

    def _xp(self, table_source: TableSource, rows: int, ids: Array | None) -> Iterator[Block]:
        table = open_table(table_source, self.files.hdu)
        identifier = find_column(table.columns, self._name("source_id"), table_source.name)
        columns = {
            n: self._flux_columns(table, Path(table_source.name), n) for n in ("xp", "xp_error")
        }
        pixels = 2 * XP_COEFFICIENTS
        yield from array_blocks(
            table, identifier, columns, pixels=pixels, texts=True, rows=rows, ids=ids
        )


def header_grid(header: Mapping[str, Any], pixels: int) -> Array | None:
    """Wavelengths from a table's header or metadata; None if it has no known pair of keys."""
    for first, step, reference, log in _HEADER_GRIDS:
        if first in header and step in header:
            origin = float(header.get(reference, 1)) - 1 if reference else 0.0
            values = float(header[first]) + float(header[step]) * (np.arange(pixels) - origin)
            grid: Array = 10.0**values if log or int(header.get("DC-FLAG", 0)) == 1 else values
            return grid
    return None


def _check_grid(path: Path, found: Array, declared: Array) -> None:
    if same_grid(found, declared):
        return
    raise GridMismatch(
        f"{path}, row 0 (header): the spectra have {len(found)} pixels from {found[0]:.6g} to "
        f"{found[-1]:.6g}",
        expected=f"{len(declared)} pixels from {declared[0]:.6g} to {declared[-1]:.6g}",
        cure="Correct ingest.grid, or leave its start, step and size out and give "
        "ingest.prepare.target, a common grid.",
    )
