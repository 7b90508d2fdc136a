"""Where the numbers say that predictions must not be believed: bins that chance does not explain.

Everything here is read off the finished tables of an evaluation.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.evaluation.records import (
    AccuracyRow,
    AttenuationRow,
    ComparisonRow,
    CoverageRow,
    Distrust,
    DistrustRow,
    Evaluation,
    RangeRow,
)
from distcnn.evaluation.sample import Sample
from distcnn.stats import WITHIN_68, WITHIN_95, coverage_error, robust_std

SIGMA = 2.5
"""Sampling errors beyond which a bin is listed; of a hundred good bins one exceeds it."""
COVERAGE_TOLERANCE = 0.02
"""A fraction this near to the promised one is right, however many stars say that it differs."""
BIAS_TOLERANCE = 0.25
"""A bias below this part of the scatter is no reason to refuse a label."""
SLOPE_TOLERANCE = 0.1
RANGE_QUANTILES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
"""Edges of the ranges of a predicted label, as fractions of the stars."""
MIN_STARS = 30
"""Ranges and bins with fewer stars are not judged."""


def label_ranges(
    sample: Sample,
    names: Sequence[str],
    width_95: Sequence[float] | None = None,
    calibration: Array | None = None,
) -> list[RangeRow]:
    """Bias and coverage in ranges of the predicted label, which is what users select by.

    In ranges of the true label even the best estimate is biased towards the population.
    ``width_95``, ``calibration``: as for ``metrics.coverage``.
    """
    widths = width_95 or (2.0,) * len(names)
    evaluated = sample.take(sample.evaluated)
    residual = evaluated.label - evaluated.reference
    pull = np.abs(evaluated.pull)
    rows: list[RangeRow] = []
    for column, name in enumerate(names):
        good = np.isfinite(residual[:, column] + pull[:, column])
        label = evaluated.label[good, column]
        if len(label) < MIN_STARS:
            continue
        edges = np.quantile(label, RANGE_QUANTILES)
        place = np.clip(np.searchsorted(edges, label, side="right") - 1, 0, len(edges) - 2)
        for number in range(len(edges) - 1):
            inside = place == number
            if inside.sum() >= MIN_STARS:
                ends = float(edges[number]), float(edges[number + 1])
                some = residual[good, column][inside], pull[good, column][inside]
                row = _range(name, ends, *some, width_95=widths[column])
                if calibration is not None:
                    told = calibration[sample.evaluated][good, column][inside]
                    row["calibration"] = float(told.sum())
                rows.append(row)
    return rows


def _range(
    name: str, ends: tuple[float, float], residual: Array, pull: Array, *, width_95: float
) -> RangeRow:
    return {
        "label": name,
        "low": ends[0],
        "high": ends[1],
        "stars": len(residual),
        "bias": float(residual.mean()),
        "bias_error": float(residual.std() / math.sqrt(len(residual))),
        "mad": robust_std(residual),
        "within_68": float((pull <= 1).mean()),
        "within_95": float((pull <= width_95).mean()),
    }


def distrusted(numbers: Evaluation) -> Distrust:
    """The bins that are off by more than ``SIGMA`` sampling errors and by more than matters."""
    found = [
        *_coverages(numbers.coverage, numbers.cells, numbers.ranges),
        *_biases(numbers.accuracy, numbers.ranges),
        *_slopes(numbers.attenuation),
        *_rivals(numbers.comparison),
    ]
    rows = [row for row in found if row is not None]
    rows.sort(key=lambda row: -abs(row["sigma"]) if math.isfinite(row["sigma"]) else 0.0)
    return {"rows": rows, "compared": len(found)}


def _coverages(
    coverage: Sequence[CoverageRow], cells: Sequence[CoverageRow], ranges: Sequence[RangeRow]
) -> Iterator[DistrustRow | None]:
    for row in coverage:
        yield from _coverage(row, _place(row["snr"]))
    for row in cells:
        if row["cell"] != "all":
            yield from _coverage(row, row["cell"])
    for one in ranges:
        yield from _coverage(one, _ends(one))


def _coverage(row: CoverageRow | RangeRow, where: str) -> Iterator[DistrustRow | None]:
    """Both fractions of a bin; None where they are as promised.

    Chance is that of the stars judged and of those that errors were calibrated on.
    """
    stars = row["stars"]
    if stars < MIN_STARS:
        return
    for expected, value in ((WITHIN_68, row["within_68"]), (WITHIN_95, row["within_95"])):
        error = float(coverage_error(expected, stars, row.get("calibration")))
        sigma = (value - expected) / error
        right = abs(sigma) <= SIGMA or abs(value - expected) <= COVERAGE_TOLERANCE
        advice = "errors are too small here" if sigma < 0 else "errors are too wide here"
        yield (
            None
            if right
            else {
                "kind": "coverage",
                "label": row["label"],
                "where": where,
                "stars": stars,
                "value": value,
                "expected": expected,
                "sigma": sigma,
                "advice": advice,
            }
        )


def _biases(
    accuracy: Sequence[AccuracyRow], ranges: Sequence[RangeRow]
) -> Iterator[DistrustRow | None]:
    own = accuracy[0]["method"] if accuracy else ""
    for row in accuracy:
        if row["method"] == own and row["stars"] >= MIN_STARS:
            yield _bias(row, _place(row["snr"]), row["std"] / math.sqrt(row["stars"]))
    for one in ranges:
        yield _bias(one, _ends(one), one["bias_error"])


def _bias(row: AccuracyRow | RangeRow, where: str, error: float) -> DistrustRow | None:
    sigma = row["bias"] / error if error > 0 else 0.0
    if abs(sigma) <= SIGMA or abs(row["bias"]) <= BIAS_TOLERANCE * row["mad"]:
        return None
    return {
        "kind": "bias",
        "label": row["label"],
        "where": where,
        "stars": row["stars"],
        "value": row["bias"],
        "expected": 0.0,
        "sigma": sigma,
        "advice": f"the label is too {'high' if sigma > 0 else 'low'} here",
    }


def _slopes(rows: Sequence[AttenuationRow]) -> Iterator[DistrustRow | None]:
    for row in rows:
        slope = row.get("slope", math.nan)
        if row["stars"] < MIN_STARS or not math.isfinite(slope):
            continue
        yield (
            None
            if slope >= 1 - SLOPE_TOLERANCE
            else {
                "kind": "slope",
                "label": row["label"],
                "where": _place(row["snr"]),
                "stars": row["stars"],
                "value": slope,
                "expected": 1.0,
                "sigma": math.nan,
                "advice": "extremes are drawn to the mean; label_debiased is for populations",
            }
        )


def _rivals(rows: Sequence[ComparisonRow]) -> Iterator[DistrustRow | None]:
    for row in rows:
        scatter = {name: found["mad"] for name, found in row["methods"].items()}
        own = next(iter(scatter))
        best = min(scatter, key=lambda name: scatter[name])
        # A standard deviation of n values is known to 1 / sqrt(2 n) of itself.
        sigma = (scatter[own] / scatter[best] - 1) * math.sqrt(row["stars"]) if scatter[best] else 0
        yield (
            None
            if best == own or sigma <= SIGMA
            else {
                "kind": "rival",
                "label": row["label"],
                "where": _place(row["snr"]),
                "stars": row["stars"],
                "value": scatter[own],
                "expected": scatter[best],
                "sigma": sigma,
                "advice": f"{best} has the smaller scatter here",
            }
        )


def _place(snr: str) -> str:
    return "all S/N" if snr == "all" else f"S/N {snr}"


def _ends(row: RangeRow) -> str:
    digits = 0 if abs(row["high"]) >= 100 else 2
    return f"label from {row['low']:.{digits}f} to {row['high']:.{digits}f}"
