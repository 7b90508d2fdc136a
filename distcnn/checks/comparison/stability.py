"""Stability: would another training, with other seeds and another split, say the same?

What changes with the dice of a training is part of the error: two trainings must agree within
what either quotes.
"""

import math
from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.stats import WITHIN_68, snr_groups

MAX_RATIO = 1.0
"""Largest change, in quoted errors: at 1.4 the dice alone would make the whole error of both."""
MAX_SHIFT = 0.5
"""Largest median change, in quoted errors."""
OUTLIER_ERRORS = 3.0
"""Change in quoted errors from which a star counts as an outlier."""
MIN_STARS = 50
"""Bins with fewer stars decide nothing."""
TOLERATED_SIGMA = 3.0
"""Sampling errors by which a value must exceed its limit."""


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
    return {
        "label": name,
        "snr": snr,
        "stars": len(change),
        "change": float(np.quantile(np.abs(change), WITHIN_68)),
        "quoted_error": float(np.median(error)),
        "member_scatter": float(np.median(scatter)),
        "ratio": float(np.quantile(np.abs(relative), WITHIN_68)),
        "shift": float(np.median(relative)),
        "outliers": float((np.abs(relative) > OUTLIER_ERRORS).mean()),
    }


def judge_stability(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where the labels of two trainings differ by more than a quoted error."""
    judged = [row for row in rows if int(row["stars"]) >= MIN_STARS]
    if not judged:
        return Answer(Verdict.UNDECIDED, f"no S/N bin has {MIN_STARS} stars of both", rows)
    bad = [row for row in judged if _is_unstable(row)]
    worst = max(judged, key=lambda row: float(row["ratio"]))
    sentence = (
        f"{len(bad)} of {len(judged)} labels and S/N bins change by more than {MAX_RATIO:g} "
        f"quoted errors, or by {MAX_SHIFT:g} in the median; the largest is {worst['label']} at "
        f"S/N {worst['snr']}: {float(worst['ratio']):.2f} errors, median "
        f"{float(worst['shift']):+.2f}, {float(worst['outliers']):.1%} by more than "
        f"{OUTLIER_ERRORS:g}"
    )
    return Answer(Verdict.FAILED if bad else Verdict.PASSED, sentence, rows)


def _is_unstable(row: AnswerRow) -> bool:
    ratio, stars = float(row["ratio"]), int(row["stars"])
    sampling = TOLERATED_SIGMA * ratio / math.sqrt(stars)
    # Of a median, in units of the change: 1.25 / sqrt(N).
    return ratio - sampling > MAX_RATIO or abs(float(row["shift"])) - 1.25 * sampling > MAX_SHIFT
