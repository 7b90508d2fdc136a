"""Gaia RVS mean spectra in bulk: ``RvsMeanSpectrum_aaaaaa-bbbbbb.csv.gz``.

One row per star, flux and error as quoted arrays on the release's common grid
(DR3: 2401 pixels of 0.01 nm from 846 nm, vacuum, stellar rest frame; Gaia DR3
documentation 20.12.1, table rvs_mean_spectrum).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distcnn.config import FilesConfig, GridConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.preprocess.wavelength import wavelengths
from distcnn.ingest.readers.base import (
    Array,
    Block,
    ReadRequest,
    Rejected,
    RowProblem,
    broken,
    find_column,
)
from distcnn.ingest.readers.formats.binary import table_sources
from distcnn.ingest.readers.formats.fields import name_to_id, to_array, to_float, to_id
from distcnn.ingest.readers.formats.text import TextTable, check_fields

COLUMNS = ("source_id", "ra", "dec", "flux", "flux_error")


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
        self.columns = {name: given.get(name, name) for name in columns}
        self.texts = texts
        self.grid: GridConfig = request.grid
        self.pixels = len(wavelengths(request.grid))

    def wavelength(self, path: Path) -> Array:
        """The declared grid: the files do not hold one."""
        return wavelengths(self.grid)

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, ra, dec, flux, flux_error."""
        for table_source in table_sources(path):
            table = table_source.text()
            with table.stream:
                yield from self._blocks(table, rows, ids)

    def _blocks(self, table: TextTable, rows: int, ids: Array | None) -> Iterator[Block]:
        names = {k: find_column(table.columns, v, table.path) for k, v in self.columns.items()}
        places = {k: table.columns.index(v) for k, v in names.items()}
        stars = None if ids is None else set(ids.tolist())
        work = _Work(table, self.pixels, rows, tuple(places), self.texts)
        for number, line in table.lines():
            work.add(number, line, places, stars)
            if work.full:
                yield work.block()
        if not table.row:
            raise broken(table.path, "the file has a header but no rows", row=0)
        if work.count or work.rejected:
            yield work.block()
        if not work.good and len(work.lengths) == 1 and min(work.lengths) > 0:
            raise self._other_grid(table, min(work.lengths))

    def _other_grid(self, table: TextTable, length: int) -> GridMismatch:
        return GridMismatch(
            f"{table.path}, row 1: every spectrum has {length} pixels",
            expected=f"{self.pixels} pixels of {self.grid.step} {self.grid.unit}",
            cure="Set ingest.grid to the grid of this release.",
        )


class _Work:
    """The block being filled."""

    def __init__(
        self, table: TextTable, pixels: int, rows: int, names: tuple[str, ...], texts: bool
    ) -> None:
        self.table, self.pixels, self.rows, self.names = table, pixels, rows, names
        self.identify = _text_id if texts else to_id
        self.good = 0
        self.lengths: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        shape = (self.rows, self.pixels)
        self.count = 0
        self.numbers = np.empty(self.rows, np.int64)
        self.scalars: dict[str, Array] = {"source_id": np.empty(self.rows, np.int64)}
        arrays = {"flux", "flux_error"} & set(self.names)
        self.arrays: dict[str, Array] = {
            name: np.empty(shape, np.float32) for name in sorted(arrays)
        }
        for name in set(self.names) - arrays - {"source_id"}:
            self.scalars[name] = np.empty(self.rows)
        self.rejected: list[Rejected] = []

    @property
    def full(self) -> bool:
        return self.count == self.rows

    def add(self, number: int, line: bytes, places: dict[str, int], stars: set[int] | None) -> None:
        source_id, at = 0, self.count
        try:
            fields = check_fields(line, self.table)
            source_id = self.identify(fields[places["source_id"]])
            if stars is not None and source_id not in stars:
                return
            for name, column in self.arrays.items():
                column[at] = to_array(fields[places[name]], self.pixels, name)
            for name, column in self.scalars.items():
                if name != "source_id":
                    column[at] = to_float(fields[places[name]], name)
        except RowProblem as problem:
            self._reject(number, source_id, problem)
            return
        self.numbers[at], self.scalars["source_id"][at] = number, source_id
        self.count += 1
        self.good += 1

    def _reject(self, number: int, source_id: int, problem: RowProblem) -> None:
        where = str(self.table.path)
        self.rejected.append(Rejected(where, number, source_id, problem.reason, problem.detail))
        self.lengths.add(problem.length)

    def block(self) -> Block:
        columns = {k: v[: self.count] for k, v in (self.scalars | self.arrays).items()}
        block = Block(self.numbers[: self.count], columns, tuple(self.rejected))
        self._begin()
        return block


def _text_id(field: bytes) -> int:
    return name_to_id(field.decode("utf-8", "replace"))
