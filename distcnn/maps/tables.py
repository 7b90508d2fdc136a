"""Tables of maps: rows with the same keys, NaN = not known, with the units of their columns."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distcnn.ecsv import Cell, TableColumn, TextTable, to_ecsv
from distcnn.files import atomic_write_bytes


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]], units: Mapping[str, str], caption: str
) -> None:
    """Write rows as ECSV; ``units``: of the columns that have one. Floats have six digits."""
    columns = [TableColumn(name, units.get(name, "")) for name in rows[0]]
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    atomic_write_bytes(path, to_ecsv(TextTable(columns, cells, {"description": caption})))


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    found: Cell = value
    return found
