"""ECSV: small tables as text that carries the unit and the meaning of every column.

The format is astropy's (APE 6); it is imported only when a table is written or read.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distcnn.errors import FileBroken

Cell = str | int | float | bool | None
"""A value of a table; None = not known."""


@dataclass(frozen=True)
class TableColumn:
    """A column: its name, its unit ("" = none), what it means."""

    name: str
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class TextTable:
    """Columns, rows by name of the column, and what is said of the table as a whole."""

    columns: Sequence[TableColumn]
    rows: Sequence[Mapping[str, Cell]]
    meta: Mapping[str, Any] = field(default_factory=dict)


def to_ecsv(table: TextTable) -> bytes:
    """The file; a value that is None or missing is an empty field."""
    from astropy.table import MaskedColumn, Table

    out = Table(meta=dict(table.meta))
    for column in table.columns:
        values = [row.get(column.name) for row in table.rows]
        kind = _kind([value for value in values if value is not None])
        data = [kind() if value is None else kind(value) for value in values]
        mask = [value is None for value in values]
        out[column.name] = MaskedColumn(
            data, mask=mask, dtype=kind, description=column.description or None
        )
        out[column.name].unit = column.unit or None
    text = io.StringIO()
    out.write(text, format="ascii.ecsv")
    return text.getvalue().encode()


def _kind(values: Sequence[Cell]) -> type[str] | type[int] | type[float] | type[bool]:
    """The narrowest type that holds all values of a column."""
    met = {type(value) for value in values}
    if met <= {bool} and met:
        return bool
    if met <= {int} and met:
        return int
    return float if met <= {int, float} else str


def from_ecsv(data: bytes, name: str) -> TextTable:
    """The table that a file holds; ``name`` says in errors which one.

    Raises
    ------
    FileBroken : it is no ECSV.
    """
    from astropy.table import Table

    try:
        table = Table.read(data.decode().split("\n"), format="ascii.ecsv", guess=False)
    except Exception as error:  # the reader of YAML raises errors of its own
        raise FileBroken(f"{name} is not readable ({error})", expected="an ECSV table") from None
    columns = [
        TableColumn(key, str(table[key].unit or ""), table[key].description or "")
        for key in table.colnames
    ]
    lists = {key: table[key].tolist() for key in table.colnames}
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    return TextTable(columns, rows, dict(table.meta))
