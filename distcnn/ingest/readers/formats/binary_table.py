"""A table that is not text while it is open, whatever its format."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import InputError
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.containers import tell_read, tell_unread
from distcnn.ingest.readers.formats.fits.table import PackedInTiles
from distcnn.ingest.readers.formats.packing import cannot_unpack
from distcnn.ingest.readers.statements.statements import TableFacts
from distcnn.ingest.readers.values.numbers import masked, masks_of


@dataclass
class BinaryTable:
    """An open binary table: column names, header values, and a way to read rows of columns."""

    name: str
    columns: list[str]
    header: dict[str, Any]
    length: int
    _read: Callable[[int, int, Sequence[str]], dict[str, Array]]
    units: dict[str, str] = field(default_factory=dict)
    """Units of columns and of PARAMs, where the file gives one."""
    ucds: dict[str, str] = field(default_factory=dict)
    """UCDs of columns."""

    @property
    def facts(self) -> TableFacts:
        """What the table says besides its rows."""
        return TableFacts(self.name, self.header, self.units, self.ucds)

    def blocks(self, rows: int, names: Sequence[str]) -> Iterator[tuple[Array, dict[str, Array]]]:
        """Row numbers (from 1) and columns as they are, masked where missing.

        A column ``NAME.mask``, which astropy writes beside one that is masked, counts.

        ``values.numbers``, ``values.arrays`` and ``identifiers.classify`` say what they mean.

        Raises
        ------
        FileBroken : the bytes cannot be read after all.
        """
        for start in range(0, self.length, rows):
            stop = min(start + rows, self.length)
            yield np.arange(start + 1, stop + 1), self.read(start, stop, names)

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        """Columns of rows [start, stop), as ``blocks`` gives them.

        Raises
        ------
        FileBroken : the bytes cannot be read after all.
        """
        masks = masks_of(names, self.columns)
        every = list(dict.fromkeys([*names, *masks.values()]))
        try:
            columns = self._read(start, stop, every)
            return columns | {n: masked(columns[n], columns[mask]) for n, mask in masks.items()}
        except Exception as error:  # pages of Parquet are unpacked, and checked, only now
            raise unreadable(self.name, "", error, row=start + 1) from None


def unreadable(name: str, kind: str, error: Exception, row: int | None = None) -> InputError:
    """What a library says of bad bytes as an error that names file and cure."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, PackedInTiles):
        return broken(name, str(error), cure="Unpack it with funpack.")
    if isinstance(error, MemoryError):
        cure = "Give the workers more memory, or cut the file into several."
        return broken(name, "the table does not fit into memory", cure=cure)
    if isinstance(error, EOFError):
        return cannot_unpack(name, error, row)
    if isinstance(error, OSError) and error.errno is not None:
        cure = "Check that it is there, that it may be read, and the disk."
        return broken(name, f"the file cannot be read ({error.strerror})", cure=cure)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return broken(name, f"the file is not readable{kind} ({reason})", row=row)


def tell_table(what: str, where: str, is_read: bool) -> None:
    """Note one of several tables of a file, as read or as one that was not chosen."""
    if is_read:
        tell_read(where)
    else:
        tell_unread(what, where, "choose with 'hdu'")


def from_memory(
    name: str, header: dict[str, Any], columns: list[str], arrays: Mapping[str, Array], length: int
) -> BinaryTable:
    """A table whose columns [rows] are in memory."""

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        return {column: arrays[column][start:stop] for column in names}

    return BinaryTable(name, columns, header, length, read)


def plain_texts(array: Any) -> Array:
    """A column of astropy: masked numbers as they are; texts and arrays, None where masked."""
    column: Array = np.ma.asarray(array)
    if column.dtype.kind in "biufc":
        return column
    values = np.empty(len(array), object)
    mask = np.ma.getmaskarray(array)
    for place, value in enumerate(array.data):
        hidden = bool(np.all(mask[place])) and not isinstance(value, np.ndarray)
        values[place] = None if hidden else value
    return values
