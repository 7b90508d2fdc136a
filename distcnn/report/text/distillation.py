"""The price of a distilled package as text: what it loses against its ensemble."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distcnn.errors import InputError
from distcnn.report.figures.style import number
from distcnn.report.text.table import aligned, title

Tree = Mapping[str, Any]


def describe_price(path: Path) -> Iterator[str]:
    """Lines of text; none where the package is no student or had no test stars.

    Raises
    ------
    InputError : its evaluation is not readable.
    """
    price = _read(path / "evaluation.json").get("price", {})
    rows = [row for row in price.get("labels", []) if "std" in row]
    if not rows:
        return
    yield f"{price['stars']:,} stars; std against the references, ensemble -> student"
    head = ["label", "std", "", "loss", "within 1 / 2 errors [%]", "", "apart", "error", "scatter"]
    yield from aligned([head, *(_cells(row) for row in rows)])
    yield "apart: rms of student - ensemble in the ensemble's errors; error: median ratio of the"
    yield "calibrated errors; scatter: rank correlation of the scatter between members"
    flags = [row for row in price.get("flags", []) if row["student"] or row["teacher"]]
    if flags:
        yield ""
        keys = ("flag", "teacher", "student", "both")
        rows_of_flags = [[str(row[key]) for key in keys] for row in flags]
        yield from aligned([["stars with flag", "ensemble", "student", "both"], *rows_of_flags])


def _cells(row: Tree) -> list[str]:
    name = row["label"]
    return [
        title(name),
        number(row["std_teacher"], name),
        number(row["std"], name),
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


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not readable ({error})") from None
    return found
