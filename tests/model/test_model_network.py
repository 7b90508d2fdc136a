import warnings

import numpy as np
import pytest
import torch

from distcnn.config import NetworkConfig
from distcnn.errors import TrainingError
from distcnn.modalities import MODALITIES
from distcnn.model import InputSpec, StarInputs, build_network, fit_scaling, star_inputs
from distcnn.model.networks.hybrid import FIRST_CONVOLUTION, SECOND_CONVOLUTION
from distcnn.model.networks.published import Hr15n2023, Rave2020
from distcnn.model.scaling import xp_shape

LABELS = ("teff", "logg", "mh")
WHOLE = {
    "pixels": 100,
    "coefficients": 10,
    "bands": ("g", "bp", "rp"),
    "astrometry": True,
    "wavelength_digest": "grid",
    "labels": LABELS,
}
WITHOUT = {
    "nothing": {},
    "spectrum": {"pixels": 0, "wavelength_digest": ""},
    "xp": {"coefficients": 0},
    "photometry": {"bands": ()},
    "parallax": {"astrometry": False},
    "all but the spectrum": {"coefficients": 0, "bands": (), "astrometry": False},
    "all but photometry": {"pixels": 0, "coefficients": 0, "astrometry": False},
}


def make_stars(spec, stars=50, missing=0.05, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "flux": rng.normal(1, 0.1, (stars, 100)),
        "xp": rng.normal(5, 1, (stars, 10)),
        "photometry": rng.normal(11, 1, (stars, 3)),
        "parallax": rng.normal(1, 1, stars),
        "parallax_error": rng.uniform(0.01, 0.1, stars),
        "snr": rng.uniform(15, 100, stars),
    }
    for array in arrays.values():
        array[rng.random(array.shape) < missing] = np.nan
    return star_inputs({k: v.astype(np.float32) for k, v in arrays.items()}, spec)


def make_network(spec, preset="hybrid", seed=1, **settings):
    network = build_network(spec, NetworkConfig(preset=preset, hidden=32, **settings), seed)
    stars = make_stars(spec)
    rng = np.random.default_rng(2)
    fit_scaling(network, stars, rng.normal((5000, 3, 0), (500, 1, 0.3), (len(stars), 3)))
    return network.eval(), stars


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_rave2020_has_the_published_number_of_parameters():
    assert parameters(Rave2020(912, 9, 9)) == 58_549


def test_hr15n2023_has_the_published_number_of_parameters():
    assert parameters(Hr15n2023(6861, 5)) == 448_167


@pytest.mark.parametrize("preset", ["hybrid", "rave2020", "hr15n2023"])
@pytest.mark.parametrize("without", WITHOUT)
def test_every_branch_may_be_absent(preset, without):
    spec = InputSpec(**(WHOLE | WITHOUT[without]))
    if preset != "hybrid" and not spec.pixels:
        pytest.skip("the published networks need a spectrum")
    network, stars = make_network(spec, preset)
    mean, sigma, _ = network(stars.tensors())
    assert mean.shape == sigma.shape == (50, 3)
    assert torch.isfinite(mean).all()
    assert (sigma > 0).all()


@pytest.mark.parametrize("settings", [{}, {"scale_by_noise": True}])
@pytest.mark.parametrize("preset", ["hybrid", "rave2020", "hr15n2023"])
def test_torchscript_gives_the_same_as_python(preset, settings):
    network, stars = make_network(InputSpec(**WHOLE), preset, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(stars.tensors()), network(stars.tensors()))


def test_a_star_without_any_input_still_gets_a_finite_answer():
    network, stars = make_network(InputSpec(**WHOLE))
    empty = stars.without(*stars.arrays)
    mean, sigma, _ = network(empty.tensors())
    assert torch.isfinite(mean).all()
    assert torch.isfinite(sigma).all()


def test_infinite_and_absurd_inputs_do_not_poison_a_label():
    network, stars = make_network(InputSpec(**WHOLE))
    flux = stars["flux"].copy()
    flux[:, 3], flux[:, 5], flux[:, 7] = np.inf, -np.inf, 1e30
    absurd = StarInputs({name: array * 1e20 for name, array in stars.arrays.items()})
    bad = absurd.replaced(flux=flux)
    assert all(torch.isfinite(out).all() for out in network(bad.tensors()))


def test_one_missing_star_does_not_change_its_neighbours():
    network, stars = make_network(InputSpec(**WHOLE))
    alone = network(stars.take(slice(0, 10)).tensors())[0]
    hollow = {name: array[:10].copy() for name, array in stars.arrays.items()}
    for array in hollow.values():
        array[4] = np.nan
    mixed = network(StarInputs(hollow).tensors())[0]
    others = [k for k in range(10) if k != 4]
    torch.testing.assert_close(mixed[others], alone[others])


