"""Stability: would another training, with other seeds and another split, say the same?

What changes with the dice of a training is part of the error: two trainings must agree within
what either quotes.
"""

import math
from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import (
    MEDIAN_ERROR,
    MIN_STARS,
    WIDTH_68_ERROR,
    decide,
    label_and_snr,
    sigma_outside,
)
from distcnn.stats import WITHIN_68, snr_groups

MAX_RATIO = 1.0
"""Largest change, in quoted errors: at 1.4 the dice alone would make the whole error of both."""
MAX_SHIFT = 0.5
"""Largest median change, in quoted errors."""
OUTLIER_ERRORS = 3.0
"""Change in quoted errors from which a star counts as an outlier."""


def stability_rows(
    names: Sequence[str],
    first: Array,
    second: Array,
    *,
    error: Array,
    scatter: Array,
    snr: Array,
    edges: Sequence[float],
) -> list[AnswerRow]:
    """Change of labels between two trainings in quoted errors, per label and S/N bin.

    Parameters
    ----------
    first, second : [N, L] labels of both, label units.
    error, scatter : [N, L] total quoted error, and scatter between the members, of the first.
    """
    rows: list[AnswerRow] = []
    for number, name in enumerate(names):
        change = second[:, number] - first[:, number]
        quoted = error[:, number]
        good = np.isfinite(change) & np.isfinite(quoted) & (quoted > 0)
        for text, inside in snr_groups(snr, edges):
            mine = inside & good
            if mine.any():
                rows.append(_row(name, text, change[mine], quoted[mine], scatter[mine, number]))
    return rows


def _row(name: str, snr: str, change: Array, error: Array, scatter: Array) -> AnswerRow:
    relative = change / error
    ratio, shift = float(np.quantile(np.abs(relative), WITHIN_68)), float(np.median(relative))
    root = math.sqrt(len(change))
    outside = max(
        sigma_outside(ratio, MAX_RATIO, WIDTH_68_ERROR * ratio / root),
        # The width of the changes about their median is at most that about zero.
        sigma_outside(abs(shift), MAX_SHIFT, MEDIAN_ERROR * ratio / root),
    )
    return {
        "label": name,
        "snr": snr,
        "stars": len(change),
        "change": float(np.quantile(np.abs(change), WITHIN_68)),
        "quoted_error": float(np.median(error)),
        "member_scatter": float(np.median(scatter)),
        "ratio": ratio,
        "shift": shift,
        "outliers": float((np.abs(relative) > OUTLIER_ERRORS).mean()),
        "sigma_outside": outside,
    }


def judge_stability(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where the labels of two trainings differ by more than a quoted error."""
    found = decide(rows)
    if not found.judged:
        return Answer(Verdict.UNDECIDED, f"no S/N bin has {MIN_STARS} stars of both", rows)
    worst = max(found.judged, key=lambda row: float(row["ratio"]))
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} labels and S/N bins change by more than "
        f"{MAX_RATIO:g} quoted errors, or by {MAX_SHIFT:g} in the median; the largest is "
        f"{worst['label']} at S/N {worst['snr']}: {float(worst['ratio']):.2f} errors, median "
        f"{float(worst['shift']):+.2f}, {100 * float(worst['outliers']):.1f} % by more than "
        f"{OUTLIER_ERRORS:g}"
    )
    return Answer(found.verdict, sentence + found.note(label_and_snr), rows)
