"""Fit of regressions beside the networks, and of the weights of a stacked label."""

import numpy as np
import pytest
import torch

from distcnn.config import SplitConfig, StackingConfig, TrainConfig
from distcnn.evaluation.out_of_fold_table import read_out_of_fold
from distcnn.events import Advanced, StageEnded, StageStarted
from distcnn.executor import SerialExecutor
from distcnn.model import Ensemble, Package, build_network, fit_scaling, predict_members
from distcnn.model.inputs import InputSpec
from distcnn.model.package.package import _format
from distcnn.model.stacking import REGRESSORS, FeatureTable, Stacking
from distcnn.schema import OTHER_LIGHT_PACKAGE_FORMAT, PHOTOMETRIC_PACKAGE_FORMAT
from distcnn.survey import Store
from distcnn.survey.split import Split, assign_fold
from distcnn.training import train_package
from distcnn.training.data.labelled import DEVELOPMENT, join_stars, read_labelled
from distcnn.training.stacking import OutOfFoldStars, features, fit_stacking, perceptrons
from distcnn.training.stacking.features import ComponentAxes, fit_features
from distcnn.training.stacking.fold_regression import fit_folds
from distcnn.training.stacking.gaussian_process import (
    JITTER,
    ExponentialKernel,
    Kernel,
    _slope,
    farthest,
    fit_process,
)
from distcnn.training.stacking.perceptrons import MAX_TIMES_OFTEN, _chances, fit_perceptrons
from distcnn.training.stacking.recentring import recentred
from distcnn.training.stacking.regressions import (
    Regressions,
    _Given,
    _photometric_perceptrons,
    fit_regressions,
    perceptron_arrays,
)
from distcnn.training.stacking.stack import STACKED
from distcnn.training.stacking.trees import Trees
from distcnn.training.stacking.weights import Judged, JudgedLabel, earning_methods, fit_weights

STACKING = StackingConfig(inducing=64, trees=30)
METHODS = (
    "ridge",
    "gaussian_process",
    "exponential_process",
    "trees",
    "perceptrons",
    "photometric_perceptrons",
)


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    monkeypatch.setattr(perceptrons, "EPOCHS", 15)  # enough for some hundred simple stars


@pytest.fixture(scope="module")
def stars(survey):
    store = Store.open(survey)
    spec = InputSpec.of_survey(store, _config().network)
    return read_labelled(store, spec, SplitConfig(), *DEVELOPMENT)


@pytest.fixture(scope="module")
def network(survey, stars):
    spec = InputSpec.of_survey(Store.open(survey), _config().network)
    network = build_network(spec, _config().network, seed=0)
    fit_scaling(network, stars.inputs, stars.label)
    return network.eval()


def _config():
    return TrainConfig()


def given(stars, error, rng):
    """An ensemble that is wrong by ``error`` times the spread of each label."""
    spread = error * np.nanstd(stars.label, axis=0)
    truth = np.where(np.isfinite(stars.label), stars.label, np.nanmean(stars.label, axis=0))
    label = (truth + spread * rng.normal(size=stars.label.shape)).astype(np.float32)
    fold = assign_fold(stars.source_id, SplitConfig())
    return OutOfFoldStars(stars, fold, label)


def test_what_a_fold_is_told_comes_from_the_other_folds_alone(rng):
    columns, target = rng.normal(size=(90, 5)), rng.normal(size=(90, 2))
    fold = np.arange(90) % 3
    found = fit_folds(columns, target, fold, np.array([0.3]))
    others = fold != 1
    table = np.concatenate([columns, np.full((90, 1), 30.0)], axis=1)
    square = table[others].T @ table[others] + 0.3 * np.eye(6)
    weights = np.linalg.solve(square, table[others].T @ target[others])
    assert np.allclose(found.out_of_fold[~others], table[~others] @ weights)
    other = np.where(others[:, None], target, 99.0)
    again = fit_folds(columns, other, fold, np.array([0.3]))
    assert np.allclose(again.out_of_fold[~others], found.out_of_fold[~others])


