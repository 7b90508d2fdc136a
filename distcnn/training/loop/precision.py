"""Precision: bfloat16 for wide products where the device is fast at it, and only if it is right.

Some processors compute some shapes wrongly in bfloat16 without a word. So it is used only
after a real batch came out as in float32, in units of the labels' own spread.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.model.devices import is_fast
from distcnn.training.data.tensors import Scaled

MIN_BFLOAT16_OUTPUTS = 32
"""Layers with fewer outputs (the heads) stay in float32; matrix units gain nothing there."""
MAX_DIFFERENCE_LABEL_SPREADS = 0.01
"""Largest rms difference of a label, in standard deviations of the training labels."""
MAX_DIFFERENCE_FRACTION = 0.05
"""The same, as a part of the rms of what the network says."""


class Float32Linear(nn.Module):
    """``nn.Linear`` in float32, whatever the layers around it use."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x.float(), self.weight, self.bias)


def float32_heads(layers: nn.Module) -> nn.Module:
    """Exempt narrow layers from reduced precision, in place."""
    for name, child in layers.named_children():
        if isinstance(child, nn.Linear) and child.out_features < MIN_BFLOAT16_OUTPUTS:
            setattr(layers, name, Float32Linear(child))
        else:
            float32_heads(child)
    return layers


def choose_precision(
    layers: nn.Module, stars: Scaled, asked: str = "auto"
) -> tuple[torch.dtype, str]:
    """The type for wide products of ``layers`` on their device, and why.

    ``layers`` are in product form with full heads; ``stars`` [B,...] are a real batch on the
    same device. Means are compared in scaled units: one is the spread of a label.
    """
    device = stars.spectrum.device
    if asked != "auto":
        return torch.float32, "train.precision asks for it"
    if not is_fast(device):
        return torch.float32, f"this {device.type} has no matrix units for bfloat16"
    worst, part = difference(layers, stars, torch.bfloat16)
    if worst <= MAX_DIFFERENCE_LABEL_SPREADS and part <= MAX_DIFFERENCE_FRACTION:
        return torch.bfloat16, f"within {worst:.1e} label spreads of float32"
    return torch.float32, f"bfloat16 is {worst:.1e} label spreads off ({part:.0%})"


def difference(layers: nn.Module, stars: Scaled, precision: torch.dtype) -> tuple[float, float]:
    """Largest rms difference of a label's mean from float32: in label spreads, and as a part."""
    layers = copy.deepcopy(layers).eval()
    with torch.no_grad():
        exact: Tensor = layers(stars.branches)[0].float()
        with torch.autocast(stars.spectrum.device.type, precision):
            met: Tensor = layers(stars.branches)[0].float()
    error = (met - exact).square().mean(0).sqrt()
    size = exact.square().mean(0).sqrt()
    worst, part = error.max().nan_to_num(torch.inf), (error / size).max().nan_to_num(torch.inf)
    return float(worst), float(part)
