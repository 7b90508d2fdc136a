import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.quality.calibration.error_deconvolution import (
    DEGREES_OF_FREEDOM,
    MIN_STARS_FOR_SCALE,
    ReferenceResiduals,
)


def _residuals(rng, stars, *, shape=100.0, scale=1.0, reference=1.0):
    spread = 0.1 * rng.lognormal(0, 0.3, (stars, 1))
    errors = scale * spread * rng.standard_t(shape, (stars, 1))
    noise = 0.1 * reference * np.ones((stars, 1))
    found = ReferenceResiduals(errors + noise * rng.standard_normal((stars, 1)), spread, noise)
    return found, np.quantile(np.abs(errors / spread), 0.6827)


@pytest.mark.parametrize("shape", [3.0, 5.0, 100.0])
@pytest.mark.parametrize("reference", [0.0, 0.5, 1.5])
def test_the_width_of_the_predictions_own_errors_is_found(rng, shape, reference):
    found, own = _residuals(rng, 12_000, shape=shape, scale=1.3, reference=reference)
    assert found.scales(found.degrees_of_freedom()) == pytest.approx(
        own, rel=0.06 + 0.03 * reference
    )


def test_tails_are_told_from_a_gaussian(rng):
    assert _residuals(rng, 8000, shape=3.0)[0].degrees_of_freedom()[0] <= 5.0
    assert _residuals(rng, 8000, reference=0.3)[0].degrees_of_freedom()[0] >= 15.0


def test_a_star_with_a_poor_reference_is_worth_little(rng):
    good, poor = (_residuals(rng, 100, reference=r)[0].effective_stars().sum() for r in (0.1, 3.0))
    assert good > 90
    assert poor < 10


def test_one_absurd_residual_does_not_decide(rng):
    found, own = _residuals(rng, 2000, shape=5.0)
    found.residual[7] = 1e9
    assert found.scales(found.degrees_of_freedom()) == pytest.approx(own, rel=0.1)


def test_too_few_or_unknown_residuals_tell_nothing(rng):
    found, _ = _residuals(rng, MIN_STARS_FOR_SCALE - 1)
    assert np.isnan(found.scales(found.degrees_of_freedom())).all()
    found, _ = _residuals(rng, 400)
    found.residual[:] = np.nan
    assert found.degrees_of_freedom().tolist() == [DEGREES_OF_FREEDOM[-1]]
    assert not found.effective_stars().any()


@settings(max_examples=10, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 99))
def test_predicted_sigmas_that_are_wrong_by_a_factor_are_corrected_by_it(factor, seed):
    found, _ = _residuals(np.random.default_rng(seed), 400)
    degrees = found.degrees_of_freedom()
    scaled = found.rescaled(np.array([factor])).scales(degrees)
    assert scaled * factor == pytest.approx(found.scales(degrees), rel=0.02)
