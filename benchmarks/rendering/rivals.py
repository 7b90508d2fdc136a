"""Tables of ``rivals.py``: every method on the same stars, and where another one is better."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distcnn.schema import LABELS
from rendering.tables import markdown, origin

Row = Mapping[str, Any]
NETWORK = "network"


def rivals(result: Mapping[str, Any]) -> str:
    """One table per data set, and below it what another method does better."""
    parts = [origin(result)]
    for found in result["data"].values():
        folds = f"{found['folds']} of 5 folds, " if found["folds"] > 1 else "one split, "
        judged = max(row["stars"] for row in found["rows"])
        parts.append(
            f"**{found['title']}**: {folds}{found['training']:,} training stars, {judged:,} "
            "judged. 1.48 MAD / standard deviation (per cent of stars within one quoted error)."
        )
        parts += [_table(found["rows"]), "\n".join(f"- {line}" for line in won(found["rows"]))]
    return "\n\n".join(part for part in parts if part)


def _table(rows: Sequence[Row]) -> str:
    whole = [row for row in rows if row["snr"] == "all"]
    labels = list(dict.fromkeys(row["label"] for row in whole))
    head = ["", *(_title(label) for label in labels), "stars/s"]
    lines = []
    for method in dict.fromkeys(row["method"] for row in whole):
        mine = {row["label"]: row for row in whole if row["method"] == method}
        speed = next(iter(mine.values()))["stars_per_second"]
        cells = (_cell(mine[label]) if label in mine else "" for label in labels)
        lines.append([method, *cells, f"{speed:,.0f}"])
    return markdown(head, lines)


def _cell(row: Row) -> str:
    mad, std = (_value(row[key], row["label"]) for key in ("mad", "std"))
    mad, std = f"**{mad}**" if row["best_mad"] else mad, f"**{std}**" if row["best_std"] else std
    within = row["within_68"]
    return f"{mad} / {std}" + ("" if within is None else f" ({100 * within:.0f})")


def won(rows: Sequence[Row]) -> Iterator[str]:
    """Every label and S/N bin where another method has less scatter than the network."""
    for label in dict.fromkeys(row["label"] for row in rows):
        mine = [row for row in rows if row["label"] == label]
        for key, text in (("mad", "1.48 MAD"), ("std", "standard deviation")):
            found = list(_won(mine, key))
            if found:
                yield f"{_title(label)}, {text} less than the network's: {'; '.join(found)}"


def _won(rows: Sequence[Row], key: str) -> Iterator[str]:
    for snr in dict.fromkeys(row["snr"] for row in rows):
        mine = [row for row in rows if row["snr"] == snr]
        ours = next((row for row in mine if row["method"] == NETWORK), None)
        best = min(mine, key=lambda row: row[key])
        if ours is not None and best[key] < ours[key]:
            values = " against ".join(_value(row[key], row["label"]) for row in (best, ours))
            yield f"S/N {snr}: {best['method']} {values}"


def _value(value: float, label: str) -> str:
    return f"{value:.0f}" if LABELS[label].unit == "K" else f"{value:.3f}"


def _title(label: str) -> str:
    info = LABELS[label]
    return f"{info.symbol} [{info.unit}]"
