"""Table of the benchmark of coverage over seeds, made of its newest result."""

from typing import Any

from distcnn.schema import LABELS
from rendering.tables import markdown, origin

Result = dict[str, Any]


def coverage(result: Result) -> str:
    """Coverage by number of labels, split and label: means over seeds, and bins that are off."""
    facts = (
        f"{result['members']} members of {result['epochs']} epochs on {result['pixels']} pixels",
        "with regressions beside them, as shipped",
    )
    head = ("labels", "split", "", "seeds", "within 68 %", "S/N bins", "off", "chi2 / bin")
    head += ("within 95 %", "S/N bins", "off", "chi2 / bin")
    rows = []
    for row in result["summary"]:
        cells = [f"{row['labels']:,}", row["method"], LABELS[row["label"]].symbol]
        cells.append(str(row["seeds"]))
        for level in ("68", "95"):
            bins = [100 * value for value in row[f"bins_{level}"].values()]
            cells += [
                f"{100 * row[f'mean_{level}']:.1f} +- {100 * row[f'error_{level}']:.1f} %",
                f"{min(bins):.1f}-{max(bins):.1f} %",
                f"{row[f'off_{level}']} of {row['bins']} ({row[f'short_{level}']} short)",
                f"{row[f'chi2_{level}']:.2f}",
            ]
        rows.append(cells)
    note = [result["note"]] if result.get("note") else []
    return origin(result, *facts, *note) + "\n\n" + markdown(head, rows)
