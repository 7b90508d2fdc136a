"""Widths, bins of S/N and coverage, against what a Gaussian has to give."""

import numpy as np
import pytest
from scipy import stats as reference

from distcnn import stats


@pytest.fixture
def gaussian():
    return np.random.default_rng(3).normal(5, 2, 20_000)


def test_the_robust_width_of_a_gaussian_is_its_standard_deviation(gaussian):
    assert stats.robust_std(gaussian) == pytest.approx(2, rel=0.02)
    assert stats.robust_std(gaussian) == pytest.approx(
        reference.median_abs_deviation(gaussian, scale="normal"), rel=1e-5
    )


def test_outliers_do_not_move_the_robust_width(gaussian):
    spoilt = gaussian.copy()
    spoilt[:100] = 1e6
    assert stats.robust_std(spoilt) == pytest.approx(stats.robust_std(gaussian), rel=0.02)


def test_the_constants_are_those_of_a_gaussian():
    assert reference.norm.cdf(1) - reference.norm.cdf(-1) == pytest.approx(
        stats.WITHIN_68, abs=5e-5
    )
    assert reference.norm.cdf(2) - reference.norm.cdf(-2) == pytest.approx(
        stats.WITHIN_95, abs=5e-5
    )
    assert 1 / reference.norm.ppf(0.75) == pytest.approx(stats.STD_PER_MAD, abs=5e-5)


def test_honest_errors_cover_what_they_promise(gaussian):
    residual = (gaussian - 5)[:, None]
    error = np.full_like(residual, 2.0)
    snr = np.linspace(1, 300, len(residual))
    rows = stats.coverage_table(
        residual, error, np.zeros_like(error), snr, edges=[15, 100], names=["teff"]
    )
    assert [row["snr"] for row in rows] == ["all", "< 15", "15-100", ">= 100"]
    assert rows[0]["within_68"] == pytest.approx(stats.WITHIN_68, abs=0.02)
    assert rows[0]["within_95"] == pytest.approx(stats.WITHIN_95, abs=0.01)
    assert rows[0]["pull_mad"] == pytest.approx(1, abs=0.03)


def test_stars_without_signal_to_noise_are_in_no_bin():
    bins = stats.snr_bins(np.array([np.nan, 0, -3, 10, 15, 1000]), [15, 100])
    assert bins.tolist() == [-1, -1, -1, 0, 1, 2]
