import numpy as np
import pytest

from distcnn.baselines import PhotometryOnly, Ridge, photometry_only, ridge
from distcnn.baselines.features import colours, distances, full_table, spectral_shape

PIXELS = 60


def _stars(seed, stars):
    """Labels: 0 is in spectrum and colour, 1 in the spectrum alone, 2 in the distance."""
    rng, depths = np.random.default_rng(seed), np.linspace(0.01, 0.05, PIXELS)
    label = rng.standard_normal((stars, 3))
    lines = np.stack([depths, depths[::-1] * np.cos(np.arange(PIXELS))])
    flux = 1 - label[:, :2] @ lines + 0.02 * rng.standard_normal((stars, PIXELS))
    flux[rng.random(flux.shape) < 0.02] = np.nan
    parallax = np.exp(0.3 * label[:, 2])
    magnitude = 5 * np.log10(1 / parallax) + 14
    inputs = {
        "flux": flux.astype(np.float32),
        "photometry": np.stack([magnitude, magnitude + 1 + 0.3 * label[:, 0]], axis=1),
        "parallax": parallax,
        "parallax_error": np.full(stars, 0.02),
        "xp": 1000 * (1.5 + 0.1 * rng.standard_normal((stars, 8))),
    }
    return inputs, label


@pytest.fixture(scope="module")
def split():
    return _stars(1, 1500), _stars(2, 300), _stars(3, 500)


def test_ridge_learns_what_is_linear_in_the_inputs(split):
    (train, label), (judge, judge_label), (test, truth) = split
    found = ridge(train, label, judge, judge_label, test)
    assert found.shape == truth.shape
    assert found.dtype == np.float32
    assert ((found - truth)[:, :2].std(axis=0) < 0.15).all()


def test_photometry_alone_knows_colour_but_no_line(split):
    (train, label), _, (test, truth) = split
    residual = (photometry_only(train, label, test) - truth).std(axis=0)
    assert residual[0] < 0.15
    assert residual[1] > 0.9


def test_stars_without_a_label_are_left_out_of_its_fit(split):
    (train, label), (judge, judge_label), (test, truth) = split
    holes = label.copy()
    holes[::2, 1] = np.nan
    found = ridge(train, holes, judge, judge_label, test)
    whole = ridge(train, label, judge, judge_label, test)
    assert found[:, 0] == pytest.approx(whole[:, 0], abs=1e-5)
    assert (found - truth)[:, 1].std() < 0.15


def test_a_label_that_no_star_has_is_not_predicted(split):
    (train, label), (judge, judge_label), (test, _) = split
    none = label.copy()
    none[:, 2] = np.nan
    assert np.isnan(ridge(train, none, judge, judge_label, test)[:, 2]).all()
    assert np.isnan(photometry_only(train, none, test)[:, 2]).all()
    assert np.isfinite(photometry_only(train, none, test)[:, :2]).all()


def test_noisier_labels_get_a_larger_penalty(split):
    (train, label), (judge, judge_label), _ = split
    rng = np.random.default_rng(0)
    noisy = label + 5 * rng.standard_normal(label.shape)
    clean = Ridge.fit(train, label, judge, judge_label).penalty
    assert (Ridge.fit(train, noisy, judge, judge_label).penalty >= clean).all()


def test_without_validation_the_middle_penalty_is_taken(split):
    (train, label), (judge, judge_label), _ = split
    fitted = Ridge.fit(train, label, judge, np.full_like(judge_label, np.nan), penalties=(1, 7, 9))
    assert fitted.penalty.tolist() == [7, 7, 7]


def test_missing_inputs_never_poison_a_prediction(split):
    (train, label), (judge, judge_label), (test, _) = split
    blind = {name: np.full_like(values, np.nan) for name, values in test.items()}
    assert np.isfinite(ridge(train, label, judge, judge_label, blind)).all()
    assert np.isfinite(photometry_only(train, label, blind)).all()


def test_the_same_seed_gives_the_same_trees(split):
    (train, label), _, (test, _) = split
    one, two = (PhotometryOnly.fit(train, label, seed=3).predict(test) for _ in range(2))
    assert np.array_equal(one, two)


def test_features_are_colours_shapes_and_distances():
    assert colours(np.array([[10.0, 11.0, 9.5]])).tolist() == [[10.0, 1.0, -0.5]]
    assert spectral_shape(np.array([[100.0, 50.0], [-1.0, 2.0]]))[0].tolist() == [2.0, 0.5]
    assert np.isnan(spectral_shape(np.array([[-1.0, 2.0]]))).all()
    table = distances(np.array([[10.0]]), np.array([10.0]), np.array([0.1]))
    assert table[0] == pytest.approx([10.0, 100.0, 5.0])
    negative = distances(np.array([[10.0]]), np.array([-1.0]), np.array([2.0]))
    assert negative[0, 2] == pytest.approx(0.0)
    assert distances(None, np.array([10.0]), np.array([0.1])).shape == (1, 2)


def test_spectra_alone_are_enough_for_ridge_but_not_for_photometry(split):
    (train, label), (judge, judge_label), (test, _) = split
    spectra, others = {"flux": train["flux"]}, {"flux": judge["flux"]}
    found = ridge(spectra, label, others, judge_label, {"flux": test["flux"]})
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="neither photometry nor parallax"):
        photometry_only(spectra, label, spectra)
    with pytest.raises(ValueError, match="no input"):
        full_table({"snr": np.ones(3)})


def test_a_parallax_without_error_still_counts(split):
    (train, label), _, (test, truth) = split
    bare = {name: test[name] for name in ("photometry", "parallax")}
    known = {name: train[name] for name in ("photometry", "parallax")}
    residual = photometry_only(known, label, bare) - truth
    assert residual[:, 2].std() < 0.3
