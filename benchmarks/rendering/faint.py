"""Table and figure of the benchmark of faint stars, made of its newest result."""

import io
import json
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.schema import LABELS
from distcnn.style import BLUE, FAINT_INK, GREEN, ORANGE, RED, grid, style
from rendering.tables import markdown, origin

Result = dict[str, Any]
FIGURE = "faint.svg"


def faint(result: Result) -> str:
    """Scatter over bound and coverage, by label and S/N; after it those of an earlier run."""
    parts = [_whole(result), *_bright(result)]
    if result.get("earlier"):
        parts += ["With other numbers of stars, earlier:", faint(result["earlier"])]
    return "\n\n".join(parts)


def _whole(result: Result) -> str:
    """What ensembles that were given labels of all stars come to."""
    trained = result["trained_on"]["train"]
    facts = (
        f"{result['simulation']['stars']:,} stars simulated",
        f"{result['members']} members trained on {trained:,} stars of all S/N, "
        f"{result['train']['epochs']} epochs",
        f"{result['judged']:,} stars judged",
    )
    bins = list(dict.fromkeys(row["snr"] for row in result["table"]))
    rows = []
    for label in dict.fromkeys(row["label"] for row in result["table"]):
        cells = {row["snr"]: row for row in result["table"] if row["label"] == label}
        rows.append([LABELS[label].symbol, *(_cell(cells.get(name)) for name in bins)])
    head = ("std / bound; within 68 %", *(f"S/N {name}" for name in bins))
    lines = [
        f"- {'reached' if one['reached'] else 'not reached'}: {one['target']}"
        + (f" ({'; '.join(one['missed'])})" if one["missed"] else "")
        for one in result["verdicts"]
    ]
    return "\n\n".join([origin(result, *facts), markdown(head, rows), "\n".join(lines)])


def _bright(result: Result) -> list[str]:
    """What an ensemble that was given labels of bright stars alone comes to."""
    found = result.get("bright")
    if not found:
        return []
    bins = list(dict.fromkeys(row["snr"] for row in found))
    cells = {(row["label"], row["snr"]): row for row in found}
    rows = [
        [LABELS[label].symbol, *(_beside(cells.get((label, name))) for name in bins)]
        for label in dict.fromkeys(row["label"] for row in found)
    ]
    text = (
        f"Trained on {result['bright_trained_on']:,} stars of a S/N of "
        f"{result['bright_labels']:g} and more alone, and on faint copies of these:"
    )
    head = ("std / that of labels of all S/N; within 68 %", *(f"S/N {name}" for name in bins))
    return [text, markdown(head, rows)]


def _beside(row: Result | None) -> str:
    if row is None:
        return "-"
    return f"{row['std'] / row['of_all_labels']:.2f}; {100 * row['within_68']:.0f} %"


def _cell(row: Result | None) -> str:
    if row is None:
        return "-"
    return f"{row['ratio']:.2f} +- {row['ratio_error']:.2f}; {100 * row['within_68']:.0f} %"


def drawn(result: Result) -> str:
    """All that the figure says, as text."""
    return json.dumps([result["table"], result["fading"]])


def figure_of(result: Result) -> str:
    """The figure as SVG: scatter by S/N above, bright stars that are faded below."""
    labels = list(dict.fromkeys(row["label"] for row in result["table"]))
    with style():
        figure = Figure(figsize=(2.5 * len(labels), 5.4), layout="constrained")
        axes = figure.subplots(2, len(labels), squeeze=False)
        for column, label in enumerate(labels):
            scatter = [row for row in result["table"] if row["label"] == label]
            faded = [row for row in result["fading"] if row["label"] == label]
            _scatter(axes[0, column], label, scatter)
            _fading(axes[1, column], faded)
        axes[0, 0].set_ylabel("std from the truth")
        axes[1, 0].set_ylabel("distance from the answer\nwithout spectrum [its errors]")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
        buffer = io.StringIO()
        facts = {"Date": None, "Creator": None, "Description": drawn(result)}
        figure.savefig(buffer, format="svg", metadata=facts)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _middle(name: str) -> float:
    low, high = map(float, name.split("-"))
    return float((low * high) ** 0.5)


def _scatter(axes: Axes, label: str, rows: Sequence[Result]) -> None:
    snr = [_middle(row["snr"]) for row in rows]
    values = [row["std"] for row in rows]
    axes.errorbar(
        snr,
        values,
        [row["std_error"] for row in rows],
        color=BLUE,
        marker="o",
        ms=4,
        label="network",
    )
    axes.plot(snr, [row["without_spectrum"] for row in rows], color=ORANGE, marker="s", ms=3.5,
              ls="--", label="network without spectrum")  # fmt: skip
    axes.plot(
        snr, [row["bound"] for row in rows], color=GREEN, ls=":", label="bound, population known"
    )
    axes.axhline(rows[0]["population"], color=FAINT_INK, lw=0.9, label="population")
    axes.set_xscale("log")
    axes.set_yscale("log")
    info = LABELS[label]
    axes.set_title(f"{info.symbol} [{info.unit}]")
    grid(axes, "y")


def _fading(axes: Axes, rows: Sequence[Result]) -> None:
    snr = [row["snr"] for row in rows]
    axes.plot(snr, [row["apart"] for row in rows], color=RED, marker="o", ms=3.5)
    axes.axhline(0, color=FAINT_INK, lw=0.9)
    axes.set_xscale("log")
    axes.set_xlabel("S/N per 0.0245 nm")
    grid(axes, "y")
