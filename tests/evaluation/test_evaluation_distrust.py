from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from distcnn.config import ReportConfig
from distcnn.evaluation import evaluate
from distcnn.evaluation.distrust import MIN_STARS, distrusted, label_ranges
from distcnn.evaluation.metrics import calibration_shares

PLAIN = ReportConfig(figures=())


@pytest.fixture(scope="module")
def evaluated(products):
    return evaluate(products.data, PLAIN)


def test_right_errors_and_no_bias_raise_no_more_than_chance_does(evaluated):
    found = evaluated[0].distrust
    assert found["compared"] > 100
    coverage = [row for row in found["rows"] if row["kind"] in ("coverage", "bias")]
    assert len(coverage) <= 0.05 * found["compared"]


def test_ranges_of_a_label_hold_every_evaluated_star(evaluated):
    numbers, sample = evaluated
    for name in numbers.labels:
        mine = [row for row in numbers.ranges if row["label"] == name]
        assert all(one["high"] == two["low"] for one, two in pairwise(mine))
        assert sum(row["stars"] for row in mine) > 0.9 * sample.evaluated.sum()
        assert min(row["stars"] for row in mine) >= MIN_STARS


def test_errors_halved_are_called_too_small_wherever_they_are(evaluated):
    numbers, sample = evaluated
    rows = label_ranges(replace(sample, label_error=sample.label_error / 2), numbers.labels)
    found = distrusted(replace(numbers, ranges=rows, coverage=[], cells=[]))
    wrong = [row for row in found["rows"] if row["kind"] == "coverage"]
    assert {row["label"] for row in wrong} == set(numbers.labels)
    assert {row["advice"] for row in wrong} == {"errors are too small here"}
    assert len(wrong) > len(rows)


def test_ranges_count_within_the_width_that_the_package_states(evaluated):
    numbers, sample = evaluated
    wide = label_ranges(sample, numbers.labels, (3.0,) * len(numbers.labels))
    usual = label_ranges(sample, numbers.labels)
    assert np.mean([row["within_95"] for row in wide]) > np.mean([r["within_95"] for r in usual])
    assert [row["within_68"] for row in wide] == [row["within_68"] for row in usual]


def test_chance_is_that_of_the_calibration_stars_too(evaluated):
    numbers, sample = evaluated
    labels, halved = len(numbers.labels), replace(sample, label_error=sample.label_error / 2)
    shares = [calibration_shares(sample, [n] * labels, [0.0] * labels) for n in (10**6, 20)]
    rows = [label_ranges(halved, numbers.labels, None, share) for share in shares]
    assert sum(row["calibration"] for row in rows[1]) == pytest.approx(20 * labels, rel=0.05)
    found = [distrusted(replace(numbers, ranges=r, coverage=[], cells=[])) for r in rows]
    some, fewer = (sum(row["kind"] == "coverage" for row in one["rows"]) for one in found)
    assert fewer < some


def test_a_calibration_star_counts_the_less_the_larger_its_reference_error_is(evaluated):
    numbers, sample = evaluated
    labels = len(numbers.labels)
    exact = calibration_shares(sample, [300] * labels, [0.0] * labels)
    assert exact[sample.evaluated].sum(axis=0) == pytest.approx(300)
    rough = calibration_shares(sample, [300] * labels, np.nanmedian(sample.label_error, axis=0))
    known = np.isfinite(rough)
    assert (rough[known] <= exact[known]).all()
    assert np.nanmedian(rough / exact) == pytest.approx(0.25, rel=0.1)
    assert calibration_shares(sample, [], []) is None


def test_where_nobody_has_a_reference_there_is_still_a_share(evaluated):
    numbers, sample = evaluated
    unknown = replace(sample, reference=np.full_like(sample.reference, np.nan))
    shares = calibration_shares(
        unknown, (300.0,) * len(numbers.labels), (0.0,) * len(numbers.labels)
    )
    assert not unknown.evaluated.any()
    assert (shares == 300).all()


def test_a_label_that_is_shifted_at_one_end_is_found_there(evaluated):
    numbers, sample = evaluated
    hot = sample.label[:, 0] > np.nanquantile(sample.label[:, 0], 0.8)
    label = sample.label.copy()
    label[hot, 0] += 60
    rows = label_ranges(replace(sample, label=label), numbers.labels)
    found = distrusted(replace(numbers, ranges=rows))
    shifted = [row for row in found["rows"] if row["kind"] == "bias" and row["label"] == "teff"]
    worst = max(shifted, key=lambda row: row["value"])
    assert worst["value"] > 40
    assert worst["advice"] == "the label is too high here"
    assert float(worst["where"].split()[2]) > np.nanquantile(sample.label[:, 0], 0.6)


def test_a_rival_that_wins_is_named(evaluated):
    numbers, _ = evaluated
    methods = {
        name: row | {"mad": 0.5 * row["mad"] if name == "ridge" else row["mad"]}
        for name, row in numbers.comparison[0]["methods"].items()
    }
    methods["ridge"]["mad"] = 0.5 * methods["network"]["mad"]
    row = numbers.comparison[0] | {"methods": methods}
    found = distrusted(replace(numbers, comparison=[row]))
    (lost,) = (one for one in found["rows"] if one["kind"] == "rival")
    assert lost["advice"] == "ridge has the smaller scatter here"
    assert lost["expected"] == pytest.approx(lost["value"] / 2)
