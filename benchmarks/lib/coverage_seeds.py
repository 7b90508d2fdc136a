"""Coverage of many trainings: how far from what it should be, and whether that is chance."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from distcnn.schema import LABELS
from distcnn.stats import WITHIN_68, WITHIN_95, coverage_error
from distcnn.style import BLUE, FAINT_INK, ORANGE, grid, style

Array = np.ndarray[Any, Any]
LEVELS = {"68": WITHIN_68, "95": WITHIN_95}
"""What should lie within."""
OFF_SIGMA = 2.5


def sampling_error(level: str, judged: Array, calibration: Array) -> Array:
    """Standard error of a coverage, from the stars judged and those that errors were fitted to."""
    return coverage_error(LEVELS[level], judged, calibration)


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per number of labels, split and label: means over seeds, bins that are off, chi-square."""
    frame = pd.DataFrame(rows)
    out = []
    for (labels, method, label), part in frame.groupby(["labels", "method", "label"], sort=False):
        whole = part[part["snr"] == "all"]
        bins = part[(part["snr"] != "all") & (part["stars"] >= 100)]
        row: dict[str, Any] = {"labels": int(labels), "method": method, "label": label}
        row |= {"seeds": len(whole), "bins": len(bins), "std": float(whole["std"].mean())}
        row["cpu_s"] = float(whole["cpu_s"].mean())
        for level, right in LEVELS.items():
            key = f"within_{level}"
            error = sampling_error(level, bins["stars"].to_numpy(), bins["calibration"].to_numpy())
            pull = (bins[key].to_numpy() - right) / error
            row |= {
                f"mean_{level}": float(whole[key].mean()),
                f"error_{level}": float(whole[key].std() / np.sqrt(max(len(whole), 1))),
                f"bins_{level}": {
                    text: float(one[key].mean()) for text, one in bins.groupby("snr", sort=False)
                },
                f"off_{level}": int((np.abs(pull) > OFF_SIGMA).sum()),
                f"short_{level}": int((pull < -OFF_SIGMA).sum()),
                f"chi2_{level}": float((pull**2).mean()),
                f"p_{level}": float(stats.chi2.sf((pull**2).sum(), len(pull))),
            }
        out.append(row)
    return out


def figure_of_seeds(rows: Sequence[dict[str, Any]]) -> str:
    """SVG: coverage by S/N of every training, their mean, and what chance may do."""
    frame = pd.DataFrame(rows)
    labels, names = list(dict.fromkeys(frame["labels"])), list(dict.fromkeys(frame["label"]))
    with style():
        size = (2.5 * len(names), 2.1 * 2 * len(labels) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(2 * len(labels), len(names), sharex=True, squeeze=False)
        for line, (count, level) in enumerate((c, level) for c in labels for level in LEVELS):
            for column, name in enumerate(names):
                ax = axes[line, column]
                part = frame[(frame["labels"] == count) & (frame["label"] == name)]
                _panel(ax, part[(part["snr"] != "all") & (part["stars"] >= 100)], level)
                if not line:
                    ax.set_title(LABELS[name].symbol)
                if column:
                    ax.set_yticklabels([])
            axes[line, 0].set_ylabel(f"{count:,} labels\nwithin {level} %")
        for ax in axes[-1]:
            ax.set_xlabel("S/N")
        axes[0, 0].legend(fontsize="small", loc="lower left")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _panel(ax: Any, part: pd.DataFrame, level: str) -> None:
    grid(ax)
    right = LEVELS[level]
    bins = list(dict.fromkeys(part["snr"]))
    ax.axhline(right, color=FAINT_INK, lw=0.8)
    methods = dict(zip(("folds", "held-out"), (BLUE, ORANGE), strict=True))
    for number, (method, colour) in enumerate(methods.items()):
        mine = part[part["method"] == method]
        for place, text in enumerate(bins):
            some = mine[mine["snr"] == text]
            if some.empty:
                continue
            at = place + 0.3 * (number - 0.5)
            one = sampling_error(
                level, some["stars"].to_numpy(), some["calibration"].to_numpy()
            ).mean()
            ax.bar(at, 2 * one, 0.24, right - one, color=colour, alpha=0.15, lw=0)
            values = some[f"within_{level}"].to_numpy()
            spread = np.linspace(-0.08, 0.08, len(values)) if len(values) > 1 else [0.0]
            ax.plot(at + np.array(spread), values, ".", color=colour, ms=2, alpha=0.6)
            ax.plot(
                [at - 0.12, at + 0.12],
                [values.mean()] * 2,
                color=colour,
                lw=2,
                label=method if not place else None,
            )
    ax.set_xticks(range(len(bins)), bins, fontsize="small")
    ax.set_ylim((0.45, 0.9) if level == "68" else (0.82, 1.0))
