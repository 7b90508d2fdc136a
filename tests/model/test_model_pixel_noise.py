"""The correlation of a survey's noise is measured, and noise drawn has it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distcnn.model.pixel_noise import (
    NoiseGenerator,
    autocorrelation,
    correlation_of_length,
    length_of,
    measure_correlation,
    stated_correlation,
)
from distcnn.simulate.grid import ReleaseGrid
from distcnn.simulate.spectrum.instrument import Exposure, expose
from distcnn.simulate.spectrum.synthesis import FINE_WAVELENGTH

TRIANGLE = correlation_of_length(4.0)


def drawn(correlation, shape=(3000, 240), seed=1):
    return (
        NoiseGenerator.of(correlation)
        .draw(shape, torch.Generator().manual_seed(seed), torch.device("cpu"))
        .numpy()
    )


def measured(flux, snr):
    return measure_correlation(flux, np.full(len(flux), snr))


def with_lines(noise, seed=2):
    """Spectra whose lines differ between stars, with that noise on them."""
    depth = np.random.default_rng(seed).normal(0.3, 0.1, (len(noise), 1))
    place = np.arange(noise.shape[1])
    return 1 - depth * np.exp(-((place - 80) ** 2) / 50) + noise


@pytest.mark.parametrize("correlation", [(), (0.25,), (0.6, 0.15), TRIANGLE, (0.8, 0.4, 0.1)])
def test_noise_has_unit_variance_and_the_correlation_asked_for(correlation):
    noise = drawn(correlation)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.06)  # at the ends, too
    assert noise.std() == pytest.approx(1, abs=0.01)
    found = np.pad(autocorrelation(noise), (0, 8))
    np.testing.assert_allclose(found[: len(correlation)], correlation, atol=0.03)
    assert np.abs(found[len(correlation) :]).max() < 0.05


@pytest.mark.parametrize("correlation", [(), (0.25,), (0.6, 0.15), (0.8, 0.4, 0.1)])
def test_the_correlation_is_measured_beside_lines_and_missing_pixels(correlation):
    flux = with_lines(drawn(correlation, (1500, 240)) / 5)
    flux[:, :3] = np.nan
    found = measured(flux, 5.0)
    assert length_of(found) == pytest.approx(length_of(correlation), rel=0.12, abs=0.1)


@pytest.mark.parametrize("step", [0.01, 0.025])
def test_noise_of_the_grids_of_dr3_and_dr4_is_drawn_as_it_is_measured(step):
    grid = ReleaseGrid(846.0, step, int(8 / step))
    full = np.full(400, 20.0)
    exposure = Exposure(full / 10, full / 2, full.astype(int), full / 40)
    flux, _ = expose(np.random.default_rng(3), np.ones((400, FINE_WAVELENGTH.size)), exposure, grid)
    met = measured(flux, 2.0)
    assert met[0] == pytest.approx(0.8 if step == 0.01 else 0.2, abs=0.08)
    copy = autocorrelation(drawn(met))
    assert copy == pytest.approx(met, abs=0.03)


def test_few_spectra_tell_nothing_and_the_ingest_is_asked():
    assert measured(np.ones((40, 200)), 5.0) is None
    prepare = {"rebin": 1, "noise_correlation": 4.0, "target": None}
    assert stated_correlation(SimpleNamespace(attrs={"ingest": {"prepare": prepare}})) == TRIANGLE
    coarse = prepare | {"rebin": 4}
    assert stated_correlation(SimpleNamespace(attrs={"ingest": {"prepare": coarse}})) == ()
    assert stated_correlation(SimpleNamespace(attrs={})) == ()


def test_a_length_is_the_number_of_pixels_that_make_an_independent_one():
    assert length_of(()) == 1
    for length in (1.0, 2.0, 5.0):
        assert length_of(correlation_of_length(length)) == pytest.approx(length)