def test_the_same_seed_gives_the_same_weights_and_leaves_random_numbers_alone():
    spec, config = InputSpec(**WHOLE), NetworkConfig()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (build_network(spec, config, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, two.state_dict()[name])
    assert not torch.equal(one.layers.mean.weight, other.layers.mean.weight)


@pytest.mark.parametrize("preset", ["hybrid", "rave2020", "hr15n2023"])
def test_too_short_a_spectrum_is_refused_with_the_number_needed(preset):
    spec = InputSpec(**(WHOLE | {"pixels": 12}))
    with pytest.raises(TrainingError, match="12 pixels: expected at least"):
        build_network(spec, NetworkConfig(preset=preset), 0)


def test_the_published_networks_refuse_stars_without_spectra():
    spec = InputSpec(**(WHOLE | WITHOUT["spectrum"]))
    with pytest.raises(TrainingError, match="preset=hybrid"):
        build_network(spec, NetworkConfig(preset="rave2020"), 0)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_no_convolution_has_a_shape_that_cpus_compute_wrongly_in_bfloat16(width):
    network = build_network(InputSpec(**WHOLE), NetworkConfig(width=width), 0)
    shapes = [
        module.in_channels * module.kernel_size[0]
        for module in network.modules()
        if isinstance(module, torch.nn.Conv1d)
    ]
    assert len(shapes) == 2
    assert not {64, 128} & set(shapes)


def test_the_default_network_is_cheap():
    spec = InputSpec(
        **(WHOLE | {"pixels": 800, "coefficients": 110, "labels": (*LABELS, "a", "b")})
    )
    network = build_network(spec, NetworkConfig(), 0)
    samples, work = 800, 0
    for module in network.layers.modules():
        if isinstance(module, torch.nn.Conv1d):
            samples = (samples - module.kernel_size[0]) // module.stride[0] + 1
            work += samples * module.weight.numel()
        if isinstance(module, torch.nn.Linear):
            work += module.weight.numel()
    assert 2 * work < 1_000_000
    assert FIRST_CONVOLUTION[0] >= FIRST_CONVOLUTION[1]
    assert SECOND_CONVOLUTION[0] >= SECOND_CONVOLUTION[1]


def test_labels_come_out_in_their_own_units():
    network, stars = make_network(InputSpec(**WHOLE))
    mean, sigma, _ = network(stars.tensors())
    scaled, noise, _ = network.layers(network.inputs(stars.tensors()))
    linear = scaled * network.labels.scale + network.labels.centre
    torch.testing.assert_close(mean[:, 1:], linear[:, 1:])
    torch.testing.assert_close(sigma[:, 1:], (noise * network.labels.scale)[:, 1:])
    assert 4000 < mean[:, 0].mean() < 6000
    assert 100 < sigma[:, 0].mean() < 1000


def test_temperatures_are_learned_as_logarithms_and_come_back_as_temperatures():
    network, _ = make_network(InputSpec(**WHOLE))
    labels = network.labels
    assert labels.logarithm.tolist() == [1, 0, 0]
    y = torch.tensor([[3000.0, 1.0, -2.0], [30000.0, 4.0, 0.3]])
    error = torch.tensor([[30.0, 0.1, 0.05], [300.0, 0.1, 0.05]])
    scaled, scaled_error = labels.scaled(y, error)
    torch.testing.assert_close(scaled_error[0], scaled_error[1])
    torch.testing.assert_close(labels(scaled, scaled_error), (y, error), rtol=1e-4, atol=1e-5)
    impossible = torch.tensor([[-5.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert labels.scaled(impossible, error)[0][:, 0].isnan().all()


def test_scaled_inputs_are_of_order_one():
    spec = InputSpec(**WHOLE)
    network, stars = make_network(spec)
    scaled = network.inputs(stars.tensors())
    for part in scaled.values():
        assert part.abs().max() <= 16
        assert part.abs().mean() < 2
    assert scaled["scalars"].shape[1] == len(spec.features)


def test_far_inputs_keep_their_order_but_lose_their_weight():
    spec = InputSpec(**WHOLE)
    network, _ = make_network(spec)
    centre, scale = torch.zeros(1), torch.ones(1)
    steps = torch.tensor([-1e9, -100.0, -5.0, -4.0, -1.0, 0.0, 1.0, 4.0, 5.0, 100.0, 1e9])
    met = network.inputs.scaled(steps[:, None], centre, scale)[:, 0]
    assert (met.diff() > 0).all()
    torch.testing.assert_close(met[3:8], steps[3:8])
    assert float(met.max()) == 16
    torch.testing.assert_close(met, -met.flip(0))


def test_luminosity_is_linear_in_the_parallax_even_below_zero():
    spec = InputSpec(**(WHOLE | {"pixels": 0, "coefficients": 0, "wavelength_digest": ""}))
    network = build_network(spec, NetworkConfig(), 0)
    place = spec.features.index("luminosity")
    parallax = np.array([-2.0, -1.0, 0.0, 1.0, 2.0], np.float32)
    stars = star_inputs(
        {
            "photometry": np.full((5, 3), 10, np.float32),
            "parallax": parallax,
            "parallax_error": np.full(5, 0.1, np.float32),
        },
        spec,
    )
    raw = network.inputs.raw_features(stars.tensors())[:, place].numpy()
    np.testing.assert_allclose(raw, parallax * 10 ** (0.2 * 10 - 2), rtol=1e-6)


def test_a_parallax_without_an_error_is_still_a_parallax():
    spec = InputSpec(**(WHOLE | {"pixels": 0, "coefficients": 0, "wavelength_digest": ""}))
    network, stars = make_network(spec)
    blind = stars["astrometry"].copy()
    blind[:, 1] = np.nan
    batch = stars.replaced(astrometry=blind).tensors()
    names = spec.features
    with_error, without = (network.inputs(b)["scalars"] for b in (stars.tensors(), batch))
    for name in ("has_parallax", "luminosity", "asinh_luminosity"):
        place = names.index(name)
        torch.testing.assert_close(without[:, place], with_error[:, place])


def test_xp_coefficients_keep_their_shape_whatever_the_brightness():
    _, stars = make_network(InputSpec(**WHOLE), "hybrid")
    xp = torch.from_numpy(np.nan_to_num(stars["xp"], nan=1.0))
    shape, norm = xp_shape(xp)
    brighter, brighter_norm = xp_shape(100 * xp)
    torch.testing.assert_close(shape, brighter)
    torch.testing.assert_close(brighter_norm, 100 * norm)


def test_a_spectrum_of_bp_alone_counts_as_no_xp():
    spec = InputSpec(**WHOLE)
    network, stars = make_network(spec)
    half = np.nan_to_num(stars["xp"], nan=1.0)
    half[:, 5:] = np.nan
    batch = stars.replaced(xp=half).tensors()
    scaled = network.inputs(batch)
    xp, scalars = scaled["xp"], scaled["scalars"]
    assert not xp.any()
    assert not scalars[:, spec.features.index("has_xp")].any()


@pytest.mark.parametrize("coefficients", [10, 110])
def test_flags_and_networks_agree_on_which_stars_have_xp(coefficients):
    xp = np.random.default_rng(5).normal(1, 1, (coefficients + 3, coefficients)).astype("f4")
    for missing, values in enumerate(xp[: coefficients + 1]):
        values[:missing] = np.nan
    xp[-2:] = 0
    xp[-1, 0] = np.inf
    used = torch.isfinite(xp_shape(torch.from_numpy(xp))[1])[:, 0]
    (summary,) = next(row.summaries for row in MODALITIES if row.name == "xp")
    assert summary.reduce(torch, torch.from_numpy(xp)).tolist() == used.tolist()
    np.testing.assert_array_equal(summary.missing(summary.reduce(np, xp)), ~used.numpy())
    assert 0 < used.sum() < coefficients


def test_a_network_that_sees_logarithms_does_not_mind_flux_at_or_below_zero():
    spec = InputSpec(**WHOLE)
    network = build_network(spec, NetworkConfig(flux="log", hidden=32), 1)
    stars = make_stars(spec)
    rng = np.random.default_rng(2)
    fit_scaling(network, stars, rng.normal((5000, 3, 0), (500, 1, 0.3), (len(stars), 3)))
    batch = stars.tensors()
    batch["flux"][:, :5] = torch.tensor([0.0, -1.0, 1e-6, 50.0, float("nan")])
    mean, sigma, _ = network.eval()(batch)
    assert torch.isfinite(mean).all()
    assert (sigma > 0).all()


def test_logarithms_turn_a_factor_into_a_shift():
    scaling = build_network(InputSpec(**WHOLE), NetworkConfig(flux="log"), 1).inputs
    flux = torch.rand(4, 100) + 0.5
    shift = scaling.spectral(3 * flux) - scaling.spectral(flux)
    assert torch.allclose(shift, torch.log(torch.tensor(3.0)).expand_as(shift), atol=1e-5)
