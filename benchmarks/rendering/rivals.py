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
        folds = f"commit {found['commit']}, {folds}" if "commit" in found else folds
        judged = max(row["stars"] for row in found["rows"])
        parts.append(
            f"**{found['title']}**: {folds}{found['training']:,} training stars, {judged:,} "
            "judged. 1.48 MAD / standard deviation (per cent of stars within one quoted error)."
        )
        parts += [_table(found["rows"]), "\n".join(f"- {line}" for line in won(found["rows"]))]
        if any("mad_error" in row for row in found["rows"]):
            parts += [_FOLDED.format(_by_snr(found["rows"]))]
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


_FOLDED = "<details><summary>Bias, slope and every bin of S/N</summary>\n\n{}\n\n</details>"


def _by_snr(rows: Sequence[Row]) -> str:
    """Bias, 1.48 MAD, slope and coverage, each with its error, of every label, bin and method."""
    head = ["label", "S/N", "method", "stars", "bias", "std", "1.48 MAD", "slope", "within 1 error"]
    lines = [
        [
            LABELS[row["label"]].symbol,
            row["snr"],
            row["method"],
            f"{row['stars']:,}",
            *(_with_error(row, key) for key in ("bias", "std", "mad")),
            f"{row['slope']:.3f} ± {row['slope_error']:.3f}",
            ""
            if row["within_68"] is None
            else f"{100 * row['within_68']:.0f} ± {100 * row['within_68_error']:.0f} %",
        ]
        for row in rows
    ]
    return markdown(head, lines)


def _with_error(row: Row, key: str) -> str:
    value = _value(row[key], row["label"])
    error = row.get(f"{key}_error")
    return value if error is None else f"{value} ± {_value(error, row['label'])}"


def _cell(row: Row) -> str:
    mad, std = (_with_error(row, key) for key in ("mad", "std"))
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
            values = " against ".join(_with_error(row, key) for row in (best, ours))
            high = best.get("mad_ratio_high") if key == "mad" else None
            known = "" if high is None else ", not by chance" if high < 1 else ", within chance"
            yield f"S/N {snr}: {best['method']} {values}{known}"


def _value(value: float, label: str) -> str:
    return f"{value:.0f}" if LABELS[label].unit == "K" else f"{value:.3f}"


def _title(label: str) -> str:
    info = LABELS[label]
    return f"{info.symbol} [{info.unit}]"
