import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distcnn.model import InputSpec, StarInputs, build_network, fit_scaling, star_inputs
from distcnn.model.ensemble import predict_members
from distcnn.model.networks.covariance import Correlation, pack_pairs, pair_names, pairs
from distcnn.training.loop.loss import GaussianNats, correlation_loss


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 10), elements=st.floats(-50, 50)))
def test_any_entries_make_a_correlation_matrix(entries):
    matrix = Correlation(5).double()(torch.from_numpy(entries)).numpy()
    np.testing.assert_allclose(np.diagonal(matrix, axis1=1, axis2=2), 1, rtol=1e-9)
    np.testing.assert_allclose(matrix, matrix.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (4, 6), elements=st.floats(-3, 3, width=32)))
def test_packed_entries_are_those_of_the_pairs(entries):
    matrix = Correlation(4)(torch.from_numpy(entries))
    for found, (row, column) in zip(pack_pairs(matrix).T, pairs(4), strict=True):
        np.testing.assert_array_equal(found, matrix[:, row, column])


def test_pairs_are_named_in_their_order():
    assert pairs(3) == [(1, 0), (2, 0), (2, 1)]
    assert pair_names(("teff", "logg", "mh")) == ("teff_logg", "teff_mh", "logg_mh")


class Residuals:
    """Stars with errors of known correlation, as the loss sees them."""

    def __init__(self, stars, rho, reference=0.0, known=1.0):
        rng = np.random.default_rng(4)
        errors = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], stars)
        errors += reference * rng.standard_normal((stars, 2))
        self.target = torch.from_numpy(errors).float()
        self.variance = torch.full_like(self.target, reference**2)
        self.known = torch.from_numpy(rng.random((stars, 2)) < known).float()


def best_correlation(stars):
    grid = torch.linspace(-0.95, 0.95, 77)
    zero = torch.zeros_like(stars.target)
    losses = []
    for rho in grid:
        matrix = torch.tensor([[1, float(rho)], [float(rho), 1]]).expand(len(zero), 2, 2)
        losses.append(float(correlation_loss((zero, zero + 1, matrix), stars)))
    return float(grid[int(np.argmin(losses))])


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.5])
@pytest.mark.parametrize(("reference", "known"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.7)])
def test_the_loss_finds_the_correlation_of_the_networks_own_errors(rho, reference, known):
    assert best_correlation(Residuals(60_000, rho, reference, known)) == pytest.approx(
        rho, abs=0.05
    )


def test_the_loss_of_correlations_moves_neither_means_nor_sigmas():
    stars = Residuals(50, 0.4)
    mean, sigma = torch.zeros(50, 2, requires_grad=True), torch.ones(50, 2, requires_grad=True)
    entries = torch.zeros(50, 1, requires_grad=True)
    correlation_loss((mean, sigma, Correlation(2)(entries)), stars).backward()
    assert mean.grad is None
    assert sigma.grad is None
    assert entries.grad.abs().sum() > 0


def test_the_gradient_of_the_joint_nats_is_the_one_found_by_small_steps():
    dice = torch.Generator().manual_seed(2)
    entries = torch.randn(4, 3, generator=dice, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(4, 3, generator=dice, dtype=torch.float64)

    def nats(entries):
        covariance = Correlation(3).double()(entries) + 0.3 * torch.eye(3)
        return GaussianNats.apply(covariance, pull)[0]

    assert torch.autograd.gradcheck(nats, (entries,))


class Constant(torch.nn.Module):
    """A member that gives every star the same answer."""

    def __init__(self, mean, sigma, rho):
        super().__init__()
        self.mean, self.sigma, self.rho = mean, sigma, rho

    def inputs(self, stars):
        return {"scalars": stars["snr"]}

    def layers(self, inputs):
        ones = torch.ones(len(inputs["scalars"]), 1)
        matrix = torch.tensor([[1, self.rho], [self.rho, 1]]).expand(len(ones), 2, 2)
        return ones * torch.tensor(self.mean), ones * torch.tensor(self.sigma), matrix

    def labels(self, mean, sigma):
        return mean, sigma


def test_the_ensembles_correlation_is_that_of_noise_and_scatter_together():
    members = [Constant([0.0, 5.0], [1.0, 2.0], 0.5), Constant([3.0, 9.0], [2.0, 1.0], -0.2)]
    stars = StarInputs({"snr": np.ones((2, 1), np.float32)})
    found = predict_members(members, stars)
    noise = (np.array([[1, 1], [1, 4]]) + np.array([[4, -0.4], [-0.4, 1]])) / 2
    total = noise + np.cov(np.array([[0.0, 5.0], [3.0, 9.0]]).T)
    expected = total[0, 1] / np.sqrt(total[0, 0] * total[1, 1])
    np.testing.assert_allclose(found.correlation, np.full((2, 1), expected), rtol=1e-5)
    np.testing.assert_allclose(
        np.hypot(found.noise, found.scatter)[0], np.sqrt(np.diag(total)), rtol=1e-5
    )


def make_xp(stars, rng):
    """Six coefficients that a colour moves together, and a metal line a hundred times less."""
    colour, metal = rng.normal(0, 1, stars), rng.normal(0, 1, stars)
    shape = np.array([5.0, 2, 1, 0.5, 0.2, 0.1])
    line = np.array([0.0, 1, -2, 0, 2, 1]) / 100
    return shape + colour[:, None] * 0.1 * shape[::-1] + metal[:, None] * line, metal


def test_components_of_xp_bring_what_is_small_and_independent_to_unit_size():
    rng = np.random.default_rng(1)
    xp, metal = make_xp(4000, rng)
    spec = InputSpec(0, 6, (), False, "", ("mh",))
    stars = star_inputs({"xp": xp, "snr": np.full(4000, 50.0)}, spec)
    network = build_network(spec, _small(), 0)
    fit_scaling(network, stars, metal[:, None])
    with torch.no_grad():
        components = network.inputs(stars.tensors())["xp"].numpy()
    assert 0.5 < components[:, 1].std() < 1.5
    # One of the first few follows the metals alone.
    assert max(abs(np.corrcoef(column, metal)[0, 1]) for column in components[:, :3].T) > 0.9


def _small():
    from distcnn.config import NetworkConfig

    return NetworkConfig(hidden=16)
