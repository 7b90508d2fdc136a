"""Own lines: how much of a label's sensitivity falls on the lines of its own element.

A label that is drawn from an element's lines is sensitive where they are, and rises when they
deepen; one that is drawn from correlations with other labels is not (Hattori et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.sensitivity.gradients import Sensitivity
from distcnn.checks.sensitivity.lines import covered_lines, elements_of, template

MIN_CONTRAST = 1.2
"""Least mean sensitivity on the own lines, in units of that of the whole spectrum. Of a label
with lines of its own only what raises it as flux is missing counts: [Si/Fe] falls as lines of
iron deepen, and that is no sensitivity to silicon."""
MAX_CHANCE = 0.05
"""Largest fraction of shifted line lists on which the sensitivity is as large."""
MIN_STARS = 30
"""Types with fewer stars are not averaged over."""
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
    """

    contrast: float
    chance: float
    response: float


def on_lines(gradient: Array, where: Array, *, rising: bool = True) -> OnLines:
    """Judge a mean gradient [P] by where lines are: ``where`` [P], their template.

    ``rising``: only what raises the label as lines deepen counts; else any change.
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
    return OnLines(float(contrast[0]), float((null >= contrast[0]).mean()), deepened)


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
            rows.append(
                {
                    "label": label,
                    "type": type_name,
                    "stars": int(sensitivity.stars[kind]),
                    "own": "+".join(own),
                    "lines": len(lines.of(own)),
                    **_values(on_lines(gradient, mine)),
                    **_most(gradient, where, rising=bool(own)),
                }
            )
    return rows


def _values(found: OnLines) -> dict[str, float]:
    # A table of JSON values has no NaN; a label without lines has contrast 0.
    values = {"contrast": found.contrast, "chance": found.chance, "response": found.response}
    return {name: value if np.isfinite(value) else 0.0 for name, value in values.items()}


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
    bad = [row for row in judged if not _drawn_from_lines(row)]
    worst = min(judged, key=lambda row: float(row["contrast"]))
    threshold = f"{MIN_CONTRAST:g} times the mean, by chance in at most {MAX_CHANCE:.0%}"
    if bad:
        named = "; ".join(_words(row) for row in bad)
        return Answer(Verdict.FAILED, f"not drawn from own lines ({threshold}): {named}", rows)
    return Answer(
        Verdict.PASSED,
        f"all of {len(judged)} labels with own lines ({threshold}); least {_words(worst)}",
        rows,
    )


def _drawn_from_lines(row: AnswerRow) -> bool:
    found = float(row["contrast"]), float(row["chance"]), float(row["response"])
    return found[0] >= MIN_CONTRAST and found[1] <= MAX_CHANCE and found[2] > 0


def _words(row: AnswerRow) -> str:
    return (
        f"{row['label']} has {float(row['contrast']):.2f} on {row['lines']} lines of {row['own']} "
        f"(chance {float(row['chance']):.2f}, most on {row['most']})"
    )
