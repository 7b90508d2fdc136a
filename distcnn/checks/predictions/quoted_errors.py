"""Do the quoted errors hold: are 68 % of the references within them, in every bin of S/N."""

import math

from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.inputs import NO_PREDICTIONS, CheckInputs, EvaluatedPredictions
from distcnn.evaluation.records import CoverageRow

MIN_STARS = 100
"""Bins with fewer stars decide nothing."""
TOLERATED_SIGMA = 3.0
"""Sampling errors by which a fraction may lie outside ``report.coverage_band``."""


def answer_quoted_errors(inputs: CheckInputs) -> Answer:
    """Of the prediction store that was given."""
    if inputs.evaluated is None:
        return Answer(Verdict.UNDECIDED, NO_PREDICTIONS)
    return quoted_errors(inputs.evaluated)


def quoted_errors(data: EvaluatedPredictions) -> Answer:
    """Fails where a fraction lies outside the band by more than chance explains."""
    band = data.config.coverage_band
    found = [row for row in data.numbers.coverage if row["stars"] >= MIN_STARS]
    if not found:
        sentence = f"no bin has {MIN_STARS} stars outside training with a reference"
        return Answer(Verdict.UNDECIDED, sentence)
    rows = [_row(row, band) for row in found]
    wrong = [row for row in rows if float(row["sigma_outside"]) > TOLERATED_SIGMA]
    worst = max(rows, key=lambda row: float(row["sigma_outside"]))
    sentence = (
        f"{len(wrong)} of {len(rows)} bins lie more than {TOLERATED_SIGMA:g} sampling errors "
        f"outside {band[0]:.0%} to {band[1]:.0%}; the worst is {worst['label']} at S/N "
        f"{worst['snr']}: {float(worst['within_68']):.1%} within one error"
    )
    return Answer(Verdict.FAILED if wrong else Verdict.PASSED, sentence, rows)


def _row(row: CoverageRow, band: tuple[float, float]) -> AnswerRow:
    within = row["within_68"]
    outside = max(band[0] - within, within - band[1], 0.0)
    sampling = math.sqrt(max(within * (1 - within), 1e-4) / row["stars"])
    return {
        "label": row["label"],
        "snr": row["snr"],
        "stars": row["stars"],
        "within_68": within,
        "sigma_outside": outside / sampling,
    }
