"""Gaia RVS spectra as DataLink delivers them, in each of its structures and formats.

csv, ecsv, fits or votable, also inside the zip that DataLink sends:

- INDIVIDUAL, one star per file: columns ``wavelength, flux, flux_error``, the star being a column
  ``source_id``, a PARAM of the VOTable, SOURCEID in the FITS header, ``source_id`` in the metadata
  of the ECSV, or part of the name (``RVS-Gaia DR3 4295806720.csv``);
- COMBINED, several stars per file: the same one after the other, or one TABLE or HDU per star;
- RAW, one row per star with arrays, as in the bulk files.

Missing pixels are empty fields or NaN.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.preprocess.velocity import VELOCITY_VARIABLES
from distcnn.ingest.preprocess.wavelength import is_declared, wavelengths
from distcnn.ingest.readers.base import (
    Block,
    BlockBuilder,
    ReadRequest,
    Rejected,
    broken,
    find_column,
    look_for,
)
from distcnn.ingest.readers.formats.binary import open_tables
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import (
    TableSource,
    blocks_of_each,
    of_first,
    table_sources,
)
from distcnn.ingest.readers.formats.text.arrays import text_facts
from distcnn.ingest.readers.formats.text.table import TextTable
from distcnn.ingest.readers.gaia_rvs import GaiaRvs
from distcnn.ingest.readers.statements.grids import column_wavelengths
from distcnn.ingest.readers.statements.statements import read_statements
from distcnn.ingest.readers.values.scalars import ColumnSelection, binary_blocks, text_blocks
from distcnn.schema import Reason

_PIXEL_BLOCK_ROWS = 65536
_ID_KEYS, _PLACE_KEYS = ("source_id", "sourceid"), ("spatiallocation", "pos")
"""Where the star and its position stand in the metadata, in lower case."""
_ID_IN_NAME = re.compile(r"(?:RVS[-_ ]*)?(?:Gaia[-_ ]*E?DR\d[-_ ]*)?(\d{5,19})", re.IGNORECASE)
_ECSV_META = re.compile(r"#\s+(?:-\s*\{)?(\w+):\s*(.+?)\}?\s*$")


class GaiaRvsDatalink:
    """Reader ``gaia_rvs_datalink``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        given = {k: str(v) for k, v in files.columns.items()}
        self.scalars = ("ra", "dec", *(n for n in VELOCITY_VARIABLES if n in given))
        names = {n: given.get(n, n) for n in ("wavelength", "flux", "flux_error", *self.scalars)}
        identifier = given.get("source_id", "source_id")
        self.selection = ColumnSelection(identifier, names, frozenset({"ra", "dec"}), hdu=files.hdu)
        self.grid, self.files, self.request = request.grid, files, request

    def wavelength(self, path: Path) -> Array:
        """The declared grid, or else that of the first star in the file."""
        if is_declared(self.grid):
            return wavelengths(self.grid)
        return of_first(self._sources(path), self._first_grid)

    def _sources(self, path: Path) -> Iterator[TableSource]:
        return table_sources(path, "RVS", self.files)

    def _first_grid(self, table_source: TableSource) -> Array:
        for star in self._stars(table_source):
            if len(star):
                return star.columns["wavelength"]
        raise broken(table_source.name, "no row has a source_id", row=1, cure=_NO_STAR)

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, ra, dec, flux, flux_error; ``rows`` of Block = first pixel's."""
        grid = self.wavelength(path)

        def read(table_source: TableSource) -> Iterator[Block]:
            return self._source_blocks(table_source, grid, rows, ids)

        return blocks_of_each(self._sources(path), read)

    def _source_blocks(
        self, table_source: TableSource, grid: Array, rows: int, ids: Array | None
    ) -> Iterator[Block]:
        raw = GaiaRvs(self.files, self.request)
        if table_source.format == "text":
            table = table_source.text()
            with table.stream:
                if self._is_raw(table.columns):
                    yield from raw.text_blocks(table, rows, ids)
                    return
                stars = self._stars_of(table, _ecsv_meta(table), table_source.name, ids)
                yield from self._on_grid(stars, table_source.name, grid, rows)
            return
        for opened in open_tables(table_source, self.selection.hdu):
            if self._is_raw(opened.columns):
                yield from raw.binary_blocks(opened, rows, ids)
                continue
            stars = self._stars_of(opened, opened.header, table_source.name, ids)
            yield from self._on_grid(stars, opened.name, grid, rows)

    def _on_grid(
        self, stars: Iterator[Block], file: str, grid: Array, rows: int
    ) -> Iterator[Block]:
        widths = {"flux": len(grid), "flux_error": len(grid), **dict.fromkeys(self.scalars, 0)}
        builder = BlockBuilder(file, rows, widths)
        for star in stars:
            _add(star, grid, builder)
            if builder.full:
                yield builder.take()
        yield from builder.rest()

    def _is_raw(self, columns: list[str]) -> bool:
        """Whether a table has one row per star: flux, and no column of wavelengths."""
        has_star = look_for(columns, self.selection.identifier) is not None
        return has_star and look_for(columns, self.selection.names["wavelength"]) is None

    def _stars(self, table_source: TableSource) -> Iterator[Block]:
        """One block per star, its rows being pixels."""
        if table_source.format == "text":
            table = table_source.text()
            with table.stream:
                yield from self._stars_of(table, _ecsv_meta(table), table_source.name, None)
            return
        for opened in open_tables(table_source, self.selection.hdu):
            yield from self._stars_of(opened, opened.header, table_source.name, None)

    def _stars_of(
        self,
        table: TextTable | BinaryTable,
        about: Mapping[str, Any],
        file: str,
        ids: Array | None,
    ) -> Iterator[Block]:
        selection = self._with_star(table.columns, about, file)
        read = text_blocks if isinstance(table, TextTable) else binary_blocks
        blocks = read(table, selection, rows=_PIXEL_BLOCK_ROWS, ids=ids)  # type: ignore[arg-type]
        place, stated = _place(about), self._stated(table)

        def finished(star: Block) -> Block:
            return self._in_grid_unit(_at(star, place), stated)

        # The last star of a block may go on in the next one, so it is held back.
        rest: Block | None = None
        seen = False
        for pixels in blocks:
            stars = _split(_join(rest, pixels))
            seen = seen or bool(stars)
            yield from map(finished, stars[:-1])
            rest = stars[-1] if stars else None
        if rest is not None:
            yield finished(rest)
        if not seen and ids is None:
            raise broken(file, "no row has a source_id", row=1, cure=_NO_STAR)

    def _stated(self, table: TextTable | BinaryTable) -> Statements:
        facts = text_facts(table) if isinstance(table, TextTable) else table.facts
        found = {name: look_for(table.columns, c) for name, c in self.selection.names.items()}
        columns = {name: [column] for name, column in found.items() if column is not None}
        return read_statements(facts, columns, self.request.override)

    def _in_grid_unit(self, star: Block, stated: Statements) -> Block:
        own = column_wavelengths(star.columns["wavelength"], self.grid, stated)
        return replace(star, columns={**star.columns, "wavelength": own})

    def statements(self, path: Path) -> Statements:
        """What the first table says; of units that of wavelength only."""
        return of_first(self._sources(path), self._first_statements)

    def _first_statements(self, table_source: TableSource) -> Statements:
        if table_source.format == "text":
            table = table_source.text()
            with table.stream:
                return self._stated(table)
        return self._stated(next(open_tables(table_source, self.selection.hdu)))

    def _with_star(
        self, columns: list[str], about: Mapping[str, Any], file: str
    ) -> ColumnSelection:
        """The selection, with the star of all rows where no column tells it.

        Raises
        ------
        ColumnMissing : neither a column, nor the metadata, nor the name tells the star.
        """
        identifier = self.selection.identifier
        if look_for(columns, identifier) is not None:
            return self.selection
        keys = {identifier.lower(), *_ID_KEYS}
        texts = [str(value) for key, value in about.items() if key.lower() in keys]
        stem = PurePosixPath(file.replace(":", "/")).name.partition(".")[0]
        named = _ID_IN_NAME.fullmatch(stem.strip())
        texts += [named.group(1)] if named else []
        star = next((int(text) for text in texts if re.fullmatch(r"\s*\d{1,19}\s*", text)), 0)
        if not 0 < star < 2**63:
            find_column(columns, identifier, file)  # raises
        return replace(self.selection, star=star)


