import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distcnn.config import AugmentConfig, NetworkConfig
from distcnn.model import InputSpec, build_network, fit_scaling, star_inputs
from distcnn.model.pixel_noise import autocorrelation
from distcnn.training.data.augment import (
    REFERENCE_SNR,
    Augment,
    SurveyProperties,
)
from distcnn.training.data.farther import ModelStars
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
    flux = 1 - depth * np.exp(-((place - 80) ** 2) / 50) + noise / np.reshape(snr, (-1, 1))
    flux[:, :3] = np.nan
    spec = InputSpec(PIXELS, 0, (), False, "", ())
    snr = np.broadcast_to(snr, stars).astype(np.float32)
    inputs = star_inputs({"flux": flux, "snr": snr}, spec)
    error = np.repeat(1 / snr[:, None], PIXELS, axis=1)
    label = depth.astype(np.float32)
    return Labelled(
        np.arange(stars),
        inputs,
        error,
        label,
        np.full_like(label, 0.01),
        np.full((stars, 2), np.nan),
    )


@pytest.fixture(params=[False, True], ids=["plain", "scaled by noise"])
def bright(request):
    stars = make_stars(600, snr=200.0)
    spec = InputSpec(PIXELS, 0, (), False, "grid", ("mh",))
    network = build_network(spec, NetworkConfig(hidden=16, scale_by_noise=request.param), 0)
    fit_scaling(network, stars.inputs, stars.label)
    return SimpleNamespace(spec=spec, network=network, scaled=scale_stars(network, stars))


def augmented(bright, facts=SurveyProperties(), **changes):  # noqa: B008 - frozen
    config = AugmentConfig(**(QUIET | {"noise": 1.0} | changes))
    augment = Augment(config, bright.spec, bright.network, facts)
    batch = bright.scaled.take(torch.arange(len(bright.scaled)))
    out = augment(batch, torch.full((4, 1), 20.0), torch.Generator().manual_seed(1))
    inputs = bright.network.inputs
    before, after = (inputs.noise_gain(torch.tensor([[snr]])) for snr in (200.0, 20.0))
    added = (out.spectrum * after - bright.scaled.spectrum * before) * inputs.spectrum_scale
    return added[:, 3:].numpy(), out


@pytest.mark.parametrize("correlation", [(), (0.25,), (0.8, 0.4)])
def test_added_noise_has_the_size_and_correlation_of_the_survey(bright, correlation):
    added, _ = augmented(bright, SurveyProperties(correlation))
    assert added.std() == pytest.approx(math.sqrt(1 / 20**2 - 1 / 200**2), rel=0.03)
    met = autocorrelation(added)
    assert met[: len(correlation)] == pytest.approx(correlation, abs=0.05)


def test_a_length_in_the_settings_counts_instead_of_what_was_measured(bright):
    added, _ = augmented(bright, SurveyProperties((0.1,)), correlation=3.0)
    assert autocorrelation(added) == pytest.approx((2 / 3, 1 / 3), abs=0.05)


def test_missing_pixels_stay_missing(bright):
    facts = SurveyProperties((0.3,), velocity=10.0)
    _, out = augmented(bright, facts, velocity=5.0, continuum=0.05)
    assert not out.spectrum[:, :3].any()


def test_lowered_spectra_are_shifted_as_their_snr_costs(bright):
    # Without the noise itself, what is added is the slope of the flux times the shift.
    bright.scaled.noise.mul_(1e-6)
    shifted, _ = augmented(bright, SurveyProperties(velocity=10.0), velocity=5.0)
    scale, centre = (getattr(bright.network.inputs, f"spectrum_{n}") for n in ("scale", "centre"))
    gain = bright.network.inputs.noise_gain(torch.tensor([[200.0]]))
    flux = (bright.scaled.spectrum * gain * scale + centre).numpy()
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
    augment = Augment(config, bright.spec, bright.network, SurveyProperties((0.3,), 10.0))
    batch = bright.scaled.take(torch.arange(50))
    out = augment(batch, torch.full((4, 1), 500.0), torch.Generator().manual_seed(1))
    torch.testing.assert_close(out.spectrum, bright.scaled.spectrum[:50])


