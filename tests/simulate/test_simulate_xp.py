"""Coefficients of the simulated XP spectra behind more dust."""

import numpy as np
import pytest

from distcnn.simulate.spectrum import xp

STARS = np.array([(5772, 4.44, 0.0, 0.0, 0.05), (4300, 1.5, -0.4, 0.1, 0.2)]).T
"""teff, logg, mh, alpham, E(B-V)."""


def seen(band: str, ebv: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of stars of G = 12, and the loss of light behind more dust [mag]."""
    truth = STARS.copy()
    truth[4] += ebv
    light, before = (xp.photon_distribution(band, t) for t in (truth, STARS))
    scale = xp.ZERO_MAGNITUDE_COEFFICIENT * 10 ** (-0.4 * 12) / 0.25
    shape = light / before.sum(axis=1, keepdims=True)
    return scale * shape @ xp.projection(band).T, -2.5 * np.log10(shape.sum(axis=1))


@pytest.mark.parametrize("band", ["bp", "rp"])
@pytest.mark.parametrize("ebv", [0.03, 0.1])
def test_reddened_coefficients_are_those_of_light_that_was_reddened_before(band, ebv):
    before, _ = seen(band, 0.0)
    after, loss = seen(band, ebv)
    error = xp.typical_error(np.abs(after[:, :1]))
    for star in range(2):
        found = xp.redden(band, before[star : star + 1], ebv, float(loss[star]))[0]
        assert np.abs(after[star] - before[star]).max() > 20 * error[star].max()
        # Of the level, magnitudes tell: the filters' edges are not those of the functions.
        assert found[0] == pytest.approx(after[star, 0], rel=0.02)
        left = (found * after[star, 0] / found[0] - after[star]) / error[star]
        assert np.sqrt(np.square(left).mean()) < 1.0


def test_no_dust_changes_nothing_but_what_the_functions_cannot_hold():
    before, _ = seen("bp", 0.0)
    np.testing.assert_allclose(xp.redden("bp", before, 0.0, 0.0), before, rtol=1e-6)


def test_stars_behind_dust_of_their_own_are_those_reddened_one_by_one(rng):
    each, value = rng.uniform(0, 0.3, (5, 1)), rng.uniform(1, 2, (5, xp.COEFFICIENTS))
    together = xp.redden("rp", value, each, 1.8 * each)
    for star, ebv in enumerate(each[:, 0]):
        alone = xp.redden("rp", value[star : star + 1], float(ebv), float(1.8 * ebv))[0]
        np.testing.assert_allclose(together[star], alone, rtol=1e-9)
