"""A verdict does not depend on how many stars there are: more of them only decide what was open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.checks import Verdict
from distcnn.checks.comparison.repeats import judge_repeats, repeat_rows
from distcnn.checks.decision import MIN_STARS, decide, label_and_snr, sigma_outside, small_sample

NOT_DECIDED = {Verdict.UNDECIDED}


def row(value, error, stars=1000, label="teff"):
    outside = sigma_outside(value, 1.0, error)
    return {"label": label, "snr": "all", "stars": stars, "sigma_outside": outside}


def verdict(*rows):
    return decide(rows).verdict


@pytest.mark.parametrize(
    ("value", "error", "found"),
    [
        (0.8, 0.1, Verdict.PASSED),
        (0.9, 0.1, Verdict.UNDECIDED),
        (1.2, 0.1, Verdict.UNDECIDED),
        (1.4, 0.1, Verdict.FAILED),
        (1.4, 0.2, Verdict.UNDECIDED),
    ],
)
def test_a_value_holds_or_fails_only_beyond_its_sampling_error(value, error, found):
    assert verdict(row(value, error)) is found


def test_one_open_value_leaves_the_check_open_and_one_failed_decides_it():
    good, near, bad = row(0.5, 0.1), row(1.0, 0.1), row(2.0, 0.1)
    assert verdict(good, near) is Verdict.UNDECIDED
    assert verdict(good, near, bad) is Verdict.FAILED
    assert verdict() is Verdict.UNDECIDED


def test_too_few_stars_are_open_and_never_pass_or_fail():
    assert verdict(row(0.5, 0.01, MIN_STARS - 1)) is Verdict.UNDECIDED
    assert verdict(row(2.0, 0.01, MIN_STARS - 1)) is Verdict.UNDECIDED
    assert verdict(row(0.5, 0.01, MIN_STARS)) is Verdict.PASSED


@pytest.mark.parametrize("scale", [1, 10, 1000])
def test_bins_of_few_of_the_stars_are_left_out_whatever_their_number(scale):
    whole, rare = row(0.5, 0.1, 10_000 * scale), row(9.0, 0.01, 250 * scale)
    assert verdict(whole, rare) is Verdict.PASSED
    assert verdict(whole, {**rare, "stars": 400 * scale}) is Verdict.FAILED
    # Of another label they are no part.
    assert verdict(whole, {**rare, "label": "logg"}) is Verdict.FAILED


@given(st.floats(0, 3), st.floats(0.1, 3), st.integers(30, 10_000), st.integers(2, 50))
def test_with_the_same_value_more_stars_never_turn_a_verdict(value, spread, stars, more):
    few, many = (verdict(row(value, spread / np.sqrt(n), n)) for n in (stars, stars * more))
    assert few in (many, Verdict.UNDECIDED)


def test_of_subsamples_of_one_survey_no_two_contradict_each_other():
    rng = np.random.default_rng(1)
    for width in (0.7, 1.05, 1.6):
        label = rng.normal(0, width, (2, 6000))
        found = set()
        for stars in (40, 150, 600, 6000):
            star = np.tile(np.arange(stars), 2)
            values = label[:, :stars].reshape(-1, 1)
            rows = repeat_rows(
                ["mh"], star, values, np.ones_like(values), snr=np.full(len(star), 50.0), edges=[20]
            )
            found.add(judge_repeats(rows).verdict)
        assert len(found - NOT_DECIDED) <= 1
        assert (found - NOT_DECIDED) == {Verdict.FAILED if width > 1.1 else Verdict.PASSED}


def test_the_note_names_what_fewest_stars_would_decide():
    near, nearer = row(0.95, 0.1, 400), row(0.99, 0.1, 400, "logg")
    note = decide([near, nearer]).note(label_and_snr)
    assert note.startswith("; 2 of 2 not decided, of which teff at S/N all needs the fewest")
    assert "about 4,300 stars would decide it, there are 400" in note
    assert decide([row(0.5, 0.1)]).note(label_and_snr) == ""
    assert "any number of stars" in decide([row(1.0, 0.1)]).note(label_and_snr)


def test_the_scatter_of_few_stars_is_known_so_little_that_it_counts():
    assert small_sample(3.0, 1000) == pytest.approx(3.0, abs=0.02)
    assert small_sample(-3.0, 6) == pytest.approx(-2.17, abs=0.05)
    assert small_sample(3.0, 1) == 0


def test_of_too_few_stars_nothing_is_said_of_how_many_would_decide():
    note = decide([row(0.95, 0.1, 12)]).note(label_and_snr)
    assert "it is judged of 30 stars and more, there are 12" in note
    assert "would decide" not in note