def features(bright, out):
    """log10 S/N and fraction of valid pixels of augmented stars, as the network is told them."""
    inputs, names = bright.network.inputs, list(bright.spec.features)
    raw = inputs.linear(out.scalars) * inputs.feature_scale + inputs.feature_centre
    return raw[:, names.index("log_snr")], raw[:, names.index("valid_pixels")]


def test_spectra_are_lowered_to_the_faintest_evenly_in_the_logarithm(bright):
    _, out = augmented(bright, faintest=1.0)
    log_snr = np.sort(features(bright, out)[0].numpy())
    expected = np.linspace(0, np.log10(200), len(log_snr))
    np.testing.assert_allclose(log_snr, expected, atol=0.12)


def test_lowered_spectra_miss_the_pixels_that_spectra_so_faint_miss(bright):
    snr = torch.linspace(1, 100, 200)
    missing = torch.zeros(200, PIXELS, dtype=torch.bool)
    missing[snr < 30, 100:140] = True
    nothing = torch.empty(200, 0)
    models = ModelStars(snr, missing, nothing, torch.full((200,), torch.nan), nothing)
    _, out = augmented(bright, SurveyProperties(models=models))
    assert not out.spectrum[:, 100:140].any()
    assert out.spectrum[:, 50:100].all()
    valid = features(bright, out)[1].numpy()
    np.testing.assert_allclose(valid, 1 - 43 / PIXELS, atol=1e-5)


def test_a_hidden_spectrum_looks_as_one_that_is_not_there(bright):
    _, out = augmented(bright, noise=0.0, drop_spectrum=0.999999)
    stars = make_stars(600, snr=200.0)
    hidden = bright.network.inputs(stars.inputs.without("flux", "snr").tensors())
    torch.testing.assert_close(out.spectrum, hidden["spectrum"])
    torch.testing.assert_close(out.scalars, hidden["scalars"])


def test_noise_is_scaled_to_order_one_at_any_snr():
    stars = make_stars(600, snr=np.geomspace(0.5, 500, 600))
    spec = InputSpec(PIXELS, 0, (), False, "grid", ("mh",))
    network = build_network(spec, NetworkConfig(hidden=16, scale_by_noise=True), 0)
    fit_scaling(network, stars.inputs, stars.label)
    spread = scale_stars(network, stars).spectrum[:, 3:].std(dim=1)
    assert spread[:100].min() > 0.5
    assert spread.max() < 4
    assert network.inputs.noise_gain(torch.tensor([[1e9]])) == pytest.approx(1)
    assert network.inputs.noise_gain(torch.tensor([[math.nan]])) == 1


def test_spectra_fainter_than_any_of_training_fade_away_and_are_told_of_as_the_faintest():
    stars = make_stars(600, snr=np.geomspace(2, 500, 600))
    spec = InputSpec(PIXELS, 0, (), False, "grid", ("mh",))
    network = build_network(spec, NetworkConfig(hidden=16, scale_by_noise=True), 0)
    for faintest, lowest in ((None, 2.0), (0.5, 0.5)):
        fit_scaling(network, stars.inputs, stars.label, faintest)
        gain = network.inputs.noise_gain
        torch.testing.assert_close(gain.lowest, torch.tensor([lowest]))
        snr = torch.tensor([[lowest], [lowest / 10], [lowest / 1000], [0.0], [-1.0]])
        assert (gain.told(snr) == lowest).all()
        found = gain(snr)[:, 0] / gain(snr)[0, 0]
        torch.testing.assert_close(found[:3], torch.tensor([1.0, 10.0, 1000.0]))
        assert (found[3:] > 1e3).all()
        assert torch.isnan(gain.told(torch.tensor([[math.nan]])))
