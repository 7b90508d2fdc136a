"""Truth of a simulation: a table of true labels and of what was done to each star on purpose."""

import pandas as pd

from distcnn.errors import ColumnMissing, FileBroken
from distcnn.location import Address, Location


def read_truth(path: Address, names: tuple[str, ...]) -> "pd.DataFrame":
    """Columns ``trouble`` and those of the labels ``names`` that there are, by ``source_id``.

    Raises
    ------
    FileBroken : the table cannot be read.
    ColumnMissing : it is no table of truth.
    """
    try:
        with Location.parse(path).local_copy() as file:
            table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise FileBroken(f"{path} cannot be read ({error})", expected="a parquet table") from None
    for column in ("source_id", "trouble"):
        if column not in table:
            raise ColumnMissing(f"{path} has no column {column!r}", expected="a truth table")
    known = ["source_id", "trouble", *(name for name in names if name in table)]
    return table[known].drop_duplicates("source_id").set_index("source_id")
