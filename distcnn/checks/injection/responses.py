"""Responses: what labels do when the inputs of the same stars are changed, level by level.

Legend: N star, L label.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import (
    BEYOND_SIGMA,
    MEDIAN_ERROR,
    MIN_SHARE,
    MIN_STARS,
    SIGMA_OUTSIDE,
    WIDTH_68_ERROR,
    decide,
    label_and_snr,
    sigma_outside,
    unit_after,
)
from distcnn.checks.predictor import PredictedStars
from distcnn.schema import Flag
from distcnn.stats import WITHIN_68, robust_std

UNUSABLE = Flag.NOVEL_SPECTRUM | Flag.NO_SPECTRUM | Flag.NON_FINITE | Flag.UNCALIBRATED
"""Flags that say of a star that its labels must not be used: such stars are not judged."""
MAX_FLAGGED = 0.5
"""Largest share of clean stars that may be flagged as unusable, where the survey has such stars."""
MAX_SHIFT_ERRORS, MAX_WIDTH_ERRORS = 0.5, 1.0
"""Largest median shift of a label by what may happen to any star, and largest 68 % of the shifts
whatever their sign, in quoted errors."""
MAX_BIAS_ERRORS = 0.5
"""Largest mean residual under added noise, in quoted errors."""
COVERAGE_BAND = 0.10
"""How far the share of stars within the 68 % error may lie below 0.68 under added noise. More is no
fault: such stars still have the magnitudes and parallaxes of brighter ones."""


@dataclass(frozen=True)
class Change:
    """What is changed, and how much of it may happen to any star.

    Attributes
    ----------
    what : in a sentence, after "by". ``unit`` : of the levels.
    levels : ascending, without 0. ``tolerated`` : labels must stand levels up to this one, of
    either sign.
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
    """Median and spread of the shift of every label that has errors, at every level; ``predict``:
    stars there.
    """
    rows: list[AnswerRow] = []
    for level in change.levels:
        after = predict(level)
        rows += _of_level(names, before, after, change, level)
    return rows


def _of_level(
    names: Sequence[str],
    before: PredictedStars,
    after: PredictedStars,
    change: Change,
    level: float,
) -> Iterator[AnswerRow]:
    good, quoted = usable(after), before.quoted
    for number, name in enumerate(names):
        if not quoted[number]:
            continue
        error = after.label_error[good, number].astype(float)
        moved = (after.label - before.label)[good, number].astype(float)
        known = np.isfinite(moved) & np.isfinite(error) & (error > 0)
        yield {
            "label": name,
            "change": change.what,
            "level": level,
            "unit": change.unit,
            "tolerated": int(abs(level) <= change.tolerated),
            "stars": int(known.sum()),
            "asked": len(good),
            "flagged": float(1 - good.mean()),
            "flagged_before": float(1 - usable(before).mean()),
            **(found := _shifts(moved[known], error[known])),
            SIGMA_OUTSIDE: max(found[SIGMA_OUTSIDE], _flagged_outside(good)),
        }


def _shifts(moved: Array, error: Array) -> dict[str, float]:
    """Of shifts and quoted errors [N]: median, spread, both in errors, what is beyond limits."""
    pulls = moved / error
    low, middle, high = _quantiles(pulls)
    width = float(np.quantile(np.abs(pulls), WITHIN_68)) if len(pulls) else 0.0
    root = math.sqrt(max(len(pulls), 1))
    beyond = max(
        sigma_outside(abs(middle), MAX_SHIFT_ERRORS, MEDIAN_ERROR * (high - low) / 2 / root),
        sigma_outside(width, MAX_WIDTH_ERRORS, WIDTH_68_ERROR * width / root),
    )
    return {
        "shift": _quantiles(moved)[1],
        "spread": robust_std(moved) if len(moved) else 0.0,
        "quoted_error": _quantiles(error)[1],
        "shift_errors": middle,
        "low_errors": low,
        "high_errors": high,
        "width_errors": width,
        "sigma_outside": beyond,
    }


def _quantiles(values: Array) -> tuple[float, float, float]:
    """Of 16, 50 and 84 %; 0 of nothing."""
    if not len(values):
        return 0.0, 0.0, 0.0
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    return float(low), float(middle), float(high)


