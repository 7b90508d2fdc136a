from dataclasses import replace

import numpy as np
import pytest
from conformance.baseline_checks import BaselineChecks, make_stars

from distcnn.baselines import BASELINES, LabelledStars
from distcnn.baselines.features import colours, distances, full_table, spectral_shape
from distcnn.baselines.photometry import PhotometryOnly
from distcnn.baselines.ridge import LinearRidge


class TestRidge(BaselineChecks):
    baseline, learns = BASELINES[0], (0, 1)


class TestPhotometryOnly(BaselineChecks):
    baseline, learns = BASELINES[1], (0, 2)


@pytest.fixture(scope="module")
def split():
    return make_stars(1, 1500), make_stars(2, 300), make_stars(3, 500)


def only(stars: LabelledStars, *names: str) -> LabelledStars:
    return replace(stars, inputs={name: stars.inputs[name] for name in names})


def test_every_baseline_of_the_registry_has_its_checks():
    checked = {checks.baseline for checks in BaselineChecks.__subclasses__()}
    assert checked == set(BASELINES)


def test_photometry_alone_knows_colour_but_no_line(split):
    training, _, test = split
    found = PhotometryOnly.fit(training).predict(test.inputs).label
    residual = (found - test.label).std(axis=0)
    assert residual[0] < 0.15
    assert residual[1] > 0.9


def test_noisier_labels_get_a_larger_penalty(split):
    training, validation, _ = split
    noise = 5 * np.random.default_rng(0).standard_normal(training.label.shape)
    noisy = replace(training, label=training.label + noise)
    clean = LinearRidge.fit(training, validation).penalty
    assert (LinearRidge.fit(noisy, validation).penalty >= clean).all()


def test_without_validation_the_middle_penalty_is_taken(split):
    training, validation, _ = split
    unlabelled = replace(validation, label=np.full_like(validation.label, np.nan))
    fitted = LinearRidge.fit(training, unlabelled, penalties=np.array([1.0, 7.0, 9.0]))
    assert fitted.penalty.tolist() == [7, 7, 7]


def test_ridge_gives_the_weights_of_the_normal_equations(split):
    training, validation, _ = split
    bare = only(training, "xp"), only(validation, "xp")
    fitted = LinearRidge.fit(*bare, penalties=np.array([3.0, 3.0]))
    table = fitted.scaling.transform(full_table(bare[0].inputs))
    table = table - table.mean(axis=0)
    wanted = np.linalg.solve(table.T @ table + 3.0 * np.eye(8), table.T @ training.label)
    assert fitted.weights == pytest.approx(wanted, abs=1e-6)


def test_an_infinite_input_counts_as_missing(split):
    training, validation, test = split
    fitted = LinearRidge.fit(only(training, "flux"), only(validation, "flux"))
    broken, missing = (np.array(test.inputs["flux"][:1]) for _ in range(2))
    broken[0, 3], missing[0, 3] = np.inf, np.nan
    assert np.array_equal(*(fitted.predict({"flux": f}).label for f in (broken, missing)))


def test_features_are_colours_shapes_and_distances():
    assert colours(np.array([[10.0, 11.0, 9.5]])).tolist() == [[10.0, 1.0, -0.5]]
    assert spectral_shape(np.array([[100.0, 50.0], [-1.0, 2.0]]))[0].tolist() == [2.0, 0.5]
    assert np.isnan(spectral_shape(np.array([[-1.0, 2.0]]))).all()
    table = distances(np.array([[10.0]]), np.array([10.0]), np.array([0.1]))
    assert table[0] == pytest.approx([10.0, 100.0, 5.0])
    negative = distances(np.array([[10.0]]), np.array([-1.0]), np.array([2.0]))
    assert negative[0, 2] == pytest.approx(0.0)
    assert distances(None, np.array([10.0]), np.array([0.1])).shape == (1, 2)


def test_without_an_input_that_it_could_use_a_baseline_is_refused(split):
    training, validation, _ = split
    with pytest.raises(ValueError, match="neither photometry nor parallax"):
        PhotometryOnly.fit(only(training, "flux"))
    with pytest.raises(ValueError, match="no input"):
        LinearRidge.fit(replace(training, inputs={"snr": np.ones(3)}), validation)


def test_a_parallax_without_error_still_counts(split):
    training, _, test = split
    names = ("photometry", "parallax")
    fitted = PhotometryOnly.fit(only(training, *names))
    residual = fitted.predict(only(test, *names).inputs).label - test.label
    assert residual[:, 2].std() < 0.3
