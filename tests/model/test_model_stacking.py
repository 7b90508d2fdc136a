"""The stacked label of a package: regressions beside the networks, weighted."""

import numpy as np
import pytest
import torch

from distcnn.model.scaling import LabelScaling
from distcnn.model.stacking import Stacking, hats, to_bytes
from distcnn.model.stacking.regressors import (
    ExponentialProcess,
    GaussianProcess,
    LinearRegression,
    Perceptrons,
)
from distcnn.training.stacking import weights as fitted

NAMES = ("valid_pixels", "log_snr", "has_snr", "xp_norm", "has_xp", "magnitude", "colour_bp")
LABELS = ("teff", "logg")
PIXELS, COEFFICIENTS, STARS = 12, 4, 50


@pytest.fixture
def parts(rng):
    columns = 3 + COEFFICIENTS + 1 + 1 + 1  # spectrum, XP, colour, magnitude, S/N
    return {
        "features": {
            "spectrum_axes": rng.normal(size=(PIXELS, 3)),
            "spectrum_offset": np.zeros(3),
            "colour_axes": np.ones((1, 1)),
            "feature_centre": np.array([1, 1.5, 0, 0, 0, 14, 1.0]),
            "feature_scale": np.array([0.1, 0.5, 1, 1, 1, 2, 0.3]),
            "centre": np.zeros(columns),
            "scale": np.ones(columns),
        },
        "ridge": {
            "pixels": rng.normal(size=(PIXELS, 2)),
            "columns": rng.normal(size=(columns, 2)),
            "offset": np.array([0.1, 0.2]),
        },
        "weights": {
            "knots": np.array([1.0, 2.0]),
            "weights": np.array([[[0.2, 0.4], [0.8, 0.6]], [[1, 0.5], [0, 0.5]]]),
            "low": np.full(2, -2.0),
            "high": np.full(2, 2.0),
            "required": np.array([0, 0, 1, 0, 1, 0, 0.0]),
        },
    }


@pytest.fixture
def labels():
    scaling = LabelScaling(LABELS)
    scaling.centre.copy_(torch.tensor([8.5, 4.0]))
    scaling.scale.copy_(torch.tensor([0.1, 0.5]))
    return scaling


@pytest.fixture
def inputs(rng):
    scalars = rng.normal(size=(STARS, len(NAMES))).astype(np.float32)
    scalars[:, NAMES.index("valid_pixels")] = 0
    scalars[:, [NAMES.index("has_snr"), NAMES.index("has_xp")]] = 1
    return {
        "spectrum": torch.from_numpy(rng.normal(size=(STARS, PIXELS)).astype(np.float32)),
        "xp": torch.from_numpy(rng.normal(size=(STARS, COEFFICIENTS)).astype(np.float32)),
        "scalars": torch.from_numpy(scalars),
    }


@pytest.fixture
def label():
    return torch.tensor([[5000.0, 4.2]]).repeat(STARS, 1)


def test_a_star_that_lacks_something_keeps_the_label_of_the_ensemble_to_the_bit(
    parts, labels, inputs, label
):
    inputs["scalars"][:5, NAMES.index("has_xp")] = 0
    inputs["scalars"][5:10, NAMES.index("valid_pixels")] = -6  # 0.4 of the pixels
    found = Stacking(NAMES, labels, parts)(inputs, label)
    assert torch.equal(found[:10], label[:10])
    assert (found[10:, 1] != label[10:, 1]).all()


def test_the_stacked_label_is_the_mean_by_weights_that_follow_the_snr(parts, labels, inputs, label):
    stacking = Stacking(NAMES, labels, parts)
    regression = stacking.estimates(inputs)[0][:, 1] * 0.5 + 4.0
    log_snr = np.clip(1.5 + 0.5 * inputs["scalars"][:, 1].numpy(), 1, 2)
    share = np.interp(log_snr, [1, 2], [0.4, 0.5])
    expected = share * 4.2 + (1 - share) * regression.numpy()
    assert np.allclose(stacking(inputs, label)[:, 1].numpy(), expected, atol=1e-5)


def test_shared_products_give_what_every_regressor_says(parts, labels, inputs):
    stacking = Stacking(NAMES, labels, parts)
    table = stacking.features(inputs)
    for found, regressor in zip(stacking.estimates(inputs), stacking.regressors, strict=True):
        alone = regressor(inputs, table).clamp(stacking.low, stacking.high)
        assert torch.allclose(found, alone, atol=1e-5)


