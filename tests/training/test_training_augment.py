import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distcnn.config import AugmentConfig, NetworkConfig
from distcnn.model import InputSpec, build_network, fit_scaling, star_inputs
from distcnn.training.data.augment import (
    REFERENCE_SNR,
    Augment,
    SurveyProperties,
    noise_correlation,
)
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.tensors import scale_stars

PIXELS = 160
QUIET = {"drop_xp": 0, "drop_parallax": 0, "drop_pixels": 0, "velocity": 0, "continuum": 0}


def make_stars(stars, *, correlation=0.0, snr=20.0, line=0.0):
    rng = np.random.default_rng(3)
    a = (1 - math.sqrt(1 - 2 * correlation**2)) / (2 * correlation) if correlation else 0.0
    white = rng.standard_normal((stars, PIXELS + 2))
    noise = (white[:, 1:-1] + a * (white[:, 2:] + white[:, :-2])) / math.sqrt(1 + 2 * a * a)
    place = np.arange(PIXELS)
    depth = 0.3 + 0.1 * rng.standard_normal((stars, 1))
    flux = 1 - depth * np.exp(-((place - 80) ** 2) / 50) + noise / snr
    flux[:, :3] = np.nan
    spec = InputSpec(PIXELS, 0, (), False, "", ())
    inputs = star_inputs({"flux": flux, "snr": np.full(stars, snr)}, spec)
    error = np.full((stars, PIXELS), 1 / snr, np.float32)
    label = depth.astype(np.float32)
    return Labelled(np.arange(stars), inputs, error, label, np.full_like(label, 0.01))


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.6])
def test_the_correlation_of_neighbouring_noise_is_measured_on_the_survey(correlation):
    met = noise_correlation(make_stars(1500, correlation=correlation))
    assert met == pytest.approx(correlation, abs=0.04)


def test_a_few_short_spectra_tell_no_correlation():
    assert noise_correlation(make_stars(40)) == 0.0


@pytest.fixture
def bright():
    stars = make_stars(600, snr=200.0)
    spec = InputSpec(PIXELS, 0, (), False, "grid", ("mh",))
    network = build_network(spec, NetworkConfig(hidden=16), 0)
    fit_scaling(network, stars.inputs, stars.label)
    return SimpleNamespace(spec=spec, network=network, scaled=scale_stars(network, stars))


def augmented(bright, facts=SurveyProperties(), **changes):  # noqa: B008 - frozen
    config = AugmentConfig(**(QUIET | {"noise": 1.0} | changes))
    augment = Augment(config, bright.spec, bright.network, facts)
    batch = bright.scaled.take(torch.arange(len(bright.scaled)))
    out = augment(batch, torch.full((4, 1), 20.0), torch.Generator().manual_seed(1))
    scale = bright.network.inputs.spectrum_scale
    return ((out.spectrum - bright.scaled.spectrum) * scale)[:, 3:].numpy(), out


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.6])
def test_added_noise_has_the_size_and_correlation_of_the_survey(bright, correlation):
    added, _ = augmented(bright, SurveyProperties(noise_correlation=correlation))
    assert added.std() == pytest.approx(math.sqrt(1 / 20**2 - 1 / 200**2), rel=0.03)
    inner = added[:, 2:-2]
    met = (inner[:, 1:] * inner[:, :-1]).mean() / np.square(inner).mean()
    assert met == pytest.approx(correlation, abs=0.03)


def test_missing_pixels_stay_missing(bright):
    facts = SurveyProperties(noise_correlation=0.3, velocity=10.0)
    _, out = augmented(bright, facts, velocity=5.0, continuum=0.05)
    assert not out.spectrum[:, :3].any()


def test_lowered_spectra_are_shifted_as_their_snr_costs(bright):
    # Without the noise itself, what is added is the slope of the flux times the shift.
    bright.scaled.noise.mul_(1e-6)
    shifted, _ = augmented(bright, SurveyProperties(velocity=10.0), velocity=5.0)
    scale, centre = (getattr(bright.network.inputs, f"spectrum_{n}") for n in ("scale", "centre"))
    flux = (bright.scaled.spectrum * scale + centre).numpy()
    slope = (0.5 * (flux[:, 2:] - flux[:, :-2]))[:, 3:]
    inner = shifted[:, 1:-1]
    pixels = -(inner * slope[:, : inner.shape[1]]).sum(1) / np.square(slope).sum(1)
    expected = 5.0 * REFERENCE_SNR * math.sqrt(1 / 20**2 - 1 / 200**2) / 10.0
    assert pixels.std() == pytest.approx(expected, rel=0.1)
    assert abs(pixels.mean()) < 0.2 * expected


def test_lowered_spectra_have_their_continuum_placed_anew(bright):
    bright.scaled.noise.mul_(1e-6)
    changed, _ = augmented(bright, continuum=0.02)
    middle = changed[:, changed.shape[1] // 2 + 20]
    expected = 0.02 * REFERENCE_SNR * math.sqrt(1 / 20**2 - 1 / 200**2)
    assert middle.std() == pytest.approx(expected, rel=0.15)


def test_a_spectrum_that_is_not_lowered_stays_as_it_is(bright):
    config = AugmentConfig(**(QUIET | {"noise": 1.0, "velocity": 5.0, "continuum": 0.1}))
    augment = Augment(config, bright.spec, bright.network, SurveyProperties(0.3, 10.0))
    batch = bright.scaled.take(torch.arange(50))
    out = augment(batch, torch.full((4, 1), 500.0), torch.Generator().manual_seed(1))
    torch.testing.assert_close(out.spectrum, bright.scaled.spectrum[:50])
