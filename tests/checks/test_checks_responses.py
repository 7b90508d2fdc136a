"""What is made of labels that move, and of stars that are flagged, when inputs are changed."""

import re

import numpy as np
import pytest

from distcnn.checks import Verdict
from distcnn.checks.injection.answers import RESOLUTION, VELOCITY
from distcnn.checks.injection.continuum import jump_rows
from distcnn.checks.injection.figures import draw_responses
from distcnn.checks.injection.responses import judge_responses, noise_rows, response_rows
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
        (0.4, 0.0, 0.0, Verdict.PASSED, "no label beyond the limits"),
        (0.6, 0.4, 0.0, Verdict.FAILED, "teff, mh beyond the limits"),
        (-1.1, 0.0, 0.0, Verdict.FAILED, "-1.10 quoted errors in the median"),
        (0.0, 0.7, 0.1, Verdict.FAILED, "flag 70 % of the stars as unusable for teff, mh"),
        (0.0, 0.6, 0.1, Verdict.UNDECIDED, "not decided"),
        (9.0, 0.9, 0.9, Verdict.UNDECIDED, "90 % of the stars are flagged"),
    ],
)
def test_shifts_and_flags_at_tolerated_levels_decide(shift, flagged, before, verdict, said):
    rows = response_rows(NAMES, found(0, before), RESOLUTION, lambda _: found(shift, flagged))
    answer = judge_responses(rows)
    assert answer.verdict is verdict
    assert said in answer.sentence


def test_what_happens_beyond_the_tolerated_level_is_told_and_does_not_fail():
    def predict(level):
        return found(5.0 if level > RESOLUTION.tolerated else 0.0)

    rows = response_rows(NAMES, found(), RESOLUTION, predict)
    assert judge_responses(rows).verdict is Verdict.PASSED
    assert max(row["shift_errors"] for row in rows) == 5.0
    with style():
        draw_responses(rows, NAMES).draw_without_rendering()


def test_labels_that_move_to_either_side_fail_by_their_width():
    after = found()
    after.label[::2] += 2.0
    after.label[1::2] -= 2.0
    rows = response_rows(NAMES, found(), RESOLUTION, lambda _: after)
    assert abs(rows[0]["shift_errors"]) <= 2.0
    assert judge_responses(rows).verdict is Verdict.FAILED


def test_velocities_count_to_either_side():
    def predict(level):
        return found(1.0 if level == -2.0 else 0.0)

    answer = judge_responses(response_rows(NAMES, found(), VELOCITY, predict))
    assert answer.verdict is Verdict.FAILED
    assert "-2 km/s" in answer.sentence


@pytest.mark.parametrize(("jump", "verdict"), [(0.3, Verdict.PASSED), (0.9, Verdict.FAILED)])
def test_residuals_that_jump_at_the_switch_fail(rng, jump, verdict):
    faint = np.arange(STARS) % 2 == 0
    reference = 0.1 * rng.standard_normal((STARS, 2)) - jump * faint[:, None]
    rows = jump_rows(NAMES, found(), reference, faint)
    assert rows[0]["shift"] == pytest.approx(jump, abs=0.05)
    answer = judge_responses(rows)
    assert answer.verdict is verdict
    # A jump is one number, in the unit of its label: there is no share of stars to tell of.
    assert re.search(r"limit 0.5; \+0\.\d+ (K|dex)\)", answer.sentence)
    assert "68 % by less" not in answer.sentence


@pytest.mark.parametrize("known", [0.0, 2.0])
def test_residuals_are_held_against_the_errors_of_the_references_too(rng, known):
    reference = np.hypot(1, known) * rng.standard_normal((STARS, 2))
    rows = noise_rows(NAMES, found(), reference, np.full_like(reference, known), 20.0)
    for row in rows:
        assert row["within"] == pytest.approx(0.68, abs=0.11)