def test_products_by_rows_are_those_by_columns(rng):
    table = rng.normal(size=(7, 3))

    def drawn(**shapes):
        return {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def answer(kind, arrays, product=0.0):
        one = kind(arrays).double()
        given = torch.from_numpy(table)
        return (one.of_product(product, given) if product is not None else one({}, given)).numpy()

    ridge = drawn(pixels=(4, 2), columns=(3, 2), offset=2)
    np.testing.assert_allclose(
        answer(LinearRegression, ridge), table @ ridge["columns"] + ridge["offset"], atol=1e-5
    )
    process = drawn(inducing=(5, 3), weights=(5, 2), linear=(3, 2), offset=2)
    process |= {"columns": np.arange(3), "inverse_length": np.ones(3)}
    apart = np.square(table[:, None] - process["inducing"]).sum(axis=2)
    plain = np.exp(-0.5 * apart) @ process["weights"] + table @ process["linear"]
    found = answer(GaussianProcess, process, None)
    np.testing.assert_allclose(found, plain + process["offset"], atol=1e-5)
    layers = drawn(first=(3, 8), first_offset=8, second=(2, 4, 4), second_offset=(2, 1, 4))
    layers |= drawn(last=(8, 2), offset=2) | {"columns": np.arange(3)}
    hidden = _silu(table @ layers["first"] + layers["first_offset"]).reshape(7, 2, 4)
    hidden = _silu(
        np.einsum("bmh,mhk->bmk", hidden, layers["second"]) + layers["second_offset"][:, 0]
    )
    plain = hidden.reshape(7, 8) @ layers["last"] + layers["offset"]
    np.testing.assert_allclose(answer(Perceptrons, layers, None), plain, atol=1e-5)


def _silu(x):
    return x / (1 + np.exp(-x))


def test_a_regression_stays_within_the_range_of_its_training_stars(parts, labels, inputs):
    parts["ridge"]["offset"] = np.array([1e6, -1e6])
    found = Stacking(NAMES, labels, parts).estimates(inputs)[0]
    assert (found[:, 0] == 2).all()
    assert (found[:, 1] == -2).all()


def test_a_label_that_is_not_finite_stays_so(parts, labels, inputs, label):
    label[3] = torch.nan
    found = Stacking(NAMES, labels, parts)(inputs, label)
    assert torch.isnan(found[3]).all()
    assert torch.isfinite(found[:3]).all()


def test_the_file_of_a_package_gives_the_same_labels(parts, labels, inputs, label):
    single = {n: {k: v.astype(np.float32) for k, v in p.items()} for n, p in parts.items()}
    written = Stacking.from_bytes(NAMES, labels, to_bytes(parts))
    assert torch.equal(written(inputs, label), Stacking(NAMES, labels, single)(inputs, label))


def test_shares_of_knots_sum_to_one_and_are_those_of_the_fit(rng):
    knots, place = np.array([0.5, 1.1, 1.9]), rng.uniform(0, 3, 100)
    found = hats(torch.from_numpy(place), torch.from_numpy(knots)).numpy()
    assert np.allclose(found.sum(axis=1), 1)
    assert np.allclose(found, fitted.hats(place, knots))


@pytest.mark.parametrize("kind", [GaussianProcess, ExponentialProcess])
def test_gradients_of_a_process_are_its_finite_differences_and_leave_it_as_it_is(kind, rng):
    arrays = {
        "columns": np.arange(3),
        "inverse_length": np.ones(3),
        "inducing": rng.normal(size=(5, 3)),
        "weights": rng.normal(size=(5, 2)),
        "linear": rng.normal(size=(3, 2)),
        "offset": np.zeros(2),
    }
    process = kind(arrays).double()
    table = torch.from_numpy(rng.normal(size=(7, 3)))
    asked = table.clone().requires_grad_()
    answer = process({}, asked)
    np.testing.assert_allclose(answer.detach(), process({}, table), rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(answer[:, 0].sum(), asked)
    step = torch.zeros_like(table)
    step[:, 1] = 1e-6
    slope = (process({}, table + step) - process({}, table - step))[:, 0] / 2e-6
    np.testing.assert_allclose(gradient[:, 1], slope, rtol=1e-6, atol=1e-8)
