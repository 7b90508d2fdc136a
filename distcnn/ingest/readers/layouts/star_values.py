"""Values of one number or text per spectrum: identifiers, positions, velocities, what to keep."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import KeepConfig, ValuePlaceConfig
from distcnn.config.survey.spectrum_layout import ROW
from distcnn.errors import ColumnMissing, InputError
from distcnn.ingest.readers.base import look_for
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.readers.values.numbers import numbers, text_of
from distcnn.ingest.selection import with_small_ending

_PACKED = re.compile(r"\.(gz|bz2|xz|zst|Z)$", re.IGNORECASE)


class StarValues:
    """Reads values of the spectra of a file.

    Parameters
    ----------
    table : the table of the spectra; None where they stand in images.
    count : spectra in the file.
    edges : rows of ``table`` at which spectra begin, where a row is a pixel.
    header : keywords of the HDU of the spectra, which count where the primary HDU has none.
    """

    def __init__(
        self,
        file: SpectrumFile,
        table: BinaryTable | None,
        count: int,
        edges: Sequence[int] | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> None:
        self.file, self.own, self.count, self.edges = file, table, count, edges
        self.header = dict(header or {})

    def has(self, place: ValuePlaceConfig) -> bool:
        """Whether a file has a value there."""
        if place.file_name is not None:
            return _in_name(self.file.name, place.file_name) is not None
        if place.header is not None:
            return _keyword(self._header(place), place.header.replace(ROW, "1")) is not None
        table = self._table(place)
        return table is not None and look_for(table.columns, str(place.column)) is not None

    def read(self, place: ValuePlaceConfig, start: int, stop: int) -> Array:
        """Values [n] of spectra [start, stop), of any type, masked or None where missing.

        Raises
        ------
        ColumnMissing : the file has none there, or one for all spectra where there are several.
        """
        if place.column is not None:
            return self._cells(place, start, stop)
        if place.header is not None and ROW in place.header:
            keys = [place.header.replace(ROW, str(row)) for row in range(start + 1, stop + 1)]
            return _objects([_keyword(self._header(place), key) for key in keys])
        if self.count > 1:
            raise ColumnMissing(
                f"{self.file.name}: {place} is one value for {self.count} spectra",
                expected="a column with one for each",
                cure="Name it in ingest.spectra.layout.",
            )
        name = self.file.name
        value = (
            _in_name(name, place.file_name)
            if place.file_name is not None
            else _keyword(self._header(place), str(place.header))
        )
        if value is None:
            raise self._absent(place)
        return _objects([value])

    def numbers(self, place: ValuePlaceConfig, start: int, stop: int) -> Array:
        """Values [n] as float64 times ``place.times``, NaN where they are missing or none."""
        found, _ = numbers(self.read(place, start, stop), str(place), self.file.name)
        return found * place.times

    def kept(self, rules: Sequence[KeepConfig], start: int, stop: int) -> Array:
        """Mask [n] of the spectra that all rules keep."""
        kept = np.ones(stop - start, bool)
        for rule in rules:
            values = self.read(rule, start, stop).tolist()
            kept &= [any(_same(value, one) for one in rule.equals) for value in values]
        return kept

    def _cells(self, place: ValuePlaceConfig, start: int, stop: int) -> Array:
        table = self._table(place)
        column = None if table is None else look_for(table.columns, str(place.column))
        if table is None or column is None:
            raise self._absent(place)
        if self.edges is not None and table is self.own:
            first = np.asarray(self.edges[start:stop])
            rows = table.read(int(first[0]), int(first[-1]) + 1, [column])[column]
            return np.asanyarray(rows[first - first[0]])
        if table.length != self.count:
            raise ColumnMissing(
                f"{self.file.name}: {place} has {table.length} rows for {self.count} spectra",
                expected="one for each",
                cure="Name another table in 'hdu' of that value in ingest.spectra.layout.",
            )
        return table.read(start, stop, [column])[column]

    def _table(self, place: ValuePlaceConfig) -> BinaryTable | None:
        return self.own if place.hdu is None else self.file.table(place.hdu)

    def _header(self, place: ValuePlaceConfig) -> dict[str, Any]:
        if self.file.hdus is None and self.own is not None:
            return dict(self.own.header)
        found = self.file.header(place.hdu)
        return self.header | found if place.hdu is None else found

    def _absent(self, place: ValuePlaceConfig) -> InputError:
        if self.file.damage:
            return self.file.missing(str(place), "id")
        return ColumnMissing(
            f"{self.file.name}: it has no {place}",
            expected="it, as ingest.spectra.layout says",
            cure=f"{self.file.contents()}Correct 'id', 'values' or 'keep' of 'layout'.",
        )


def _in_name(path: str, pattern: str) -> str | None:
    name = PurePosixPath(path.rpartition(":")[2].replace("\\", "/")).name
    small = with_small_ending(name)
    for one in dict.fromkeys((name, _PACKED.sub("", name), small, _PACKED.sub("", small))):
        found = re.fullmatch(pattern, one)
        if found is not None:
            return found[1]
    return None


def _keyword(header: dict[str, Any], key: str) -> Any:
    # The long keywords of ESO begin with a word of FITS that is no part of them.
    wanted = key.upper().removeprefix("HIERARCH ")
    value = {str(k).upper(): v for k, v in header.items()}.get(wanted)
    return None if value is None or not str(value).strip() else value


def _objects(values: Sequence[Any]) -> Array:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _same(value: Any, wanted: int | float | str) -> bool:
    if isinstance(value, (str, bytes)):
        return text_of(value) == str(wanted)
    try:
        return value is not None and float(value) == float(wanted)
    except (TypeError, ValueError):
        return str(value) == str(wanted)


def first_that_is_there(values: StarValues, places: Sequence[ValuePlaceConfig]) -> ValuePlaceConfig:
    """The first place that a file has a value at; the first of all if it has none."""
    return next((place for place in places if values.has(place)), places[0])