def test_labels_that_some_stars_lack_are_learned_from_the_others(rng):
    columns = rng.normal(size=(200, 3))
    target = columns @ np.array([[1.0, 0], [0, 2.0], [1, 1]]) + 5
    target[::4, 1] = np.nan
    found = fit_folds(columns, target, np.arange(200) % 4, np.array([1e-6, 1.0]))
    assert np.allclose(found.weights, [[1, 0], [0, 2], [1, 1]], atol=1e-3)
    assert np.allclose(found.offset, 5, atol=1e-3)
    assert np.isfinite(found.out_of_fold).all()


def test_trees_learn_steps_and_are_evaluated_as_they_were_grown(rng):
    table = rng.normal(size=(800, 4)).astype(np.float32).astype(float)
    step = np.where(table[:, 1] > 0.3, 2.0, -1.0) + np.where(table[:, 2] < -0.5, 0.0, 1.0)
    target = np.stack([step, table[:, 0]], axis=1) + 0.05 * rng.normal(size=(800, 2))
    target[::5, 1] = np.nan
    found = Trees.fit(table[:600], target[:600], trees=80, seed=1)
    residual = found.predict(table[600:]) - target[600:]
    assert np.nanstd(residual[:, 0]) < 0.3 * np.std(step)
    assert np.nanstd(residual[:, 1]) < 0.3
    arrays = {
        "columns": found.columns.reshape(-1),
        "thresholds": found.thresholds.reshape(-1),
        "values": found.values.reshape(-1, 2),
        "offset": found.offset,
    }
    tensor = torch.from_numpy(table.astype(np.float32))
    answer = REGRESSORS["trees"](arrays)({}, tensor).numpy()
    away = np.abs(table[:, found.columns] - found.thresholds).min(axis=(1, 2)) > 1e-5
    assert np.allclose(answer[away], found.predict(table[away]), atol=1e-4)
    assert away.mean() > 0.8


@pytest.mark.parametrize(
    ("name", "kind"), [("gaussian_process", Kernel), ("exponential_process", ExponentialKernel)]
)
def test_a_process_is_evaluated_as_it_was_fitted(rng, name, kind):
    seen = rng.normal(size=(300, 3))
    target = np.stack([np.sin(2 * seen[:, 0]), np.abs(seen[:, 1])], axis=1)
    kernel = kind(np.zeros(3), np.full(2, 0.01))
    rows = farthest(seen, kernel, 100)
    found, arrays = fit_process(seen, target, np.arange(300) % 4, kernel, seen[rows])
    arrays |= {"columns": np.arange(3), "inverse_length": np.ones(3), "inducing": seen[rows]}
    tensor = torch.from_numpy(seen.astype(np.float32))
    answer = REGRESSORS[name](arrays)({}, tensor).numpy()
    assert np.abs(answer - target).std() < 0.1
    assert np.std(found.out_of_fold - target) < 0.35


def test_slopes_of_the_likelihood_are_those_of_differences(rng):
    x = rng.normal(size=(30, 2))
    y = np.stack([np.sin(x[:, 0]), x[:, 1]], axis=1)
    values = np.array([0.3, 0.1, 0.2, -0.4, -1.0, -1.5])

    def likelihood(v):
        a = x / np.exp(v[:2])
        gaps = np.square(a[:, None] - a).sum(axis=2)
        kernel = np.exp(2 * v[2] - 0.5 * gaps) + np.exp(2 * v[3]) * a @ a.T + 1
        total = 0.0
        for column in range(2):
            matrix = kernel + (np.exp(2 * v[4 + column]) + JITTER) * np.eye(30)
            pulled = y[:, column] @ np.linalg.solve(matrix, y[:, column])
            total += 0.5 * (pulled + np.linalg.slogdet(matrix)[1])
        return total

    steps = 1e-5 * np.eye(6)
    expected = [(likelihood(values + s) - likelihood(values - s)) / 2e-5 for s in steps]
    assert np.allclose(_slope(values, x, y), expected, rtol=1e-4)


