"""Tables, values and curves as text of a terminal."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distcnn.errors import InputError
from distcnn.labels import label_info

Row = Mapping[str, Any]
"""A row of one of the tables of a package: see ``evaluation.records``."""
_BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 40


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> Iterator[str]:
    """One line per row, the first one the head; columns in ``left`` begin alike, others end so."""
    widths = [max(len(line[n]) for line in rows) for n in range(len(rows[0]))]
    for line in rows:
        cells = (
            text.ljust(width) if n in left else text.rjust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def label_grid(
    rows: Sequence[Row], key: str, head: str, cell: Callable[[Row], str]
) -> Iterator[str]:
    """One line per label, one column per value of ``key``, and a line of star counts."""
    columns = list(dict.fromkeys(row[key] for row in rows))
    table = []
    for name in dict.fromkeys(row["label"] for row in rows):
        mine = {row[key]: row for row in rows if row["label"] == name}
        table.append([label_title(name), *(cell(mine[c]) if c in mine else "" for c in columns)])
    most = {c: max(row.get("stars") or 0 for row in rows if row[key] == c) for c in columns}
    table.append(["stars", *(f"{most[c]:,}" for c in columns)])
    heads = [f"{head} {c}".strip() if count == 0 else str(c) for count, c in enumerate(columns)]
    yield from aligned([["label", *heads], *table])


def label_title(name: str) -> str:
    """A label with its unit."""
    unit = label_info(name).unit
    return f"{name} [{unit}]" if unit else name


def label_value(value: float, name: str, sign: str = "") -> str:
    """A value with the digits that mean something for its label."""
    kelvin = label_info(name).unit == "K"
    return f"{value:{sign}.{1 if kelvin else 4}f}"


def covered(row: Row) -> str:
    """Coverage within one and two errors [%]."""
    return f"{100 * row['within_68']:.1f} / {100 * row['within_95']:.1f}"


def plain_value(value: object) -> str:
    """A setting as text: lists without brackets, floats as short as they can be."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def sparkline(values: Sequence[float]) -> str:
    """Values as at most ``MAX_BARS`` little bars; a wild first value does not hide the rest."""
    good = sorted(value for value in values if math.isfinite(value))
    if not good:
        return ""
    step = max(1, math.ceil(len(values) / MAX_BARS))
    low, high = good[0], good[int(0.9 * (len(good) - 1))]
    parts = [(value - low) / ((high - low) or 1) for value in values[::step]]
    return "".join(_BARS[min(7, int(8 * part))] if math.isfinite(part) else "?" for part in parts)


def is_known(row: Row, key: str) -> bool:
    """Whether a row has a finite value there."""
    return is_finite(row.get(key))


def is_finite(value: object) -> bool:
    """Whether it is a number, and finite."""
    return isinstance(value, int | float) and math.isfinite(value)


def read_json(path: Path, absent: Any) -> Any:
    """What a file holds; ``absent`` where there is none.

    Raises
    ------
    InputError : it is no JSON.
    """
    if not path.is_file():
        return absent
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not readable ({error})") from None
