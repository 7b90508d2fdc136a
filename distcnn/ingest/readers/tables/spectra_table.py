"""Spectra of one table: which columns they stand in, on which grid, and in which units.

A row has its flux as one array or as a column per pixel (``flux_0``, ``flux_1``, ...). The
wavelengths are declared, stand in the header, or come with every row.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.errors import GridMismatch, ScaleMismatch
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.preprocess.wavelength import (
    in_order,
    is_declared,
    known,
    same_grid,
    wavelengths,
)
from distcnn.ingest.readers.base import Block, ReadRequest, find_column, look_for
from distcnn.ingest.readers.formats.binary import open_table
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource
from distcnn.ingest.readers.formats.text.arrays import ArrayText
from distcnn.ingest.readers.statements.flux_units import sigma_of
from distcnn.ingest.readers.statements.grids import column_wavelengths, header_grid
from distcnn.ingest.readers.statements.statements import read_statements
from distcnn.ingest.readers.tables.arrays import ONE_NUMBER, array_blocks
from distcnn.ingest.readers.values.numbers import masks_of

_ROWS_LOOKED_AT = 64
_OVERRIDDEN = {"unit": "unit", "medium": "medium", "frame": "frame", "flux_unit": "flux_unit",
               "error": "error_kind"}  # fmt: skip


class SpectraTable:
    """The spectra of one table of a file."""

    def __init__(self, table_source: TableSource, files: FilesConfig, request: ReadRequest) -> None:
        self.source, self.files, self.request = table_source, files, request
        self.given = dict(files.columns)
        self._table: BinaryTable | None = None
        with self._open() as table:
            self.names, self.facts = table.columns, table.facts
            self.identifier = find_column(self.names, self._one("source_id"), self.source.name)
            self.columns = self._find_columns()
            self.pixels, in_column = self._look(table)
        self.brings_grid = "wavelength" in self.given or (
            in_column and not is_declared(request.grid)
        )
        if not (self.brings_grid or in_column):
            self.columns.pop("wavelength", None)
        self.stated = _without(
            read_statements(self.facts, self.columns, request.override), request.override
        )

    @contextmanager
    def _open(self) -> Iterator[BinaryTable | ArrayText]:
        if self.source.format != "text":
            # Kept: opening a packed table or a VOTable reads the whole of it.
            self._table = self._table or open_table(self.source, self.files.hdu)
            yield self._table
            return
        text = self.source.text()
        with text.stream:
            yield ArrayText(text, [look_for(text.columns, self._one("source_id")) or ""])

    def _one(self, variable: str) -> str:
        name = self.given.get(variable, variable)
        return name if isinstance(name, str) else name[0]

    def _find_columns(self) -> dict[str, list[str]]:
        """Columns by variable: those of the configuration, and errors and wavelengths if there."""
        required = ["flux", *(n for n in ("flux_error", "wavelength") if n in self.given)]
        columns = {name: self._columns_of(name) for name in required}
        for name in ("flux_error", "wavelength"):
            if name not in columns and (found := wide_columns(self.names, name)):
                columns[name] = found
        for name in (n for n in ONE_NUMBER if n in self.given):
            columns[name] = [find_column(self.names, self._one(name), self.source.name)]
        return columns

    def _columns_of(self, variable: str) -> list[str]:
        names = self.given.get(variable, variable)
        if isinstance(names, str):
            # Raises, naming what is there, if there is neither the one column nor many.
            wide = wide_columns(self.names, names)
            return wide or [find_column(self.names, names, self.source.name)]
        return [find_column(self.names, name, self.source.name) for name in names]

    def _look(self, table: BinaryTable | ArrayText) -> tuple[int, bool]:
        """Pixels of the first row, and whether its wavelengths are an array of as many."""
        looked_at = [name for name in ("flux", "wavelength") if name in self.columns]
        every = list(dict.fromkeys(c for name in looked_at for c in self.columns[name]))
        for _, values in table.blocks(1, every):
            if not all(len(values[column]) for column in every):
                continue
            sizes = [sum(np.size(values[c][0]) for c in self.columns[n]) for n in looked_at]
            return sizes[0], len(sizes) > 1 and sizes[1] == sizes[0] and sizes[0] > 1
        return 0, False

    @property
    def is_plain(self) -> bool:
        """Whether its rows are arrays of a declared length, without anything to convert."""
        wide = any(len(columns) > 1 for columns in self.columns.values())
        silent = self.stated.error_kind is None and not self._error_units()
        used = [column for columns in self.columns.values() for column in columns]
        if masks_of(used, self.names):
            return False
        return is_declared(self.request.grid) and not (self.brings_grid or wide) and silent

    def _error_units(self) -> bool:
        columns = [c for n in ("flux", "flux_error") for c in self.columns.get(n, ())[:1]]
        return len({self.facts.units.get(column, "") for column in columns}) > 1

    # --- the grid -------------------------------------------------------------------------

    def wavelength(self) -> Array:
        """Wavelengths of the pixels, or of the first row that has any, in the unit of the grid.

        Raises
        ------
        GridMismatch : header or column contradict the declared grid, or no row has wavelengths.
        """
        grid = self.request.grid
        declared = wavelengths(grid) if is_declared(grid) else None
        found: Array | None
        if self.brings_grid:
            return self._own_grid()
        if "wavelength" in self.columns:
            found = self._first_row()
        else:
            found = header_grid(self.facts, self.pixels, grid, self.stated)
        if declared is None:
            return wavelengths(grid) if found is None else found
        if found is None or same_grid(found, declared):
            return declared
        if same_grid(found[::-1], declared):
            return found
        raise self._contradiction(found, declared)

    def _own_grid(self) -> Array:
        found = self._first_row()
        if found is not None:
            return found
        raise GridMismatch(
            f"{self.source.name}: no row has wavelengths in order",
            expected=f"them in column {self.columns['wavelength'][0]!r}",
            cure="Name another column in 'columns', or declare ingest.grid.",
        )

    def _first_row(self) -> Array | None:
        """The wavelengths of the first row that has any in order."""
        columns = self.columns["wavelength"]
        with self._open() as table:
            for _, values in table.blocks(_ROWS_LOOKED_AT, columns):
                for row in range(len(values[columns[0]])):
                    parts = [np.ravel(np.asarray(values[c][row], float)) for c in columns]
                    found = column_wavelengths(
                        np.concatenate(parts), self.request.grid, self.stated
                    )
                    if in_order(known(found)):
                        return known(found)
        return None

    def _contradiction(self, found: Array, declared: Array) -> GridMismatch:
        grid, unit = self.request.grid, self.stated.unit
        stated = f" ({unit.words})" if unit else ""
        return GridMismatch(
            f"{self.source.name}, row 0 (header): the spectra have {len(found)} pixels from "
            f"{found[0]:.6g} to {found[-1]:.6g} {grid.unit}{stated}",
            expected=f"{len(declared)} pixels from {declared[0]:.6g} to {declared[-1]:.6g} "
            f"{grid.unit}",
            cure="Correct ingest.grid (unit: the one that start and step are given in), or leave "
            "its start, step and size out and give ingest.prepare.target, a common grid.",
        )

    # --- rows -----------------------------------------------------------------------------

    def blocks(self, rows: int, ids: Array | None) -> Iterator[Block]:
        """Blocks with source_id and the variables that there are."""
        pixels = self.pixels if self.brings_grid else len(self.wavelength())
        columns = {k: v for k, v in self.columns.items() if k != "wavelength" or self.brings_grid}
        with self._open() as table:
            yield from array_blocks(
                table,
                self.identifier,
                columns,
                pixels=pixels,
                texts=True,
                rows=rows,
                ids=ids,
                convert=self._convert,
            )

    def _convert(self, columns: dict[str, Array]) -> dict[str, Array]:
        """Wavelengths in the unit of the grid, errors as standard deviations in that of flux."""
        if "wavelength" in columns:
            own = column_wavelengths(columns["wavelength"], self.request.grid, self.stated)
            columns["wavelength"] = own
        if "flux_error" in columns and "error" not in self.request.override:
            columns["flux_error"] = self._sigma(columns["flux_error"])
        return columns

    def _sigma(self, error: Array) -> Array:
        stated, column = self.stated, self.columns["flux_error"][0]
        kind = stated.error_kind.value if stated.error_kind else "standard deviation"
        flux = stated.flux_unit.value if stated.flux_unit else ""
        try:
            return sigma_of(error, kind, self.facts.units.get(column, ""), flux)
        except ValueError as problem:
            raise ScaleMismatch(
                f"{self.source.name}: column {column!r}, taken for the {kind} of flux: {problem}",
                expected="the unit of the column of flux, or its square",
                cure="Name another column of 'columns.flux_error'. If the units are wrong, set "
                "ingest.override: [error].",
            ) from None


def _without(stated: Statements, override: Sequence[str]) -> Statements:
    """The statements that the configuration does not override."""
    nothing: dict[str, Any] = {_OVERRIDDEN[name]: None for name in override}
    return replace(stated, **nothing)


def wide_columns(names: Sequence[str], variable: str) -> list[str]:
    """The column of that name, or its pixels in order: ``flux_0``, ``flux_1``, ...; or nothing."""
    one = look_for(list(names), variable)
    if one is not None:
        return [one]
    pattern = re.compile(rf"{re.escape(variable)}_?(\d+)", re.IGNORECASE)
    found = {int(m.group(1)): name for name in names if (m := pattern.fullmatch(name))}
    numbers = sorted(found)
    if len(numbers) < 2 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return []
    return [found[number] for number in numbers]