@pytest.mark.parametrize(("errors", "share"), [((0.1, 1.0), 0.9), ((1.0, 0.1), 0.1)])
def test_the_better_method_gets_the_weight(rng, errors, share):
    truth = rng.normal(size=600)
    estimates = truth[:, None] + rng.normal(size=(600, 2)) * np.array(errors)
    one = np.ones((600, 1))
    fold = np.arange(600) % 5
    judged = JudgedLabel(estimates, truth, one, fold, np.ones(600, bool))
    found = fit_weights(judged, least=50)
    assert np.isclose(found.sum(), 1)
    assert found[0, 0] == pytest.approx(share, abs=0.12)


def test_stacked_labels_are_no_worse_than_the_ensemble_or_a_regression(network, stars, rng):
    for error in (0.3, 1.0):
        found = fit_stacking(network, given(stars, error, rng), STACKING, seed=0)
        for row in found.summary["labels"]:
            alone = min(row[name]["std"] for name in ("ensemble", *METHODS))
            assert row["stacked"]["std"] < 1.03 * alone


def test_stacked_labels_of_a_package_are_what_its_parts_say(network, stars, rng):
    found = fit_stacking(network, given(stars, 1.0, rng), STACKING, seed=0)
    stacking = Stacking(network.inputs.names, network.labels, found.parts)
    kept = [name for name in METHODS if name in stacking.methods]
    assert stacking.methods == ("ensemble", *kept) == tuple(found.summary["methods"])
    assert kept
    alone = predict_members([network], stars.inputs).label
    label = predict_members([network], stars.inputs, stacking=stacking).label
    lacking = np.isnan(stars.inputs["xp"]).all(axis=1) | np.isnan(stars.inputs["astrometry"][:, 0])
    assert np.array_equal(label[lacking], alone[lacking])
    residual = (label - stars.label)[~lacking] / np.nanstd(stars.label, axis=0)
    assert (np.nanstd(residual, axis=0) < 0.5).all()


def test_regressions_that_gain_next_to_nothing_are_left_out(network, stars, rng):
    ridge = StackingConfig(methods=("ridge",))
    assert fit_stacking(network, given(stars, 1e-3, rng), ridge, seed=0) is None
    truth = rng.normal(size=(600, 1))
    errors = rng.normal(size=(600, 1, 4)) * np.array([0.1, 0.1, 3.0, 0.1])
    errors[..., 3] = errors[..., 1] + 0.001 * rng.normal(size=(600, 1))  # says what another says
    one, everyone = np.ones((600, 1)), np.ones(600, bool)
    judged = Judged(
        truth[..., None] + errors, truth, one, np.zeros(1), np.arange(600) % 5, everyone
    )
    kept = earning_methods(judged, 50)
    assert kept in ([0, 1], [0, 3])


def test_too_few_stars_or_no_method_leave_the_ensemble_alone(network, stars, rng):
    few = given(stars.take(slice(0, 100)), 1.0, rng)
    assert fit_stacking(network, few, STACKING, seed=0) is None
    none = StackingConfig(methods=())
    assert fit_stacking(network, given(stars, 1.0, rng), none, seed=0) is None