def judge_responses(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where, at a tolerated level, labels move or stars are flagged as unusable."""
    before = max((float(row["flagged_before"]) for row in rows), default=1.0)
    if before > MAX_FLAGGED:
        return Answer(
            Verdict.UNDECIDED,
            f"no answer: {100 * before:.0f} % of the stars are flagged as unusable before anything "
            "is changed",
            rows,
        )
    tolerated = [row for row in rows if row["tolerated"]]
    flagged = max(tolerated, key=lambda row: float(row["flagged"]))
    if _is_flagged(flagged):
        return Answer(
            Verdict.FAILED,
            f"{_place(flagged)} makes the package flag {100 * float(flagged['flagged']):.0f} % of "
            "the stars as unusable for "
            f"{', '.join(dict.fromkeys(str(row['label']) for row in rows))}",
            rows,
        )
    found = decide(tolerated, min_share=0.0)
    if not found.judged:
        return Answer(Verdict.UNDECIDED, f"no {MIN_STARS} unflagged stars at any level", rows)
    worst = max(found.judged, key=_in_limits)
    moved = ", ".join(dict.fromkeys(str(row["label"]) for row in found.failed)) or "no label"
    sentence = (
        f"{moved} beyond the limits; most {worst['label']}, by {_place(worst)}: "
        f"{float(worst['shift_errors']):+.2f} quoted errors in the median (limit "
        f"{MAX_SHIFT_ERRORS:g}; {float(worst['shift']):+.3g}{unit_after(worst)})"
    )
    if float(worst["width_errors"]):  # a jump has none
        sentence += (
            f", 68 % by less than {float(worst['width_errors']):.2f} (limit {MAX_WIDTH_ERRORS:g})"
        )
    return Answer(
        found.verdict, sentence + found.note(lambda row: f"{row['label']} by {_place(row)}"), rows
    )


def _is_flagged(row: AnswerRow) -> bool:
    """Whether more than ``MAX_FLAGGED`` of the stars are, beyond the sampling error."""
    sampling = 0.5 / math.sqrt(max(float(row["asked"]), 1.0))
    return sigma_outside(float(row["flagged"]), MAX_FLAGGED, sampling) > BEYOND_SIGMA


def _flagged_outside(good: Array) -> float:
    """Sampling errors by which the share of stars [N] that are not usable is too large."""
    return sigma_outside(1 - float(good.mean()), MAX_FLAGGED, 0.5 / math.sqrt(len(good)))


def _in_limits(row: AnswerRow) -> float:
    shift, width = abs(float(row["shift_errors"])), float(row["width_errors"])
    return max(shift / MAX_SHIFT_ERRORS, width / MAX_WIDTH_ERRORS)


def _place(row: AnswerRow) -> str:
    return f"{row['change']} of {float(row['level']):g} {row['unit']}"


def usable(found: PredictedStars) -> Array:
    """Stars [N] that no flag forbids to use."""
    return np.asarray((found.flags & int(UNUSABLE)) == 0)


def noise_rows(
    names: Sequence[str],
    found: PredictedStars,
    reference: Array,
    reference_error: Array,
    level: float,
    *,
    share: float = 1.0,
) -> Iterator[AnswerRow]:
    """Bias, scatter and coverage of stars at one S/N; ``reference`` and its error [N, L] in label
    units. A residual is held against both errors; labels without quoted errors have no row.

    ``share``: of the survey's stars, can be brought to this S/N.
    """
    good, quoted = usable(found), found.quoted
    for number, name in enumerate(names):
        if not quoted[number]:
            continue
        error = found.label_error[good, number]
        residual = found.label[good, number] - reference[good, number]
        known = np.isfinite(residual) & np.isfinite(error) & (error > 0)
        stars, residual = int(known.sum()), residual[known]
        error = np.hypot(error, np.nan_to_num(reference_error[good, number]))[known]
        yield {
            "label": name,
            "snr": level,
            "share": share,
            "stars": stars,
            "asked": len(good),
            "flagged": float(1 - good.mean()),
            **(found_here := _agreement(residual, error) if stars > 1 else _UNKNOWN),
            SIGMA_OUTSIDE: max(found_here[SIGMA_OUTSIDE], _flagged_outside(good)),
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
        "sigma_outside": max(
            sigma_outside(abs(bias), MAX_BIAS_ERRORS * quoted, sampling),
            sigma_outside(WITHIN_68 - COVERAGE_BAND, within, share),
        ),
    }


_UNKNOWN = dict.fromkeys(_agreement(np.array([0.0, 1.0]), np.ones(2)), 0.0)


def judge_noise(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where a label is biased, its errors do not hold, or most stars are flagged.

    Levels to which fewer than ``MIN_SHARE`` of the stars can be brought are told, not judged.
    """
    asked = [row for row in rows if float(row["share"]) >= MIN_SHARE]
    if not asked:
        return Answer(Verdict.UNDECIDED, "no S/N to which enough stars can be brought", rows)
    flagged = max(asked, key=lambda row: float(row["flagged"]))
    if _is_flagged(flagged):
        return Answer(
            Verdict.FAILED,
            f"at S/N {float(flagged['snr']):g}, which stars of the survey have, the package flags "
            f"{100 * float(flagged['flagged']):.0f} % as unusable for "
            f"{', '.join(dict.fromkeys(str(row['label']) for row in rows))}",
            rows,
        )
    found = decide(asked, min_share=0.0)
    if not found.judged:
        return Answer(Verdict.UNDECIDED, f"no {MIN_STARS} unflagged stars at any S/N", rows)
    worst = max(found.judged, key=lambda row: (float(row[SIGMA_OUTSIDE]), -float(row["within"])))
    lowest = min(float(row["snr"]) for row in found.judged)
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} labels and levels down to S/N {lowest:g} are "
        f"biased by more than "
        f"{MAX_BIAS_ERRORS:g} quoted error or hold their 68 % error for fewer than "
        f"{100 * (WITHIN_68 - COVERAGE_BAND):.0f} % of the stars; the worst is "
        f"{worst['label']} at S/N {float(worst['snr']):g}: bias {float(worst['bias']):+.3g} +- "
        f"{float(worst['bias_error']):.2g}{unit_after(worst)}, within the error "
        f"{100 * float(worst['within']):.0f} +- {100 * float(worst['within_error']):.0f} % (true "
        f"scatter {float(worst['scatter']):.3g}, quoted "
        f"{float(worst['quoted_error']):.3g}{unit_after(worst)})"
    )
    return Answer(found.verdict, sentence + found.note(label_and_snr), rows)
