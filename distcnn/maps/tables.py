"""Tables of maps, as ECSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.table import Table


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]], units: Mapping[str, str], caption: str
) -> None:
    """Write rows with the same keys; ``units``: of the columns that have one."""
    table = Table(rows=[dict(row) for row in rows])
    for name in table.colnames:
        if name in units:
            table[name].unit = units[name]
        if table[name].dtype.kind == "f":
            table[name].info.format = ".6g"
    table.meta["description"] = caption
    table.write(path, format="ascii.ecsv", overwrite=True)
