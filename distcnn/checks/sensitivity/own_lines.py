"""Own lines: how much of a label's sensitivity falls on the lines of its own element.

A label that is drawn from an element's lines is sensitive where they are, and rises when they
deepen; one that is drawn from correlations with other labels is not (Hattori et al. 2024).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import MIN_STARS, SIGMA_OUTSIDE, decide, sigma_outside
from distcnn.checks.sensitivity.gradients import Sensitivity
from distcnn.checks.sensitivity.lines import covered_lines, elements_of, template

MIN_CONTRAST = 1.2
"""Least mean sensitivity on the own lines, in units of that of the whole spectrum. Of a label
with lines of its own only what raises it as flux is missing counts: [Si/Fe] falls as lines of
iron deepen, and that is no sensitivity to silicon."""
MAX_CHANCE = 0.05
"""Largest fraction of shifted line lists on which the sensitivity is as large."""
MIN_SHIFT = 0.01
"""Least shift of the null line lists, as a fraction of the spectrum."""


@dataclass(frozen=True)
class OnLines:
    """Sensitivity on a set of lines.

    Attributes
    ----------
    contrast : mean sensitivity on the lines over that of the whole spectrum.
    chance : fraction of circular shifts of the lines that have at least this contrast.
    response : change of the label when all the lines deepen by 1 % of the continuum, label units.
    contrast_error, response_error : sampling errors of both at most, as if the gradients of a star
        were off the mean at all pixels together.
    """

    contrast: float
    chance: float
    response: float
    contrast_error: float = 0.0
    response_error: float = 0.0


def on_lines(
    gradient: Array, where: Array, *, rising: bool = True, error: Array | float = 0.0
) -> OnLines:
    """Judge a mean gradient [P] by where lines are: ``where`` [P], their template.

    ``rising``: only what raises the label as lines deepen counts; else any change. ``error`` [P]:
    sampling error of the mean gradient.
    """
    good = np.isfinite(gradient)
    size = np.where(good, np.maximum(-gradient, 0.0) if rising else np.abs(gradient), 0.0)
    weight = np.where(good, where, 0.0)
    if not weight.sum() > 0 or not size.sum() > 0:
        return OnLines(float("nan"), float("nan"), float("nan"))
    level = size[good].mean()
    # Circular cross-correlation: the contrast of the lines at every shift.
    shifted = np.fft.irfft(np.fft.rfft(size) * np.conj(np.fft.rfft(weight)), len(size))
    contrast = shifted / weight.sum() / level
    least = max(1, round(MIN_SHIFT * len(size)))
    null = contrast[least:-least] if len(size) > 2 * least else contrast[1:]
    deepened = -0.01 * float(np.sum(np.where(good, gradient, 0.0) * np.minimum(weight, 1.0)))
    off = np.where(good & (size > 0), np.nan_to_num(error), 0.0)
    slope = (weight / weight.sum() - contrast[0] * good / good.sum()) / level
    return OnLines(
        float(contrast[0]),
        float((null >= contrast[0]).mean()),
        deepened,
        float(np.abs(slope) @ off),
        float(0.01 * np.minimum(weight, 1.0) @ np.where(good, np.nan_to_num(error), 0.0)),
    )


def own_line_rows(
    sensitivity: Sensitivity, wavelength: Array, medium: str = "vacuum"
) -> list[AnswerRow]:
    """One row per label and stellar type: sensitivity on own lines, and whose lines have most.

    Parameters
    ----------
    wavelength : of the pixels [P], nm.
    medium : ``air`` or ``vacuum``, of ``wavelength``.
    """
    lines = covered_lines(wavelength, medium)
    elements = list(dict.fromkeys(lines.element.tolist()))
    where = {name: template(lines.of([name]), wavelength, medium) for name in elements}
    rows: list[AnswerRow] = []
    for number, label in enumerate(sensitivity.labels):
        own = [name for name in elements_of(label) if name in where]
        mine = np.sum([where[name] for name in own], axis=0) if own else np.zeros(len(wavelength))
        for kind, type_name in enumerate(sensitivity.types):
            if sensitivity.stars[kind] < MIN_STARS:
                continue
            gradient = sensitivity.gradient[kind, number]
            error = sensitivity.spread[kind, number] / math.sqrt(sensitivity.stars[kind])
            found = on_lines(gradient, mine, error=error)
            rows.append(
                {
                    "label": label,
                    "type": type_name,
                    "stars": int(sensitivity.stars[kind]),
                    "own": "+".join(own),
                    "lines": len(lines.of(own)),
                    **_values(found),
                    SIGMA_OUTSIDE: _sigma_outside(found),
                    **_most(gradient, where, rising=bool(own)),
                }
            )
    return rows


def _values(found: OnLines) -> dict[str, float]:
    # A table of JSON values has no NaN; a label without lines has contrast 0.
    return {name: value if np.isfinite(value) else 0.0 for name, value in vars(found).items()}


def _sigma_outside(found: OnLines) -> float:
    """Of the criterion that is nearest to its limit; chance has no sampling error of stars."""
    if not np.isfinite(found.contrast):  # nothing raises the label
        return sigma_outside(MIN_CONTRAST, 0.0, 0.0)
    return max(
        sigma_outside(MIN_CONTRAST, found.contrast, found.contrast_error),
        sigma_outside(0.0, found.response, found.response_error),
        sigma_outside(found.chance, MAX_CHANCE + 1e-9, 0.0),
    )


def _most(gradient: Array, where: dict[str, Array], *, rising: bool) -> dict[str, str | float]:
    """The element whose lines have the largest contrast."""
    found = {name: on_lines(gradient, lines, rising=rising) for name, lines in where.items()}
    each = {name: one.contrast for name, one in found.items()}
    known = {name: value for name, value in each.items() if np.isfinite(value)}
    if not known:
        return {"most": "", "most_contrast": 0.0}
    first = max(known, key=lambda name: known[name])
    return {"most": first, "most_contrast": known[first]}


def judge_own_lines(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where a label with lines of its own in the range is not sensitive on them."""
    judged = [row for row in rows if row["lines"] and row["type"] == "all stars"]
    if not judged:
        return Answer(
            Verdict.UNDECIDED, "no label has lines of its own that are known in this range", rows
        )
    decided = decide(judged)
    worst = min(judged, key=lambda row: float(row["contrast"]))
    threshold = f"{MIN_CONTRAST:g} times the mean, by chance in at most {MAX_CHANCE:.0%}"
    if decided.failed:
        named = "; ".join(_words(row) for row in decided.failed)
        return Answer(Verdict.FAILED, f"not drawn from own lines ({threshold}): {named}", rows)
    sentence = (
        f"{len(decided.held)} of {len(judged)} labels with own lines ({threshold}); least "
        f"{_words(worst)}"
    )
    return Answer(decided.verdict, sentence + decided.note(lambda row: str(row["label"])), rows)


def _words(row: AnswerRow) -> str:
    return (
        f"{row['label']} has {float(row['contrast']):.2f} +- "
        f"{float(row['contrast_error']):.2f} on {row['lines']} lines of {row['own']} "
        f"(chance {float(row['chance']):.2f}, most on {row['most']})"
    )
