import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from distcnn.baselines.features import Components
from distcnn.baselines.methods.regressions.gaussian_process import (
    Kernel,
    minus_log_likelihood,
    tuned_kernel,
)
from distcnn.baselines.methods.residual_error import ResidualError


def test_the_process_finds_that_a_column_tells_nothing(rng):
    table = rng.standard_normal((300, 2))
    residual = np.sin(2 * table[:, 0]) + 0.1 * rng.standard_normal(300)
    kernel = tuned_kernel(table, residual)
    assert kernel.length[1] > 5 * kernel.length[0]
    assert kernel.noise == pytest.approx(0.01, rel=0.5)


def test_likelihood_and_slopes_are_those_of_scikit_learn(rng):
    table, residual = rng.standard_normal((40, 3)), rng.standard_normal(40)
    length, signal, noise = np.array([0.5, 1.0, 2.0]), 1.7, 0.3
    logs = np.log([*length, signal, noise])
    value, slopes = minus_log_likelihood(logs, table, residual)
    theirs = ConstantKernel(signal) * RBF(length) + WhiteKernel(noise)
    process = GaussianProcessRegressor(theirs, optimizer=None).fit(table, residual)
    likelihood, gradient = process.log_marginal_likelihood(process.kernel_.theta, True)
    assert -value - 20 * np.log(2 * np.pi) == pytest.approx(likelihood)
    # Theirs are in the order signal, lengths, noise.
    assert -slopes[[3, 0, 1, 2, 4]] == pytest.approx(gradient)


def test_a_kernel_is_its_signal_where_columns_are_equal(rng):
    table = rng.standard_normal((10, 2))
    assert np.diag(Kernel(np.ones(2), 2.5, 0.1)(table, table)) == pytest.approx(2.5)


def test_components_of_a_plane_lead_back_to_it(rng):
    values = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 9)) + 3
    found = Components.fit(values, 2, seed=0)
    scaled = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -5, 5)
    assert found(values) @ found.basis == pytest.approx(scaled, abs=1e-6)
    assert np.isnan(found(np.full((1, 9), np.nan))).all()


def test_errors_from_residuals_follow_the_signal_to_noise(rng):
    snr = np.exp(rng.uniform(np.log(10), np.log(200), 4000))
    truth = np.hypot(0.05, 2.0 / snr)[:, None]
    residual = truth * rng.standard_normal((4000, 1))
    fitted = ResidualError.fit(residual, {"snr": snr})
    assert fitted.predict({"snr": snr}, 4000) == pytest.approx(truth, rel=0.15)
    unknown = fitted.predict({}, 2)
    assert unknown == pytest.approx(np.quantile(np.abs(residual), 0.6827), rel=1e-4)
