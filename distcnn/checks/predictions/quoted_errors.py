"""Do the quoted errors hold: are 68 % of the references within them, in every bin of S/N."""

from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import BEYOND_SIGMA, decide, label_and_snr, sigma_outside
from distcnn.checks.inputs import NO_PREDICTIONS, CheckInputs, EvaluatedPredictions
from distcnn.evaluation.records import CoverageRow
from distcnn.stats import WITHIN_68, coverage_error

MIN_STARS = 100
"""Stars from which on a bin is judged."""


def answer_quoted_errors(inputs: CheckInputs) -> Answer:
    """Of the prediction store that was given."""
    if inputs.evaluated is None:
        return Answer(Verdict.UNDECIDED, NO_PREDICTIONS)
    return quoted_errors(inputs.evaluated)


def quoted_errors(data: EvaluatedPredictions) -> Answer:
    """Fails where a fraction lies outside the band by more than chance explains."""
    band = data.config.coverage_band
    rows = [_row(row, band) for row in data.numbers.coverage if row["stars"]]
    found = decide(rows, least=MIN_STARS)
    if not found.judged:
        sentence = f"no bin has {MIN_STARS} stars outside training with a reference"
        return Answer(Verdict.UNDECIDED, sentence, rows)
    worst = max(found.judged, key=lambda row: float(row["sigma_outside"]))
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} bins lie more than {BEYOND_SIGMA:g} sampling "
        f"errors outside {100 * band[0]:.0f} to {100 * band[1]:.0f} %; the worst is "
        f"{worst['label']} at S/N {worst['snr']}: {100 * float(worst['within_68']):.1f} +- "
        f"{100 * float(worst['within_error']):.1f} % within one error"
    )
    return Answer(found.verdict, sentence + found.note(label_and_snr), rows)


def _row(row: CoverageRow, band: tuple[float, float]) -> AnswerRow:
    within = row["within_68"]
    outside = max(band[0] - within, within - band[1])
    sampling = float(coverage_error(WITHIN_68, row["stars"], row.get("calibration")))
    return {
        "label": row["label"],
        "snr": row["snr"],
        "stars": row["stars"],
        "within_68": within,
        "within_error": sampling,
        "sigma_outside": sigma_outside(outside, 0.0, sampling),
    }
