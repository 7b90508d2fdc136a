"""References: what labels are judged by, the truth of a simulation or the labels of a survey.

Legend: N star, L label that is asked for.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from distcnn.arrays import Array
from distcnn.errors import ColumnMissing, FileBroken
from distcnn.location import Address, Location, nothing_at
from distcnn.survey import Store


def read_truth(path: Address, names: tuple[str, ...]) -> "pd.DataFrame":
    """Columns ``trouble`` and those of the labels ``names`` that there are, by ``source_id``.

    Raises
    ------
    FileBroken : the table cannot be read.
    ColumnMissing : it is no table of truth.
    """
    place = Location.parse(path)
    if not place.exists():
        problem, cure = nothing_at(place)
        raise FileBroken(problem, expected="the truth of a simulation", cure=cure)
    try:
        with place.local_copy() as file:
            table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise FileBroken(f"{path} cannot be read ({error})", expected="a parquet table") from None
    for column in ("source_id", "trouble"):
        if column not in table:
            raise ColumnMissing(f"{path} has no column {column!r}", expected="a truth table")
    known = ["source_id", "trouble", *(name for name in names if name in table)]
    return table[known].drop_duplicates("source_id").set_index("source_id")


def true_labels(
    truth: "pd.DataFrame", ids: Array, names: Sequence[str]
) -> tuple[Array, Array, Array]:
    """True labels [N, L] of the stars ``ids`` and their errors, 0; what was done to each star.

    NaN where the table lacks the star or the label.
    """
    found = truth.reindex(ids)
    unknown = np.full(len(ids), np.nan)
    columns = [found[name].to_numpy(float) if name in found else unknown for name in names]
    defect = found["trouble"].fillna("").to_numpy(object)
    return np.stack(columns, axis=1), np.zeros((len(ids), len(names))), defect


def survey_labels(
    survey: Store, block: Mapping[str, Array], names: Sequence[str]
) -> tuple[Array, Array]:
    """Labels [N, L] of a block of a survey and their errors; NaN and 0 where it has none."""
    shape = (len(block["source_id"]), len(names))
    reference, error = np.full(shape, np.nan), np.zeros(shape)
    if "label" not in block:
        return reference, error
    known = [str(name) for name in survey.coordinate("label")]
    for number, name in enumerate(names):
        if name in known:
            column = known.index(name)
            reference[:, number] = block["label"][:, column]
            error[:, number] = np.nan_to_num(block["label_error"][:, column])
    return reference, error
