"""Text tables whose columns hold whole arrays of any length, read as the binary formats are."""

from collections.abc import Iterator, Sequence

import numpy as np
import orjson

from distcnn.arrays import Array
from distcnn.ingest.readers.base import Rejected, RowProblem, no_rows
from distcnn.ingest.readers.formats.text.fields import to_array, to_float
from distcnn.ingest.readers.formats.text.table import TextTable, check_fields
from distcnn.ingest.readers.statements.statements import TableFacts, ecsv_facts
from distcnn.ingest.readers.values.numbers import masked, masks_of, text_of

_BRACKETS = (b"[", b"(")


class ArrayText:
    """An open text table that hands out columns of arrays, numbers and texts.

    ``texts`` are the columns that are kept as texts; rows that cannot be read are ``rejected``.
    """

    def __init__(self, table: TextTable, texts: Sequence[str] = ()) -> None:
        self.table, self.texts = table, frozenset(texts)
        self.name, self.columns = str(table.path), table.columns
        self.rejected: list[Rejected] = []

    @property
    def facts(self) -> TableFacts:
        """What the table says besides its rows."""
        return text_facts(self.table)

    def blocks(self, rows: int, names: Sequence[str]) -> Iterator[tuple[Array, dict[str, Array]]]:
        """Row numbers (from 1) and columns: texts, float64, or objects that are arrays."""
        masks = masks_of(names, self.columns)
        every = list(dict.fromkeys([*names, *masks.values()]))
        for numbers, columns in self._blocks(rows, every):
            yield numbers, columns | {n: masked(columns[n], columns[m]) for n, m in masks.items()}

    def _blocks(self, rows: int, names: Sequence[str]) -> Iterator[tuple[Array, dict[str, Array]]]:
        places = [self.columns.index(name) for name in names]
        numbers: list[int] = []
        values: list[list[object]] = []
        for number, line in self.table.lines():
            try:
                fields = check_fields(line, self.table)
                row = [self._value(fields[p], n) for p, n in zip(places, names, strict=True)]
            except RowProblem as problem:
                self._reject(number, problem)
                continue
            numbers.append(number)
            values.append(row)
            if len(numbers) == rows:
                yield _as_columns(numbers, values, names)
                numbers, values = [], []
        if not self.table.row:
            raise no_rows(self.name)
        if numbers or self.rejected:
            yield _as_columns(numbers, values, names)

    def take_rejected(self) -> tuple[Rejected, ...]:
        """Rows that could not be read since this was asked last."""
        rejected, self.rejected = tuple(self.rejected), []
        return rejected

    def _reject(self, number: int, problem: RowProblem) -> None:
        self.rejected.append(Rejected(self.name, number, 0, problem.reason, problem.detail))

    def _value(self, field: bytes, name: str) -> object:
        if name in self.texts:
            return text_of(field)
        field = field.strip()
        return _array(field, name) if field.startswith(_BRACKETS) else to_float(field, name)


def _array(field: bytes, name: str) -> Array:
    try:
        return np.asarray(orjson.loads(b"[%b]" % field[1:-1]), float)
    except (ValueError, TypeError):
        # Missing values, and whatever is wrong: parsed with the reasons of the other readers.
        inner = field.strip(b"[]() ")
        return to_array(field, inner.count(b",") + 1 if inner else 0, name)


def _as_columns(
    numbers: list[int], values: list[list[object]], names: Sequence[str]
) -> tuple[Array, dict[str, Array]]:
    columns = {}
    for place, name in enumerate(names):
        held = [row[place] for row in values]
        column = np.empty(len(held), object)
        column[:] = held
        if held and all(isinstance(value, float) for value in held):
            column = column.astype(float)
        columns[name] = column
    return np.array(numbers, np.int64), columns


def text_facts(table: TextTable) -> TableFacts:
    """What the header of an ECSV says; of another text table nothing is known."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in table.comments]
    if not any(line.startswith("%ECSV") for line in lines):
        return TableFacts(str(table.path), units=table.units)
    return ecsv_facts(str(table.path), [line for line in lines if not line.startswith("%")])