@pytest.mark.parametrize("method", ["held-out", "folds"])
def test_a_trained_package_predicts_stacked_labels(survey, tmp_path, config, quality, method):
    split = config.split.model_copy(update={"method": method, "folds": 2})
    config = config.model_copy(update={"split": split, "stacking": STACKING})
    heard, place = [], tmp_path / "package"
    train_package(survey, place, config, quality, executor=SerialExecutor(), listener=heard.append)
    begun = [e.stage for e in heard if isinstance(e, StageStarted)]
    steps = ["regressions", "errors and flags"]
    assert begun == ["train", *(["labels out of fold"] if method == "folds" else []), *steps]
    assert sorted(begun) == sorted(e.stage for e in heard if isinstance(e, StageEnded))
    fitted = [e for e in heard if isinstance(e, Advanced) and e.stage == "regressions"]
    assert len(fitted) == len(STACKING.methods)
    package = Package.load(tmp_path / "package")
    stacking = package.stacking()
    assert stacking is not None
    assert package.manifest.stacking.methods == stacking.methods
    assert package.manifest.format == OTHER_LIGHT_PACKAGE_FORMAT
    test = read_labelled(Store.open(survey), package.spec, split, Split.TEST)
    alone = predict_members(package.networks(), test.inputs).label
    found = Ensemble(package).predict(test.inputs).label
    assert np.array_equal(
        found, predict_members(package.networks(), test.inputs, stacking=stacking).label
    )
    better = np.nanstd(found - test.label, axis=0) / np.nanstd(alone - test.label, axis=0)
    assert (better < 0.9).all()  # four epochs are few, a regression needs none
    table = read_out_of_fold(tmp_path / "package").methods[STACKED]
    assert np.isfinite(table.label).all()
    assert (table.fold >= 0).all()


def test_what_a_stacked_label_is_wrong_by_on_average_is_taken_off(rng):
    truth = rng.uniform(-2, 2, (3000, 2))
    label = truth + 0.1 * rng.standard_normal(truth.shape)
    label[:, 0] += 0.15 * np.exp(-4 * truth[:, 0] ** 2)
    mean, found = recentred(label, truth, np.arange(3000) % 5)
    middle = np.abs(label[:, 0] - 0.1) < 0.3
    assert (label - truth)[middle, 0].mean() > 0.1
    assert abs((found - truth)[middle, 0].mean()) < 0.03
    assert (found - truth)[:, 0].std() < 0.95 * (label - truth)[:, 0].std()
    # At both ends labels are beyond what there is of truth, which is to be seen.
    assert np.abs(mean.residual[1][1:-1]).max() < 0.015
    assert (found - truth)[:, 1].std() < 1.005 * (label - truth)[:, 1].std()


def test_no_star_is_recentred_by_its_own_residual(rng):
    label = rng.normal(size=(400, 1))
    target = label + 0.1 * rng.standard_normal(label.shape)
    fold = np.arange(400) % 4
    _, found = recentred(label, target, fold)
    target[fold == 0] += 5.0
    _, again = recentred(label, target, fold)
    assert np.array_equal(found[fold == 0], again[fold == 0])
    assert not np.array_equal(found[fold == 1], again[fold == 1])


def test_few_stars_do_not_recentre(rng):
    label = rng.normal(size=(100, 1))
    mean, found = recentred(label, label + 1.0, np.arange(100) % 4)
    assert np.array_equal(found, label)
    assert not mean.residual.any()


def test_perceptrons_are_evaluated_as_they_were_fitted_and_no_fold_sees_its_own_stars(
    rng, monkeypatch
):
    monkeypatch.setattr(perceptrons, "EPOCHS", 60)
    seen = rng.normal(size=(600, 4)).clip(-3, 3)
    target = np.stack([np.sin(seen[:, 0]), np.abs(seen[:, 1])], axis=1)
    target[::5, 1] = np.nan
    fold = np.arange(600) % 2
    found = fit_perceptrons(seen, target, fold, None, seed=1)
    arrays = perceptron_arrays(found, np.arange(4))
    answer = REGRESSORS["perceptrons"](arrays)({}, torch.from_numpy(seen.astype(np.float32)))
    assert np.nanstd(answer.numpy() - target) < 0.25
    assert np.nanstd(found.out_of_fold - target) < 0.35
    other = np.where(fold[:, None] == 0, target + 50, target)
    again = fit_perceptrons(seen, other, fold, None, seed=1).out_of_fold
    assert np.allclose(again[fold == 0], found.out_of_fold[fold == 0], atol=1e-5)


