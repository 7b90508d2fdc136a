"""``evaluation.json`` of a package as text: the test split, and a student beside its ensemble."""

import math
from collections.abc import Iterator
from pathlib import Path

from distcnn.report.text.table import (
    Row,
    aligned,
    covered,
    is_known,
    label_grid,
    label_title,
    label_value,
    read_json,
)


def describe_test_results(path: Path) -> Iterator[str]:
    """Lines of text; none where the package was not evaluated.

    Raises
    ------
    InputError : its evaluation is not readable.
    """
    found = read_json(path / "evaluation.json", {})
    rows = [row for row in found.get("results", []) if is_known(row, "std")]
    if not rows:
        return
    yield f"{found.get('stars', 0):,} stars; bias, then std of residuals by S/N"
    bins = list(dict.fromkeys(row["snr"] for row in rows))
    table = []
    for name in dict.fromkeys(row["label"] for row in rows):
        mine = {row["snr"]: row for row in rows if row["label"] == name}
        bias = label_value(mine["all"]["bias"], name, "+") if "all" in mine else ""
        spread = [label_value(mine[text]["std"], name) if text in mine else "" for text in bins]
        table.append([label_title(name), bias, *spread])
    yield from aligned([["label", "bias", *bins], *table])
    known = [row for row in found.get("coverage", []) if row.get("stars")]
    every = [row for row in known if row.get("cell", "all") == "all"]
    if every:
        yield "coverage [%]"
        yield from label_grid(every, "snr", "S/N", covered)


def describe_agreement(path: Path) -> Iterator[str]:
    """Lines of text; none where the package is no student or had no test stars.

    Raises
    ------
    InputError : its evaluation is not readable.
    """
    agreement = read_json(path / "evaluation.json", {}).get("price", {})
    rows = [row for row in agreement.get("labels", []) if "std" in row]
    if not rows:
        return
    yield f"{agreement['stars']:,} stars; std against the references, ensemble -> student"
    head = ["label", "std", "", "loss", "within 1 / 2 errors [%]", "", "apart", "error", "scatter"]
    yield from aligned([head, *(_agreement_cells(row) for row in rows)])
    yield "apart: rms of student - ensemble in the ensemble's errors; error: median ratio of the"
    yield "calibrated errors; scatter: rank correlation of the scatter between members"
    flags = [row for row in agreement.get("flags", []) if row["student"] or row["teacher"]]
    if flags:
        yield ""
        keys = ("flag", "teacher", "student", "both")
        rows_of_flags = [[str(row[key]) for key in keys] for row in flags]
        yield from aligned([["stars with flag", "ensemble", "student", "both"], *rows_of_flags])


def _agreement_cells(row: Row) -> list[str]:
    name = row["label"]
    return [
        label_title(name),
        label_value(row["std_teacher"], name),
        label_value(row["std"], name),
        _percent(row["ratio"] - 1, "+.1f"),
        f"{_percent(row['within_68_teacher'])} / {_percent(row['within_95_teacher'])}",
        f"{_percent(row['within_68'])} / {_percent(row['within_95'])}",
        f"{row['apart']:.3f}",
        f"{row['error_ratio']:.3f}",
        f"{row['scatter_correlation']:.3f}",
    ]


def _percent(part: float, form: str = ".1f") -> str:
    if not math.isfinite(part):
        return "?"
    sign = " %" if "+" in form else ""
    return f"{100 * part:{form}}{sign}"
