"""A star that is moved away looks as it would from there: held against its physical inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distcnn.config import AugmentConfig, NetworkConfig
from distcnn.model import InputSpec, build_network, fit_scaling, star_inputs
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.farther import FartherAway, ModelStars
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.tensors import scale_stars

STARS, PIXELS, BANDS = 400, 80, ("g", "bp", "rp")
SPEC = InputSpec(PIXELS, 10, BANDS, True, "grid", ("mh",))


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(1)
    colour = rng.normal(0, 0.3, (STARS, 2))
    g = rng.uniform(8, 17, (STARS, 1))
    distance = rng.uniform(0.1, 5, STARS)
    shape = rng.normal(0, 1, 10) + 0.1 * rng.normal(0, 1, (STARS, 10))
    error = 10 ** rng.uniform(-2, -1, STARS)
    variables = {
        "flux": 1 + 0.1 * rng.normal(0, 1, (STARS, PIXELS)),
        "snr": rng.uniform(20, 300, STARS),
        "photometry": np.hstack([g, g + colour]),
        "parallax": 1 / distance + error * rng.normal(0, 1, STARS),
        "parallax_error": error,
        "xp": shape * 10 ** (-0.4 * (g - 10)),
    }
    variables["parallax"][:20] = np.nan
    variables["xp"][10:40] = np.nan
    variables["photometry"][30:50] = np.nan
    given = {name: values.astype(np.float32) for name, values in variables.items()}
    label = rng.normal(0, 1, (STARS, 1)).astype(np.float32)
    flux_error = np.full((STARS, PIXELS), 0.01, np.float32)
    return given, Labelled(
        np.arange(STARS),
        star_inputs(given, SPEC),
        flux_error,
        label,
        0.1 + 0 * label,
        np.full((STARS, 2), np.nan),
    )


@pytest.fixture(scope="module")
def network(stars):
    made = build_network(SPEC, NetworkConfig(width=16, hidden=16), 0)
    fit_scaling(made, stars[1].inputs, stars[1].label)
    return made


def models(magnitude, parallax_error=np.nan, xp_error=0.0, count=60):
    def full(value, *more):
        return torch.full((count, *more), float(value))

    return ModelStars(
        torch.linspace(1, 10, count),
        torch.zeros(count, PIXELS, dtype=torch.bool),
        full(magnitude, 3),
        full(parallax_error),
        full(xp_error, 10),
        BANDS,
    )


def moved(network, stars, models, zero_point=0.0):
    scaled = scale_stars(network, stars)
    out = replace(scaled, scalars=scaled.scalars.clone(), xp=scaled.xp.clone())
    every = torch.arange(len(scaled))
    generator = torch.Generator().manual_seed(1)
    drawn = models.draw(torch.full((len(scaled), 1), 3.0), generator)
    FartherAway(SPEC, network.inputs, zero_point)(out, every, drawn, generator)
    return scaled, out


@pytest.mark.parametrize("zero_point", [0.0, -0.5])
def test_without_errors_of_its_own_it_is_the_star_at_another_distance(network, stars, zero_point):
    given, labelled = stars
    g = given["photometry"][:, 0]
    dimmer = np.nan_to_num(np.clip(14.0 - g, 0, None), nan=0.0)
    wanted = {
        **given,
        "photometry": given["photometry"] + dimmer[:, None],
        "parallax": zero_point + (given["parallax"] - zero_point) * 10 ** (-0.2 * dimmer),
        "parallax_error": given["parallax_error"] * 10 ** (-0.2 * dimmer),
        "xp": given["xp"] * 10 ** (-0.4 * dimmer[:, None]),
    }
    expected = network.inputs(star_inputs(wanted, SPEC).tensors())
    before, out = moved(network, labelled, models(14.0), zero_point)
    torch.testing.assert_close(out.scalars, expected["scalars"], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(out.xp, expected["xp"], atol=1e-4, rtol=1e-3)
    stay = torch.from_numpy(dimmer == 0)
    torch.testing.assert_close(out.scalars[stay], before.scalars[stay], atol=0, rtol=0)


def test_parallax_and_xp_get_the_errors_of_the_models(network, stars):
    _, labelled = stars
    before, out = moved(network, labelled, models(20.0, parallax_error=0.5, xp_error=0.02))
    inputs, at = network.inputs, list(SPEC.features)
    raw = inputs.linear(out.scalars) * inputs.feature_scale + inputs.feature_centre
    error = 10 ** raw[:, at.index("log_parallax_error")]
    known = (out.scalars[:, at.index("has_parallax")] == 1) & (
        out.scalars[:, at.index("has_g")] == 1
    )
    assert error[known].numpy() == pytest.approx(0.5, rel=1e-3)
    pull = torch.sinh(raw[known, at.index("parallax_snr")])
    assert float(pull.std()) == pytest.approx(1.0, rel=0.15)
    there = known & (out.scalars[:, at.index("has_xp")] == 1)
    change = (inputs.linear(out.xp) - inputs.linear(before.xp))[there]
    noise = change @ torch.linalg.inv(inputs.xp_rotation) * inputs.xp_scale
    assert float(noise.std()) == pytest.approx(0.02, rel=0.05)


def test_augmentation_moves_lowered_stars_alone_and_if_it_is_asked_to(network, stars):
    _, labelled = stars
    scaled = scale_stars(network, labelled)
    at = SPEC.features.index("magnitude")
    quiet = {"drop_xp": 0, "drop_parallax": 0, "drop_pixels": 0, "noise": 0.5}
    for asked in (False, True):
        config = AugmentConfig(**quiet, faint_inputs=asked, faintest=1.0)
        properties = SurveyProperties(models=models(18.0))
        augment = Augment(config, SPEC, network, properties)
        batch = scaled.take(torch.arange(STARS))
        out = augment(batch, scaled.snr, torch.Generator().manual_seed(1))
        lowered = (
            out.scalars[:, SPEC.features.index("log_snr")]
            < scaled.scalars[:, SPEC.features.index("log_snr")]
        )
        changed = out.scalars[:, at] != scaled.scalars[:, at]
        assert 0.4 < float(lowered.float().mean()) < 0.6
        assert not (changed & ~lowered).any()
        assert float(changed[lowered].float().mean()) == pytest.approx(0.95 * asked, abs=0.05)
