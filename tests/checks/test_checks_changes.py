"""What is put on spectra on purpose is what it says: noise, velocity, broadening, levels, dust."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.checks.injection import changes
from distcnn.model.pixel_noise import NoiseGenerator, autocorrelation
from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.simulate import dust
from distcnn.simulate.spectrum import xp

DR3 = (0.8, 0.4, 0.1)
"""Correlation of the noise on the grid of Gaia DR3, about."""
WAVELENGTH = np.linspace(846.0, 870.0, 961)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def line(centre=858.0, sigma=0.06, depth=0.5):
    return 1 - depth * np.exp(-0.5 * ((WAVELENGTH - centre) / sigma) ** 2)


def stars(flux, snr=100.0):
    flux = np.atleast_2d(flux).astype(np.float32)
    return {
        "flux": flux,
        "flux_error": np.full_like(flux, 1 / snr),
        "snr": np.full(len(flux), snr, np.float32),
    }


@settings(max_examples=15)
@given(snr=st.floats(1.0, 80.0), correlation=st.sampled_from([(), (0.4,), DR3]))
def test_added_noise_and_the_spectrums_own_make_the_error_of_the_lower_snr(snr, correlation):
    noise, generator = NoiseGenerator.of(correlation), torch.Generator().manual_seed(1)
    own = 0.01 * noise.draw((400, 961), generator).numpy()
    arrays = stars(1 + own)
    changed = changes.lower_snr(arrays, snr, noise, generator)
    assert changed["flux"].std() == pytest.approx(1 / snr, rel=0.03)
    np.testing.assert_allclose(changed["flux_error"], 1 / snr, rtol=1e-4)
    np.testing.assert_allclose(changed["snr"], snr, rtol=1e-5)
    found = np.pad(autocorrelation(changed["flux"] - 1.0), (0, 3))
    np.testing.assert_allclose(found[: len(correlation)], correlation, atol=0.02)


def test_a_star_that_is_faint_already_stays_as_it_is(generator):
    arrays = stars(line(), snr=5.0)
    changed = changes.lower_snr(arrays, 20.0, NoiseGenerator.of((0.3,)), generator)
    for name, values in arrays.items():
        np.testing.assert_array_equal(changed[name], values)


@given(velocity=st.floats(-20, 20))
def test_a_velocity_moves_a_line_to_the_red_by_v_over_c(velocity):
    moved = changes.shift(stars(line(sigma=0.3)), WAVELENGTH, velocity)["flux"][0].astype(float)
    centre = ((1 - moved) * WAVELENGTH).sum() / (1 - moved).sum()
    assert centre == pytest.approx(858.0 * (1 + velocity / LIGHT_SPEED_KM_S), abs=2e-3)


@given(fwhm=st.floats(5.0, 60.0))
def test_a_broadened_line_keeps_its_equivalent_width_and_adds_variances(fwhm):
    sigma = 0.08
    wide = changes.broaden(stars(line(sigma=sigma)), WAVELENGTH, fwhm)["flux"][0].astype(float)
    depth = 1 - wide
    assert depth.sum() == pytest.approx((1 - line(sigma=sigma)).sum(), rel=1e-4)
    variance = (depth * (WAVELENGTH - 858.0) ** 2).sum() / depth.sum()
    added = (fwhm / changes.FWHM_PER_SIGMA / LIGHT_SPEED_KM_S * 858.0) ** 2
    assert variance == pytest.approx(sigma**2 + added, rel=0.03)


@pytest.mark.parametrize("correlation", [(), DR3])
def test_a_broadening_leaves_the_noise_as_it_was(generator, correlation):
    noise = 0.01 * NoiseGenerator.of(correlation).draw((300, 961), generator).numpy()
    wide = changes.broaden(stars(1 + noise), WAVELENGTH, 15.0, generator, correlation)["flux"]
    assert wide[:, 5:-5].std() == pytest.approx(0.01, rel=0.02)
    found = np.pad(autocorrelation(wide - 1.0), (0, 3))
    np.testing.assert_allclose(found[: len(correlation)], correlation, atol=0.02)


def test_a_shift_leaves_the_noise_about_as_it_was(rng):
    noise = stars(1 + 0.01 * rng.standard_normal((300, 961)))
    half_a_pixel = 0.5 * 0.025 / 858 * LIGHT_SPEED_KM_S
    moved = changes.shift(noise, WAVELENGTH, half_a_pixel)["flux"]
    assert moved[:, 5:-5].std() == pytest.approx(0.01, rel=0.15)  # linearly it would be 0.007


def test_a_bright_star_gets_its_slope_back_in_the_faint_regime_and_a_faint_one_loses_it():
    flat = stars(np.tile(line(), (2, 1)))
    flat["flux"][0] *= 1 + 0.05 * np.linspace(1, -1, 961, dtype=np.float32)
    faint, teff = np.array([True, False]), np.full(2, 5000.0)
    out = changes.other_regime(flat, faint, teff, WAVELENGTH)["flux"]
    edges = out[:, [20, -20]]
    assert edges[0] == pytest.approx(1, abs=0.01)
    slope = changes.planck_slope(teff[:1], WAVELENGTH)[0, [20, -20]]
    np.testing.assert_allclose(edges[1] / edges[1].mean(), slope / slope.mean(), rtol=2e-3)


def test_missing_pixels_stay_missing_and_spread_nothing():
    flux = np.ones((1, 961), np.float32)
    flux[0, 300:320] = np.nan
    changed = changes.broaden(stars(flux), WAVELENGTH, 30.0)["flux"]
    np.testing.assert_array_equal(np.isnan(changed), np.isnan(flux))
    np.testing.assert_allclose(changed[np.isfinite(changed)], 1.0, rtol=1e-6)


@pytest.mark.parametrize("regime", [changes.faint_regime, changes.bright_regime])
def test_regimes_do_not_depend_on_the_level_before_and_scale_errors_likewise(regime):
    arrays = stars(line() * (1 + 0.01 * np.linspace(-1, 1, 961)))
    once = regime(arrays)
    other = regime({**arrays, "flux": arrays["flux"] * 3, "flux_error": arrays["flux_error"] * 3})
    for name in ("flux", "flux_error"):
        np.testing.assert_allclose(once[name], other[name], rtol=1e-4)


def test_the_bright_regime_takes_a_slope_off_and_keeps_lines():
    tilted = changes.bright_regime(stars(line() * (1 + 0.05 * np.linspace(-1, 1, 961))))["flux"][0]
    outside = np.abs(WAVELENGTH - 858.0) > 1
    np.testing.assert_allclose(tilted[outside], 1.0, atol=0.01)
    assert tilted.min() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("names", [["phot_g_mean_mag", "phot_bp_mean_mag"], ["G", "BP"]])
def test_dust_dims_known_bands_by_their_extinction_and_leaves_others(names):
    arrays = {"photometry": np.zeros((1, 3), np.float32)}
    bands = [*names, "my_band"]
    changed = dust.redden(arrays, 0.1, bands=bands, wavelength=None)["photometry"][0]
    np.testing.assert_allclose(changed, [0.2446, 0.3106, 0.0], rtol=1e-5)


def test_dust_takes_the_light_of_both_xp_bands_as_it_takes_their_magnitudes():
    bands = {"bp": slice(0, 55), "rp": slice(55, 110)}
    truth = np.array([[5200.0, 3.0, -0.2, 0.1, 0.05], [6300.0, 4.2, 0.0, 0.0, 0.1]]).T
    each = [xp.photon_distribution(band, truth) @ xp.projection(band).T for band in bands]
    value = np.concatenate([one / one[:, :1] for one in each], axis=1)
    given = {"xp": value, "xp_error": np.ones_like(value)}
    changed = dust.redden_xp(given, 0.1)
    for band, part in bands.items():
        loss = 10 ** (-0.04 * dust.EXTINCTION_PER_EBV[band])
        before, after = given["xp"][:, part], changed["xp"][:, part]
        # The first coefficient is most of the light, and the shape changes a little.
        assert after[:, 0] / before[:, 0] == pytest.approx(loss, rel=0.05)
        assert changed["xp_error"][:, part] == pytest.approx(np.sqrt(loss))
        shape = after / after[:, :1] - before / before[:, :1]
        assert np.abs(shape).max() > 0.01  # redder, not only fainter


def test_the_diffuse_band_has_the_equivalent_width_of_its_dust():
    changed = dust.redden(stars(np.ones(961)), 0.3, bands=(), wavelength=WAVELENGTH)["flux"][0]
    width = (1 - changed.astype(float)).sum() * (WAVELENGTH[1] - WAVELENGTH[0])
    assert width == pytest.approx(0.3 / 2.72 / 10, rel=0.02)  # Munari et al. 2008, in nm
    assert WAVELENGTH[np.argmin(changed)] == pytest.approx(862.32, abs=0.03)