_NO_STAR = "Check 'columns' and the reader: nothing in it names a star."


def _ecsv_meta(table: TextTable) -> dict[str, str]:
    """Numbers and texts that the comments of an ECSV give besides the columns."""
    found = (_ECSV_META.match(line) for line in table.comments)
    return {match.group(1): match.group(2) for match in found if match}


def _place(about: Mapping[str, Any]) -> tuple[float, float]:
    """Right ascension and declination [deg] by the metadata; NaN where it has none."""
    lower = {key.lower(): value for key, value in about.items()}
    given = lower.get("ra"), lower.get("dec")
    for key in _PLACE_KEYS:
        text = re.sub(r"[\[\](),]", " ", str(lower.get(key, "")))
        if None in given and len(text.split()) == 2:
            given = tuple(text.split())  # type: ignore[assignment]
    try:
        return float(given[0]), float(given[1])  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan, np.nan


def _at(star: Block, place: tuple[float, float]) -> Block:
    """The star with the position of the metadata where its rows have none."""
    columns = dict(star.columns)
    for name, value in zip(("ra", "dec"), place, strict=True):
        columns[name] = np.where(np.isfinite(columns[name]), columns[name], value)
    return replace(star, columns=columns)


def _join(first: Block | None, second: Block) -> Block:
    if first is None:
        return second
    rows = np.concatenate([first.rows, second.rows])
    columns = {k: np.concatenate([v, second.columns[k]]) for k, v in first.columns.items()}
    return Block(rows, columns, first.rejected + second.rejected)


