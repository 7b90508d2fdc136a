import numpy as np
import pytest

from distcnn.config import SimulateConfig
from distcnn.schema import DEFAULT_LABELS
from distcnn.simulate import DR3_GRID, jacobian
from distcnn.simulate.cramer_rao import PARAMETERS, StarTruth, _jacobian, cramer_rao_bound
from distcnn.simulate.spectrum.synthesis import native_matrices

SUN = [5772.0, 4.438, 0.0, 0.0, 0.0]
GIANT = [4700.0, 2.4, -0.3, 0.1, -0.3]


def known(*values, snr=20.0, grvs=12.0, ebv=0.05):
    count = len(values)
    full = [np.full(count, value) for value in (snr, grvs, 300.0, ebv, 4.0)]
    return StarTruth(np.array(values), *full)


def test_derivatives_by_labels_are_those_of_the_spectrum():
    slopes, _ = _jacobian(known(SUN, GIANT), SimulateConfig())
    native = slopes[:, :5, : native_matrices("float64", DR3_GRID)[0].shape[0]]
    archive = np.einsum("pn,skn->skp", native_matrices("float64", DR3_GRID)[1].toarray(), native)
    expected = jacobian(np.array([SUN, GIANT]))
    unit = np.abs(expected).max(axis=(0, 2))[:, None]
    # The dust of the star leaves its band at 862 nm in one of the two.
    np.testing.assert_allclose(archive / unit, expected / unit, atol=0.02)


def test_dust_and_velocity_are_nuisances_with_derivatives_of_their_own():
    slopes, noise = _jacobian(known(SUN, ebv=0.2), SimulateConfig())
    assert (noise > 0).all()
    for name in ("ebv", "velocity", "distance", "vsini"):
        scaled = slopes[0, PARAMETERS.index(name)] / noise[0]
        assert np.square(scaled).sum() > 0.1, name


@pytest.fixture(scope="module")
def bounds():
    config = SimulateConfig()
    return {snr: cramer_rao_bound(known(SUN, GIANT, snr=snr), config) for snr in (20.0, 200.0)}


def test_a_better_spectrum_tells_more_but_not_more_than_ten_times(bounds):
    ratio = bounds[20.0] / bounds[200.0]
    assert (ratio > 1).all()
    assert (ratio < 10).all()


def test_the_bound_is_of_the_size_that_such_surveys_reach(bounds):
    low = np.array([10, 0.02, 0.005, 0.005, 0.01])
    high = np.array([120, 0.2, 0.1, 0.1, 0.3])
    assert ((bounds[20.0] > low) & (bounds[20.0] < high)).all()


def test_knowing_the_population_helps(bounds):
    spread = np.diag(np.array([900, 1.1, 0.4, 0.1, 0.4]) ** 2)
    informed = cramer_rao_bound(known(SUN, GIANT), SimulateConfig(), population=spread)
    assert (informed < bounds[20.0]).all()
    # Nearly known labels are known at least as well as that.
    tight = cramer_rao_bound(known(SUN), SimulateConfig(), population=1e-4 * spread)
    assert (tight <= 1e-2 * np.sqrt(np.diag(spread)) * (1 + 1e-6)).all()


def test_free_single_elements_cost_precision(bounds):
    loose = cramer_rao_bound(known(SUN, GIANT), SimulateConfig(element_scatter=0.3))
    assert (
        loose[:, DEFAULT_LABELS.index("alpham")]
        > 1.05 * bounds[20.0][:, DEFAULT_LABELS.index("alpham")]
    ).all()
