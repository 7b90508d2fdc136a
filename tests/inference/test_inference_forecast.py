import pytest
import torch

from distcnn.config import NetworkConfig
from distcnn.errors import UsageError
from distcnn.inference import forecast
from distcnn.inference.forecast import REGION_STARS
from distcnn.model import InputSpec, build_network


def test_time_goes_with_stars_and_members_and_falls_with_devices():
    one = forecast(REGION_STARS * 100, 800, 28, "cpu-core-avx2")
    assert forecast(REGION_STARS * 200, 800, 28, "cpu-core-avx2").seconds == pytest.approx(
        2 * one.seconds
    )
    assert forecast(REGION_STARS * 100, 800, 28, "4xcpu-core-avx2").seconds == pytest.approx(
        one.seconds / 4
    )
    half = forecast(REGION_STARS * 100, 800, 14, "cpu-core-avx2")
    assert half.compute_seconds == pytest.approx(one.compute_seconds / 2)
    assert half.regions == one.regions == 100


def test_arithmetic_is_counted_on_the_network():
    spec = InputSpec(800, 110, ("g", "bp", "rp"), True, "test", ("teff",) * 5)
    layers = build_network(spec, NetworkConfig(), 0).layers
    dense = sum(
        2 * layer.weight.numel() for layer in layers.modules() if isinstance(layer, torch.nn.Linear)
    )
    found = forecast(1, 800, 1, "cpu-core-avx2").flop_per_star
    # Both convolutions: samples x kernel x channels in and out, twice.
    convolutions = 2 * (99 * 16 * 8 + 24 * 6 * 8 * 16)
    assert found == pytest.approx(dense + convolutions, rel=0.01)


def test_an_estimate_says_that_it_is_one():
    assert "ESTIMATED" in str(forecast(10**6, 961, 28, "8xH200"))
    text = str(forecast(250_000_000, 961, 28, "64xcpu-core-avx2"))
    assert "ESTIMATED" not in text
    assert "15,259 regions" in text


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ((0, 800, 28, "H200"), "stars is 0"),
        ((1, 800, 0, "H200"), "members is 0"),
        ((1, 800, 28, "0xH200"), "devices is '0xH200'"),
        ((1, 800, 28, "8xTPU"), "one of cpu-core-avx2, H200"),
    ],
)
def test_what_cannot_be_forecast_is_refused(asked, text):
    with pytest.raises(UsageError, match=text):
        forecast(*asked)
