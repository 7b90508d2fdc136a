import numpy as np
import pytest
import torch

from distcnn.config import NetworkConfig
from distcnn.model import InputSpec, build_network, fit_scaling, fixture_stars, star_inputs
from distcnn.model.scaling_cpu import CpuInputScaling

BANDS = ("g", "bp", "rp")


@pytest.mark.parametrize("scale_by_noise", [False, True])
@pytest.mark.parametrize("flux", ["linear", "log"])
@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(64, 10, BANDS, True, "grid", ("teff", "mh")),
        InputSpec(0, 10, BANDS, True, "", ("teff", "mh")),
        InputSpec(64, 0, (), False, "grid", ("teff", "mh")),
    ],
)
def test_quick_scaling_gives_the_same_bits(rng, spec, flux, scale_by_noise):
    arrays = {
        "flux": rng.normal(1, 0.1, (300, 64)),
        "xp": rng.normal(5, 1, (300, 10)),
        "photometry": rng.normal(11, 1, (300, 3)),
        "parallax": rng.normal(1, 1, 300),
        "parallax_error": rng.uniform(0.01, 0.1, 300),
        "snr": rng.uniform(15, 100, 300),
    }
    spikes = rng.random((300, 64))
    arrays["flux"][spikes < 0.03] *= 40
    arrays["flux"][spikes > 0.97] *= -40
    arrays["flux"][:3, 0] = np.inf, -np.inf, np.nan
    wanted = {"flux": spec.pixels, "xp": spec.coefficients, "photometry": len(spec.bands)}
    given = {
        name: array.astype(np.float32)
        for name, array in arrays.items()
        if wanted.get(name, spec.astrometry or name == "snr")
    }
    stars = star_inputs(given, spec)
    config = NetworkConfig(width=16, hidden=16, flux=flux, scale_by_noise=scale_by_noise)
    network = build_network(spec, config, 0)
    fit_scaling(network, stars, rng.normal((5000, 0), (500, 0.3), (300, 2)))
    quick = CpuInputScaling(network.inputs)
    with torch.inference_mode():
        for some in (stars, fixture_stars(stars, 8), stars.take(slice(0, 0))):
            batch = some.tensors()
            before = batch["flux"].clone()
            quick(stars.tensors())
            right = network.inputs(batch)
            for name, found in quick(batch).items():
                np.testing.assert_array_equal(found.numpy(), right.pop(name).numpy())
            assert not right
            np.testing.assert_array_equal(batch["flux"].numpy(), before.numpy())
