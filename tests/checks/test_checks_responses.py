"""What is made of labels that move, and of stars that are flagged, when inputs are changed."""

import numpy as np
import pytest

from distcnn.checks import Verdict
from distcnn.checks.injection.answers import (
    RESOLUTION,
    answer_continuum,
    answer_resolution,
)
from distcnn.checks.injection.figures import draw_responses
from distcnn.checks.injection.responses import judge_responses, response_rows
from distcnn.checks.predictor import PredictedStars
from distcnn.schema import Flag
from distcnn.style import style

STARS, NAMES = 200, ("teff", "mh")


def found(shift=0.0, flagged=0.0):
    label = np.zeros((STARS, 2)) + shift
    error = np.ones((STARS, 2))
    flags = np.where(np.arange(STARS) < flagged * STARS, int(Flag.NOVEL_SPECTRUM), 0)
    return PredictedStars(label, error, error, error, flags)


@pytest.mark.parametrize(
    ("shift", "flagged", "before", "verdict", "said"),
    [
        (0.9, 0.0, 0.0, Verdict.PASSED, "moves 0 labels"),
        (1.1, 0.4, 0.0, Verdict.FAILED, "moves 2 labels"),
        (-1.1, 0.0, 0.0, Verdict.FAILED, "most teff: -1.10 errors"),
        (0.0, 0.6, 0.1, Verdict.FAILED, "flag 60 % of the stars as unusable for teff, mh"),
        (9.0, 0.9, 0.9, Verdict.UNDECIDED, "90 % of the stars are flagged"),
    ],
)
def test_shifts_and_flags_at_tolerated_levels_decide(shift, flagged, before, verdict, said):
    rows = response_rows(NAMES, found(0, before), RESOLUTION, lambda _: found(shift, flagged))
    answer = judge_responses(rows, RESOLUTION)
    assert answer.verdict is verdict
    assert said in answer.sentence


def test_what_happens_beyond_the_tolerated_level_is_told_and_does_not_fail():
    def predict(level):
        return found(5.0 if level > RESOLUTION.tolerated else 0.0)

    rows = response_rows(NAMES, found(), RESOLUTION, predict)
    assert judge_responses(rows, RESOLUTION).verdict is Verdict.PASSED
    assert max(row["shift_errors"] for row in rows) == 5.0
    with style():
        draw_responses(rows, NAMES, RESOLUTION).draw_without_rendering()


def test_broadening_is_put_on_real_spectra_and_no_spectra_are_undecided(lines):
    answer = answer_resolution(lines.inputs())
    assert answer.verdict is Verdict.PASSED
    assert [row["level"] for row in answer.rows[:: len(lines.inputs().labels)]] == [
        *RESOLUTION.levels
    ]


def test_a_survey_of_other_normalisation_has_no_regimes_to_switch_between(lines):
    answer = answer_continuum(lines.inputs())
    assert answer.verdict is Verdict.UNDECIDED
    assert "before anything is changed" in answer.sentence
