from dataclasses import replace

import numpy as np
import pytest
from conformance.baseline_checks import BaselineChecks, make_stars

from distcnn.baselines import BASELINES, LabelledStars, choose_baselines
from distcnn.baselines.features import colours, distances, full_table, spectral_shape
from distcnn.baselines.methods.regressions.boosting import PhotometryOnly
from distcnn.baselines.methods.regressions.ridge import LinearRidge
from distcnn.errors import UsageError


def row(name):
    return choose_baselines([name])[0]


class TestRidge(BaselineChecks):
    baseline, learns = row("ridge"), (0, 1)


class TestPhotometryOnly(BaselineChecks):
    baseline, learns = row("photometry"), (0, 2)


class TestBoostedTrees(BaselineChecks):
    baseline, learns = row("boosting"), (0, 1, 2)


class TestGaussianProcess(BaselineChecks):
    baseline, learns, stars = row("gaussian_process"), (0, 1, 2), 400
    # It may be sure of a label that the inputs hold without noise.
    coverage = (0.5, 1.01)


class TestCannon(BaselineChecks):
    baseline, learns, joint = row("cannon"), (0, 1), True


class TestPayne(BaselineChecks):
    baseline, learns, joint, stars = row("payne"), (0, 1), True, 600


class TestMatisse(BaselineChecks):
    baseline, learns, joint = row("matisse"), (0, 1), True


class TestGauguin(BaselineChecks):
    baseline, learns, joint = row("gauguin"), (0, 1), True


class TestFerre(BaselineChecks):
    baseline, learns, joint = row("ferre"), (0, 1), True


class TestStarNet(BaselineChecks):
    baseline, learns, joint = row("starnet"), (0, 1), True
    # The errors of the fluxes as the network carries them may exceed its residuals.
    coverage = (0.6, 1.01)


class TestBcnn(BaselineChecks):
    baseline, learns, joint = row("bcnn"), (0, 1), True
    # Drop-out as its authors have it makes errors that are too large for a few hundred stars.
    coverage = (0.6, 1.01)


@pytest.fixture(scope="module")
def split():
    return make_stars(1, 1500), make_stars(2, 300), make_stars(3, 500)


def only(stars: LabelledStars, *names: str) -> LabelledStars:
    return replace(stars, inputs={name: stars.inputs[name] for name in names})


def test_every_baseline_of_the_registry_has_its_checks():
    checked = {checks.baseline for checks in BaselineChecks.__subclasses__()}
    assert checked == set(BASELINES)


def test_a_method_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UsageError, match="sme") as error:
        choose_baselines(["cannon", "sme"])
    assert "payne" in str(error.value)


def test_photometry_alone_knows_colour_but_no_line(split):
    training, _, test = split
    found = PhotometryOnly.fit(training, split[1]).predict(test.inputs).label
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
        PhotometryOnly.fit(only(training, "flux"), validation)
    with pytest.raises(ValueError, match="no input"):
        LinearRidge.fit(replace(training, inputs={"snr": np.ones(3)}), validation)


def test_a_parallax_without_error_still_counts(split):
    training, validation, test = split
    names = ("photometry", "parallax")
    fitted = PhotometryOnly.fit(only(training, *names), only(validation, *names))
    residual = fitted.predict(only(test, *names).inputs).label - test.label
    assert residual[:, 2].std() < 0.3
