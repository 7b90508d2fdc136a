"""Responses: what labels do when the inputs of the same stars are changed, level by level.

Legend: N star, L label.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.predictor import PredictedStars
from distcnn.schema import Flag
from distcnn.stats import WITHIN_68, robust_std

UNUSABLE = Flag.NOVEL_SPECTRUM | Flag.NO_SPECTRUM | Flag.NON_FINITE | Flag.UNCALIBRATED
"""Flags that say of themselves that a label must not be used: such stars are not judged."""
MIN_STARS = 30
"""Levels with fewer unflagged stars decide nothing."""
MAX_FLAGGED = 0.5
"""Largest share of clean stars that may be flagged as unusable, where the survey has such stars."""
MAX_SHIFT_ERRORS = 1.0
"""Largest median shift of a label by what may happen to any star, in quoted errors."""
MAX_BIAS_ERRORS = 0.5
"""Largest mean residual under added noise, in quoted errors."""
COVERAGE_BAND = 0.10
"""How far the share of stars within the 68 % error may be from 0.68 under added noise."""
TOLERATED_SIGMA = 3.0
"""Sampling errors by which a limit must be exceeded."""


@dataclass(frozen=True)
class Change:
    """What is changed, and how much of it may happen to any star.

    Attributes
    ----------
    what : in a sentence, after "by". ``unit`` : of the levels.
    levels : ascending, without 0. ``tolerated`` : labels must stand levels up to this one.
    """

    what: str
    unit: str
    levels: tuple[float, ...]
    tolerated: float


def response_rows(
    names: Sequence[str],
    before: PredictedStars,
    change: Change,
    predict: Callable[[float], PredictedStars],
) -> list[AnswerRow]:
    """Median and spread of the shift of every label at every level; ``predict``: stars there."""
    rows: list[AnswerRow] = []
    for level in change.levels:
        after = predict(level)
        rows += _of_level(names, before, after, level)
    return rows


def _of_level(
    names: Sequence[str], before: PredictedStars, after: PredictedStars, level: float
) -> Iterator[AnswerRow]:
    good = usable(after)
    for number, name in enumerate(names):
        error = after.label_error[good, number]
        moved = (after.label - before.label)[good, number]
        known = np.isfinite(moved) & np.isfinite(error) & (error > 0)
        moved, error = moved[known], error[known]
        pulls = moved / error
        low, middle, high = _quantiles(pulls)
        yield {
            "label": name,
            "level": level,
            "stars": len(pulls),
            "flagged": float(1 - good.mean()),
            "flagged_before": float(1 - usable(before).mean()),
            "shift": _quantiles(moved)[1],
            "spread": robust_std(moved) if len(moved) else 0.0,
            "quoted_error": _quantiles(error)[1],
            "shift_errors": middle,
            "low_errors": low,
            "high_errors": high,
        }


def _quantiles(values: Array) -> tuple[float, float, float]:
    """Of 16, 50 and 84 %; 0 of nothing."""
    if not len(values):
        return 0.0, 0.0, 0.0
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    return float(low), float(middle), float(high)


def judge_responses(rows: Sequence[AnswerRow], change: Change) -> Answer:
    """Fails where, at a tolerated level, labels move or stars are flagged as unusable."""
    before = max((float(row["flagged_before"]) for row in rows), default=1.0)
    if before > MAX_FLAGGED:
        return Answer(
            Verdict.UNDECIDED,
            f"no answer: {100 * before:.0f} % of the stars are flagged as unusable before anything "
            "is changed",
            rows,
        )
    tolerated = [row for row in rows if float(row["level"]) <= change.tolerated]
    flagged = max(tolerated, key=lambda row: float(row["flagged"]))
    if float(flagged["flagged"]) > MAX_FLAGGED:
        return Answer(
            Verdict.FAILED,
            f"{change.what} of {float(flagged['level']):g} {change.unit} makes the package flag "
            f"{100 * float(flagged['flagged']):.0f} % of the stars as unusable for "
            f"{', '.join(dict.fromkeys(str(row['label']) for row in rows))}",
            rows,
        )
    judged = [row for row in tolerated if int(row["stars"]) >= MIN_STARS]
    if not judged:
        return Answer(Verdict.UNDECIDED, f"no {MIN_STARS} unflagged stars at any level", rows)
    bad = [row for row in judged if abs(float(row["shift_errors"])) > MAX_SHIFT_ERRORS]
    worst = max(judged, key=lambda row: abs(float(row["shift_errors"])))
    sentence = (
        f"{change.what} up to {change.tolerated:g} {change.unit} moves "
        f"{len({row['label'] for row in bad})} labels by more than {MAX_SHIFT_ERRORS:g} quoted "
        f"error in the median; most {worst['label']}: {float(worst['shift_errors']):+.2f} errors "
        f"({float(worst['shift']):+.3g}) at {float(worst['level']):g} {change.unit}"
    )
    return Answer(Verdict.FAILED if bad else Verdict.PASSED, sentence, rows)


def usable(found: PredictedStars) -> Array:
    """Stars [N] that no flag forbids to use."""
    return np.asarray((found.flags & int(UNUSABLE)) == 0)


def noise_rows(
    names: Sequence[str], found: PredictedStars, reference: Array, level: float
) -> Iterator[AnswerRow]:
    """Bias, scatter and coverage of stars at one S/N; ``reference`` [N, L] in label units."""
    good = usable(found)
    for number, name in enumerate(names):
        error = found.label_error[good, number]
        residual = found.label[good, number] - reference[good, number]
        known = np.isfinite(residual) & np.isfinite(error) & (error > 0)
        stars, residual, error = int(known.sum()), residual[known], error[known]
        yield {
            "label": name,
            "snr": level,
            "stars": stars,
            "flagged": float(1 - good.mean()),
            **(_agreement(residual, error) if stars > 1 else _UNKNOWN),
        }


def _agreement(residual: Array, error: Array) -> dict[str, float]:
    """Of residuals and quoted errors [N]: bias, scatter, coverage, what is beyond limits."""
    stars = len(residual)
    within = float((np.abs(residual) <= error).mean())
    bias, quoted = float(residual.mean()), float(np.median(error))
    sampling = float(residual.std(ddof=1)) / math.sqrt(stars)
    share = math.sqrt(WITHIN_68 * (1 - WITHIN_68) / stars)
    return {
        "bias": bias,
        "bias_error": sampling,
        "scatter": robust_std(residual),
        "quoted_error": quoted,
        "within": within,
        "within_error": share,
        "bias_sigma": max(abs(bias) - MAX_BIAS_ERRORS * quoted, 0) / max(sampling, 1e-30),
        "within_sigma": max(abs(within - WITHIN_68) - COVERAGE_BAND, 0) / share,
    }


_UNKNOWN = dict.fromkeys(_agreement(np.array([0.0, 1.0]), np.ones(2)), 0.0)


def judge_noise(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where a label is biased, its errors do not hold, or most stars are flagged."""
    flagged = max(rows, key=lambda row: float(row["flagged"]))
    if float(flagged["flagged"]) > MAX_FLAGGED:
        return Answer(
            Verdict.FAILED,
            f"at S/N {float(flagged['snr']):g}, which stars of the survey have, the package flags "
            f"{100 * float(flagged['flagged']):.0f} % as unusable for "
            f"{', '.join(dict.fromkeys(str(row['label']) for row in rows))}",
            rows,
        )
    judged = [row for row in rows if int(row["stars"]) >= MIN_STARS]
    if not judged:
        return Answer(Verdict.UNDECIDED, f"no {MIN_STARS} unflagged stars at any S/N", rows)
    bad = [row for row in judged if _excess(row) > TOLERATED_SIGMA]
    worst = max(judged, key=lambda row: (_excess(row), abs(float(row["within"]) - WITHIN_68)))
    lowest = min(float(row["snr"]) for row in judged)
    sentence = (
        f"{len(bad)} of {len(judged)} labels and levels down to S/N {lowest:g} are biased by more "
        f"than {MAX_BIAS_ERRORS:g} quoted error or hold their 68 % error for fewer or more than "
        f"{100 * WITHIN_68:.0f} +- {100 * COVERAGE_BAND:.0f} % of the stars; the worst is "
        f"{worst['label']} at {float(worst['snr']):g}: bias {float(worst['bias']):+.3g} +- "
        f"{float(worst['bias_error']):.2g}, within {100 * float(worst['within']):.0f} % "
        f"(true scatter {float(worst['scatter']):.3g}, quoted {float(worst['quoted_error']):.3g})"
    )
    return Answer(Verdict.FAILED if bad else Verdict.PASSED, sentence, rows)


def _excess(row: AnswerRow) -> float:
    return max(float(row["bias_sigma"]), float(row["within_sigma"]))
