"""Slopes, pairs and bounds against what is known: exact linear models and textbook variances."""

import numpy as np
import pytest

from distcnn.checks.bound.spectrum_model import SpectrumModel, spectrum_bounds
from distcnn.checks.correlations.nulls import masked_lines, shuffled_spectra
from distcnn.checks.correlations.own_variation import own_slope_rows, own_slopes, pair_rows

NAMES = ("feh", "mgfe", "alfe")


def correlated_labels(rng, stars=2000):
    feh = rng.normal(-0.5, 0.4, stars)
    mgfe = -0.3 * feh + rng.normal(0, 0.1, stars)
    alfe = 0.8 * mgfe + rng.normal(0, 0.1, stars)
    return np.stack([feh, mgfe, alfe], axis=1)


def test_slopes_are_those_of_a_linear_model_whatever_the_labels_correlation(rng):
    truth = correlated_labels(rng)
    answers = np.array([[1.0, 0, 0], [0.1, 0.7, 0], [0, 0.6, 0.2]])
    slope, error = own_slopes(truth @ answers.T + 0.02, truth)
    scale = truth.std(axis=0)
    np.testing.assert_allclose(slope * scale[:, None] / scale, answers, atol=1e-8)
    assert (error < 1e-6).all()


def test_a_label_that_is_read_from_another_fails_and_its_reader_does_not(rng):
    truth = correlated_labels(rng)
    borrowed = np.column_stack([truth[:, :2], 0.8 * truth[:, 1]])
    noisy = borrowed + 0.02 * rng.standard_normal(truth.shape)
    rows = own_slope_rows(NAMES, noisy, truth, np.full_like(truth, 0.01))
    assert {row["label"]: row["fails"] for row in rows} == {"feh": 0, "mgfe": 0, "alfe": 1}


def test_a_label_that_others_explain_is_not_judged(rng):
    truth = correlated_labels(rng)
    error = np.tile([0.01, 0.01, 0.09], (len(truth), 1))
    judged = [row["label"] for row in own_slope_rows(NAMES, truth, truth, error)]
    assert judged == ["feh", "mgfe"]


def test_the_contrast_of_an_anti_correlated_pair_is_recovered_or_not(rng):
    truth = correlated_labels(rng)
    cluster = np.arange(len(truth)) < 60
    truth[cluster, 1:] = [-0.3, 0.8]
    (row,) = pair_rows(NAMES, truth, truth)
    assert (row["label"], row["fails"]) == ("mgfe alfe", 0)
    assert row["value"] == pytest.approx(1.0, abs=0.01)
    borrowed = np.column_stack([truth[:, :2], 0.8 * truth[:, 1]])
    (row,) = pair_rows(NAMES, borrowed, truth)
    assert row["fails"] == 1
    assert row["value"] < 0.3


def test_shuffled_stars_all_have_the_spectrum_of_another(rng):
    flux = np.arange(7.0)[:, None] * np.ones(3)
    arrays = {"flux": flux, "snr": np.arange(7.0), "xp": flux}
    mixed = shuffled_spectra(arrays, rng)
    assert sorted(mixed["flux"][:, 0]) == sorted(flux[:, 0])
    assert (mixed["flux"][:, 0] != flux[:, 0]).all()
    np.testing.assert_array_equal(mixed["flux"][:, 0], mixed["snr"])
    np.testing.assert_array_equal(mixed["xp"], flux)


def test_lines_are_masked_and_continuum_is_not():
    flux = np.ones((4, 10), np.float32)
    flux[:, 3:5] = 0.6
    masked = masked_lines({"flux": flux})["flux"]
    assert np.isnan(masked[:, 3:5]).all()
    assert np.isfinite(np.delete(masked, [3, 4], axis=1)).all()


@pytest.fixture
def quadratic(rng):
    label = np.stack([rng.normal(5000, 500, 400), rng.normal(-0.5, 0.4, 400)], axis=1)
    place = (label - label.mean(axis=0)) / label.std(axis=0)
    terms = np.column_stack([np.ones(400), place, place[:, :1] ** 2, place[:, :1] * place[:, 1:],
                             place[:, 1:] ** 2])  # fmt: skip
    coefficients = 0.05 * rng.standard_normal((6, 80))
    coefficients[0] += 1
    return label, terms @ coefficients


def test_a_quadratic_survey_is_reproduced_with_its_slopes(quadratic):
    label, flux = quadratic
    model = SpectrumModel.fitted(flux, label, np.full_like(flux, 1e-3))
    np.testing.assert_allclose(model.flux(label), flux, atol=1e-7)
    step = np.array([1.0, 0.001])
    for number, width in enumerate(step):
        moved = label.copy()
        moved[:, number] += width
        down = label.copy()
        down[:, number] -= width
        numeric = (model.flux(moved) - model.flux(down)) / (2 * width)
        np.testing.assert_allclose(model.slopes(label)[:, number], numeric, rtol=1e-5, atol=1e-9)


def test_bounds_fall_with_noise_to_the_prior_and_the_photon_limit(quadratic):
    label, flux = quadratic
    model = SpectrumModel.fitted(flux, label, np.full_like(flux, 1e-3))
    wavelength = np.linspace(850, 860, 80)
    prior = np.broadcast_to(np.cov(label.T), (400, 2, 2))

    def bounds(sigma):
        error = np.full_like(flux, sigma)
        return spectrum_bounds(model, label, error, wavelength, prior=prior, velocity_error=1.0)

    population = label.std(axis=0, ddof=1)
    np.testing.assert_allclose(bounds(1e4), np.tile(population, (400, 1)), rtol=1e-4)
    np.testing.assert_allclose(bounds(1e-4), bounds(2e-4) / 2, rtol=1e-3)
    assert (bounds(0.01) < population).all()


def test_the_bound_is_reached_by_maximum_likelihood_of_a_linear_model(rng):
    """One label, no nuisance matters: the error of a weighted mean."""
    label = rng.normal(0, 1, 300)[:, None]
    profile = np.sin(12 * np.linspace(0, 2 * np.pi, 200))
    flux = 1 + 0.1 * label * profile
    model = SpectrumModel.fitted(flux, label, np.full_like(flux, 1e-3))
    found = spectrum_bounds(
        model,
        np.zeros((1, 1)),
        np.full((1, 200), 0.05),
        np.linspace(850, 860, 200),
        prior=np.full((1, 1, 1), 1e6),
        velocity_error=1e-6,
    )
    expected = 0.05 / (0.1 * np.sqrt((profile**2).sum()))
    assert found[0, 0] == pytest.approx(expected, rel=0.02)
