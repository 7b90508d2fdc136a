"""Gaia RVS spectra as DataLink delivers them: one row per pixel, one or more stars per file.

Columns ``source_id, wavelength, flux, flux_error`` (and ``ra, dec``); csv, ecsv, fits or
votable, also inside the zip that DataLink sends. Missing pixels are empty fields.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.ingest.preprocess.wavelength import is_declared, wavelengths
from distcnn.ingest.readers.base import Block, BlockBuilder, ReadRequest, Rejected, broken
from distcnn.ingest.readers.formats.containers import table_sources
from distcnn.ingest.readers.formats.scalars import ColumnSelection, scalar_blocks
from distcnn.schema import Reason

_PIXEL_BLOCK_ROWS = 65536


class GaiaRvsDatalink:
    """Reader ``gaia_rvs_datalink``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        given = {k: str(v) for k, v in files.columns.items()}
        names = {n: given.get(n, n) for n in ("wavelength", "flux", "flux_error", "ra", "dec")}
        identifier = given.get("source_id", "source_id")
        self.selection = ColumnSelection(identifier, names, frozenset({"ra", "dec"}), hdu=files.hdu)
        self.grid = request.grid

    def wavelength(self, path: Path) -> Array:
        """The declared grid, or else that of the first star in the file."""
        if is_declared(self.grid):
            return wavelengths(self.grid)
        return next(self._stars(path, None)).columns["wavelength"]

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, ra, dec, flux, flux_error; ``rows`` of Block = first pixel's."""
        grid = self.wavelength(path)
        widths = {"flux": len(grid), "flux_error": len(grid), "ra": 0, "dec": 0}
        builder = BlockBuilder(str(path), rows, widths)
        for star in self._stars(path, ids):
            _add(star, grid, builder)
            if builder.full:
                yield builder.take()
        yield from builder.rest()

    def _stars(self, path: Path, ids: Array | None) -> Iterator[Block]:
        """One block per star, its rows being pixels."""
        for table_source in table_sources(path, "RVS"):
            # The last star of a block may go on in the next one, so it is held back.
            rest: Block | None = None
            seen = False
            for pixels in scalar_blocks(
                table_source, self.selection, rows=_PIXEL_BLOCK_ROWS, ids=ids
            ):
                stars = _split(_join(rest, pixels))
                seen = seen or bool(stars)
                yield from stars[:-1]
                rest = stars[-1] if stars else None
            if rest is not None:
                yield rest
            if not seen and ids is None:
                raise broken(table_source.name, "no row has a source_id", row=1)


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
    for name in ("ra", "dec"):
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
