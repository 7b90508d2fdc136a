"""Noise, errors, regimes: what the spectrograph and the pipeline behind it do."""

import numpy as np
import pytest

from distcnn.config import SnrConfig
from distcnn.simulate import DR3_GRID
from distcnn.simulate.grid import ReleaseGrid
from distcnn.simulate.spectrum.instrument import (
    Exposure,
    draw_exposure,
    expose,
    interstellar_band,
    normalise,
    residual_velocity,
)
from distcnn.simulate.spectrum.lines import TrueLabels
from distcnn.simulate.spectrum.synthesis import FINE_WAVELENGTH, broaden, intrinsic


def exposure_of(stars: int, snr: float, transits: int = 20) -> Exposure:
    full = np.full(stars, snr)
    return Exposure(full, np.full(stars, 11.0), np.full(stars, transits), np.full(stars, 0.3))


@pytest.fixture(scope="module")
def dwarfs() -> np.ndarray:
    labels = TrueLabels.of(np.tile([5700.0, 4.4, 0.0, 0.0, 0.0], (150, 1)))
    return broaden(intrinsic(labels, np.float32), np.full(150, 4.0), np.zeros(150))


def test_a_third_of_the_spectra_lies_below_signal_to_noise_25(rng: np.random.Generator) -> None:
    snr = draw_exposure(rng, 50_000).snr
    assert snr.min() >= 15
    assert snr.max() <= 600
    assert np.mean(snr < 25) == pytest.approx(0.345, abs=0.02)


def test_faint_stars_have_less_signal_and_the_regime_switch_lies_among_them(
    rng: np.random.Generator,
) -> None:
    drawn = draw_exposure(rng, 20_000)
    typical = drawn.transits == 18
    middle = {
        g: np.median(drawn.snr[typical & (np.abs(drawn.grvs - g) < 0.3)]) for g in (10, 11, 12)
    }
    # Published spectra: 84, 42 and 22 at G_RVS 10, 11 and 12.
    assert middle[10] == pytest.approx(84, rel=0.25)
    assert middle[11] == pytest.approx(42, rel=0.25)
    assert middle[12] == pytest.approx(22, rel=0.25)
    low = drawn.snr < 25
    assert 0.1 < np.mean(drawn.grvs[low] > 12) < 0.9


def test_noise_correlates_between_neighbours_but_not_between_native_pixels(
    dwarfs: np.ndarray, rng: np.random.Generator
) -> None:
    flux, _ = expose(rng, dwarfs, exposure_of(150, 40.0))
    noise = flux - flux.mean(axis=0)
    variance = (noise**2).mean()
    correlation = [(noise[:, :-k] * noise[:, k:]).mean() / variance for k in (1, 2, 5)]
    assert correlation == pytest.approx([0.8, 0.41, 0.0], abs=0.03)


def test_quoted_errors_are_the_scatter_and_as_uncertain_as_their_spectra_are_few(
    dwarfs: np.ndarray, rng: np.random.Generator
) -> None:
    many, error = expose(rng, dwarfs, exposure_of(150, 40.0, transits=40))
    scatter = many.std(axis=0)
    assert np.median(scatter / np.median(error, axis=0)) == pytest.approx(1.0, abs=0.03)
    _, few = expose(rng, dwarfs, exposure_of(150, 40.0, transits=3))
    spread = [np.std(np.log(values[:, 1000:1200])) for values in (error, few)]
    assert spread[1] > 3 * spread[0]
    # Errors of real spectra correlate by 0.6 and 0.2 at one and two samples.
    relative = few / np.median(few, axis=0) - 1
    first = np.mean([np.corrcoef(row[:-1], row[1:])[0, 1] for row in relative])
    assert first == pytest.approx(0.65, abs=0.06)


def test_line_cores_have_less_noise_than_the_continuum(
    dwarfs: np.ndarray, rng: np.random.Generator
) -> None:
    flux, error = expose(rng, dwarfs, exposure_of(150, 60.0))
    core = int(np.abs(DR3_GRID.wavelength - 854.444).argmin())
    assert flux[:, core].std() < 0.85 * flux[:, 1200].std()
    assert np.median(error[:, core]) < 0.85 * np.median(error[:, 1200])


def test_signal_to_noise_is_per_native_pixel(dwarfs: np.ndarray, rng: np.random.Generator) -> None:
    flux, _ = expose(rng, np.ones_like(dwarfs), exposure_of(150, 50.0))
    # Interpolation and averaging leave two thirds of a native pixel's variance.
    assert flux[:, 500:1900].std() == pytest.approx(np.sqrt(2 / 3) / 50, rel=0.03)


@pytest.mark.parametrize("step", [0.01, 0.02, 0.025, 0.04])
def test_signal_to_noise_per_interval_is_the_same_on_every_grid(
    rng: np.random.Generator, step: float
) -> None:
    grid = ReleaseGrid(846.0, step, int(24 / step))
    flux, error = expose(rng, np.ones((60, FINE_WAVELENGTH.size)), exposure_of(60, 5.0, 60), grid)
    inner = slice(int(2 / step), int(22 / step))
    noise = (flux - 1)[:, inner]
    lags = range(1, int(0.06 / step) + 1)
    shared = [(noise[:, k:] * noise[:, :-k]).mean() / np.square(noise).mean() for k in lags]
    length = 1 + 2 * float(np.sum(shared))
    snr = SnrConfig(interval=0.0245, given=0.0245, correlation=max(length, 1.0))
    per_pixel = np.median(1 / error[:, inner])
    assert per_pixel * snr.factor_per_pixel(step, 1.0) == pytest.approx(5.0, rel=0.06)


def test_the_faint_regime_forces_the_median_and_the_bright_one_does_not(
    dwarfs: np.ndarray, rng: np.random.Generator
) -> None:
    flux, error = expose(rng, dwarfs, exposure_of(150, 17.0))
    faint = np.arange(150) < 75
    ratio = flux / error
    normalise(flux, error, faint)
    np.testing.assert_allclose(np.median(flux[faint], axis=1), 1.0, atol=1e-5)
    bright = np.median(flux[~faint], axis=1)
    # The real KOI-001, of this signal to noise, has a median of 0.951.
    assert np.median(bright) == pytest.approx(0.95, abs=0.012)
    np.testing.assert_allclose(flux / error, ratio, rtol=1e-4)


def test_the_bright_regime_takes_slopes_out_and_the_faint_one_leaves_them() -> None:
    tilted = (1 + 0.05 * (DR3_GRID.wavelength - 858) / 12)[None].repeat(2, axis=0)
    error = np.full_like(tilted, 0.01)
    normalise(tilted, error, np.array([True, False]))
    assert tilted[0, -1] - tilted[0, 0] == pytest.approx(0.1, abs=0.002)
    assert np.ptp(tilted[1]) < 0.002


def test_velocity_errors_grow_with_magnitude(rng: np.random.Generator) -> None:
    sigma = [residual_velocity(rng, np.full(20_000, g)).std() for g in (8.0, 12.0, 14.0)]
    assert sigma[1] == pytest.approx(1.3, rel=0.05)
    assert sigma[2] == pytest.approx(6.4, rel=0.05)
    assert sigma[0] < 0.2


def test_the_interstellar_band_grows_with_dust() -> None:
    band = interstellar_band(np.array([0.0, 0.3, 0.6]), np.zeros(3), np.float64)
    widths = (1 - band).sum(axis=1) * 0.01
    np.testing.assert_allclose(widths, [0, 0.0111, 0.0222], rtol=0.01)
    assert FINE_WAVELENGTH[band[1].argmin()] == pytest.approx(862.32, abs=0.01)