def _split(block: Block) -> list[Block]:
    """One block per run of equal source_id; a star carries the rejected rows among its pixels."""
    source_id = block.columns["source_id"]
    if not len(source_id) and not block.rejected:
        return []
    cuts = np.flatnonzero(np.diff(source_id)) + 1
    bad: dict[int, list[Rejected]] = {}
    for rejected in block.rejected:
        bad.setdefault(rejected.source_id, []).append(rejected)
    runs = np.split(np.arange(len(source_id)), cuts) if len(source_id) else []
    stars = []
    for run in runs:
        own = tuple(bad.pop(int(source_id[run[0]]), []))
        stars.append(block.take(run, own))
    if bad:  # rows whose star has no good pixel here, or no readable source_id
        orphans = tuple(rejected for several in bad.values() for rejected in several)
        stars.insert(0, block.take(np.arange(0), orphans))
    return stars


def _add(star: Block, grid: Array, builder: BlockBuilder) -> None:
    """Take a star, or quarantine it for its first problem."""
    if star.rejected:
        builder.reject(star.rejected[0])
        return
    problem = _problem(star, grid)
    row, source_id = int(star.rows[0]), int(star.columns["source_id"][0])
    if problem is not None:
        builder.reject(Rejected(builder.file, row, source_id, *problem))
        return
    for name in ("flux", "flux_error"):
        builder.columns[name][builder.count] = star.columns[name]
    for name in set(builder.widths) - {"flux", "flux_error"}:
        builder.columns[name][builder.count] = star.columns[name][0]
    builder.accept(row, source_id)


def _problem(star: Block, grid: Array) -> tuple[Reason, str] | None:
    """Why a star's pixels cannot be used on the grid; None if they can."""
    found = star.columns["wavelength"]
    if len(found) != len(grid):
        detail = f"the star has {len(found)} pixels, the configuration {len(grid)}"
        return Reason.ARRAY_LENGTH, detail
    tolerance = 0.1 * abs(grid[1] - grid[0])
    off = ~(np.abs(found - grid) <= tolerance)
    if off.any():
        first = int(np.argmax(off))
        detail = f"pixel {first} is at {found[first]:.7g}, the grid has {grid[first]:.7g}"
        return Reason.GRID, detail
    return None
