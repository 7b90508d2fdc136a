"""Columns that set the network beside the best standard method of ``distcnn compare``."""

from collections.abc import Sequence

from distcnn.arrays import Array
from distcnn.catalogue.columns import Column
from distcnn.evaluation.agreement import StandardLabels, agreement
from distcnn.labels import OwnLabels, label_info

STANDARD, STANDARD_ERROR, AGREEMENT = "standard_label", "standard_error", "agreement"
MADE_OF = {
    STANDARD: ("source_id",),
    STANDARD_ERROR: ("source_id",),
    AGREEMENT: ("source_id", "label", "label_error"),
}
"""Variables of the predictions that the columns are computed from."""


def standard_columns(standard: StandardLabels, own: OwnLabels) -> tuple[Column, ...]:
    """``<label>_standard``, its error, and the agreement, label by label."""
    columns: list[Column] = []
    for index, name in enumerate(standard.names):
        info, method = label_info(name, own), standard.methods[name]
        form = "F8.1" if info.unit == "K" else "F8.4"
        told = f"{info.symbol} by {method}, the best standard method on the validation split"
        columns += [
            Column(
                f"{name}_standard",
                "float32",
                info.unit,
                info.ucd,
                form,
                f"{told}; NaN if it was not asked for this star",
                STANDARD,
                index,
            ),
            Column(
                f"{name}_standard_error",
                "float32",
                info.unit,
                f"stat.error;{info.ucd}",
                form,
                f"standard error of {info.symbol} by {method}",
                STANDARD_ERROR,
                index,
            ),
            Column(
                f"{name}_agreement",
                "float32",
                "",
                "stat.value",
                "F8.3",
                f"{info.symbol} less that by {method}, over the root of the sum of both squared "
                "errors",
                AGREEMENT,
                index,
            ),
        ]
    return tuple(columns)


def standard_values(
    standard: StandardLabels, labels: Sequence[str], values: dict[str, Array]
) -> dict[str, Array]:
    """The variables of ``standard_columns`` [N, L] for stars of the predictions.

    ``values``: ``source_id``, and ``label`` and ``label_error`` where the agreement is asked for.
    """
    found, error = standard.at(values["source_id"])
    out = {STANDARD: found, STANDARD_ERROR: error}
    if "label" in values and "label_error" in values:
        columns = [list(labels).index(name) for name in standard.names]
        both = values["label"][:, columns], values["label_error"][:, columns]
        out[AGREEMENT] = agreement(*both, found, error)
    return out