def test_bright_stars_are_drawn_more_often_but_not_without_limit():
    chances = _chances(np.array([0.0, 2.0, 9.0, np.nan]), 4)
    assert np.allclose(chances, [1, 10, MAX_TIMES_OFTEN, 1])
    assert (_chances(None, 3) == 1).all()


def test_axes_of_spectra_are_those_of_bright_stars(network, stars, monkeypatch):
    monkeypatch.setattr(features, "MAX_STARS_FOR_COMPONENTS", len(stars) // 2)
    with torch.inference_mode():
        found = network.inputs(stars.inputs.tensors())
    branches = {name: tensor.clone() for name, tensor in found.items()}
    column = list(network.inputs.names).index("log_snr")
    branches["scalars"][:, column] = torch.linspace(-1, 1, len(stars))
    noisy = branches | {"spectrum": branches["spectrum"].clone()}
    noisy["spectrum"][: len(stars) // 3] += 100 * torch.randn(branches["spectrum"].shape[1])
    found, other = (
        fit_features(some, network.inputs)[0]["spectrum_axes"] for some in (branches, noisy)
    )
    assert np.array_equal(found, other)


@pytest.mark.parametrize("without", ["nothing", "spectrum", "all but the spectrum"])
def test_photometric_perceptrons_see_all_but_the_spectrum(network, stars, without):
    with torch.inference_mode():
        found = network.inputs(stars.inputs.tensors())
    fold = assign_fold(stars.source_id, SplitConfig())
    table, axes = np.zeros((len(stars), 40)), ComponentAxes(np.eye(50)[:, :30], np.zeros(30))
    if without == "spectrum":
        axes = ComponentAxes(np.empty((0, 0)), np.empty(0))
    elif without == "all but the spectrum":
        table = table[:, :30]
    if without != "nothing":
        nothing = Regressions(found, stars.label, fold)
        assert _photometric_perceptrons(_Given(nothing, table, axes, None, STACKING, 0)) is None
        return
    config = StackingConfig(methods=("photometric_perceptrons",))
    target = np.nan_to_num(stars.label - np.nanmean(stars.label, axis=0))
    target /= target.std(axis=0)
    fitted = fit_regressions(network, Regressions(found, target, fold), config, seed=0)
    features, part = (fitted.parts[n] for n in ("features", "photometric_perceptrons"))
    method = REGRESSORS["photometric_perceptrons"](part)
    table = FeatureTable(features, network.inputs.names)
    answer = method(found, table(found))
    assert np.nanstd(answer.numpy() - target) < 0.8
    scalars = found["scalars"].clone()
    scalars[:, list(network.inputs.names).index("log_snr")] -= 1.0
    assert _format({"weights": {}, **fitted.parts}, {}) == PHOTOMETRIC_PACKAGE_FORMAT
    noise = found | {"spectrum": torch.randn(found["spectrum"].shape), "scalars": scalars}
    assert torch.equal(method(noise, table(noise)), answer)


def test_what_networks_make_of_faint_copies_moves_no_bright_label(network, stars, rng):
    alone = given(stars, 0.05, rng)
    both = join_stars([stars, stars])
    wrong = alone.label + 0.3 * np.nanstd(stars.label, axis=0).astype(np.float32)
    labels = np.concatenate([alone.label, wrong])
    fold = np.concatenate([alone.fold, alone.fold])
    copy = np.arange(len(both)) >= len(stars)
    trees = StackingConfig(methods=("trees",), trees=30)
    told, untold = (
        fit_stacking(network, OutOfFoldStars(both, fold, labels, mask), trees, seed=0)
        for mask in (copy, None)
    )
    means = [np.abs(found.parts["weights"]["mean_residual"]).mean() for found in (told, untold)]
    assert means[0] < 0.8 * means[1]
