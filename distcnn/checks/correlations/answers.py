"""Answer of the check of correlations: nulls, inputs taken away, and the labels' own variation."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.correlations.figures import draw_correlations
from distcnn.checks.correlations.nulls import (
    MASKED,
    SHUFFLED,
    WITHOUT,
    Null,
    masked_lines,
    null_rows,
    shuffled_spectra,
)
from distcnn.checks.correlations.own_variation import own_slope_rows, pair_rows
from distcnn.checks.decision import MIN_STARS, decide
from distcnn.checks.injection.answers import has_spectra
from distcnn.checks.injection.changes import without
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.predictor import PredictedStars
from distcnn.checks.stars import StarTable

SNR_QUANTILE = 0.5
"""The labels' own variation is asked of the half of the stars with the higher S/N."""


def answer_correlations(inputs: CheckInputs) -> Answer:
    """Of stars outside training with references."""
    judged = inputs.judged
    stars = judged.drawn(np.ones(len(judged), bool), inputs.config.injected_stars)
    if len(stars) < MIN_STARS:
        return Answer(
            Verdict.UNDECIDED,
            f"no {MIN_STARS} stars outside training with references (there are {len(stars)})",
        )
    names, base = inputs.labels, inputs.predict(stars)
    nulls = list(_nulls(inputs, stars))
    rows = null_rows(names, base, nulls, stars.reference, stars.reference_error)
    rows = _asked([*rows, *_own_rows(names, base, stars)], names, base)
    if not rows:
        return Answer(Verdict.UNDECIDED, "no label has references to be judged by")
    figures = {FIGURE: partial(draw_correlations, rows, names)}
    verdict, sentence = judge_correlations(rows)
    return Answer(verdict, sentence, rows, figures)


def _asked(
    rows: Sequence[AnswerRow], names: Sequence[str], base: PredictedStars
) -> list[AnswerRow]:
    """Without those of labels that so few stars have that they have no errors either: they would
    leave the check open for good.
    """
    quoted = dict(zip(names, base.quoted, strict=True))
    return [
        row
        for row in rows
        if quoted.get(str(row["label"]), True) or float(row["stars"]) >= MIN_STARS
    ]


def _nulls(inputs: CheckInputs, stars: StarTable) -> Iterator[Null]:
    arrays = inputs.arrays(stars)
    rng = np.random.default_rng(inputs.config.seed)
    if has_spectra(inputs):
        yield Null(SHUFFLED, inputs.predictor(shuffled_spectra(arrays, rng)))
        yield Null(MASKED, inputs.predictor(masked_lines(arrays)))
    used = [row for row in inputs.package.spec.modalities if row.name != "snr"]
    for modality in used if len(used) > 1 else ():
        names = (*modality.variables, *(("flux_error",) if modality.name == "flux" else ()))
        if modality.variables[0] in arrays:
            yield Null(f"{WITHOUT} {modality.name}", inputs.predictor(without(arrays, names)))


def _own_rows(names: Sequence[str], base: PredictedStars, stars: StarTable) -> list[AnswerRow]:
    known = np.isfinite(stars.snr)
    least = np.quantile(stars.snr[known], SNR_QUANTILE) if known.any() else -np.inf
    bright: Array = ~known | (stars.snr >= least)
    label, reference = base.label[bright], stars.reference[bright]
    rows = own_slope_rows(names, label, reference, stars.reference_error[bright])
    return [*rows, *pair_rows(names, base.label, stars.reference)]


def judge_correlations(rows: Sequence[AnswerRow]) -> tuple[Verdict, str]:
    """Fails if a single value misses its limit."""
    # Rows of too few stars have no error, and none of these is judged.
    asked = [row for row in rows if float(row["least"]) > 0]
    known = [row for row in asked if float(row["value_error"]) > 0]
    if not known:
        return Verdict.UNDECIDED, "no value of which enough is asked has stars enough"
    found = decide(asked, min_share=0.0)
    worst = min(known, key=lambda row: float(row["value"]) / float(row["least"]))
    sentence = (
        f"{len(found.failed)} of {len(asked)} values beyond their limits; worst {_of(worst)}"
        if found.failed
        else f"none of {len(asked)} values misses its limit; least {_of(worst)}"
    )
    return found.verdict, sentence + found.note(lambda row: f"{row['label']}, {row['test']},")


def _of(row: AnswerRow) -> str:
    return (
        f"{row['label']}, {row['test']}: {float(row['value']):.2f} +- "
        f"{float(row['value_error']):.2f}, at least {float(row['least']):g} is asked for"
    )
