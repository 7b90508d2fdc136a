"""Precision: bfloat16 for wide products where the device is fast at it, and only if it is right.

Some processors compute some shapes wrongly in bfloat16 without a word. So it is used only
after a real batch came out as in float32, in units of the labels' own spread.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.model.devices import is_fast, worker_threads
from distcnn.training.data.tensors import Scaled
from distcnn.training.loop.conv_matmul import cpu_form

MIN_BFLOAT16_OUTPUTS = 32
"""Layers with fewer outputs (the heads) stay in float32; matrix units gain nothing there."""
MAX_DIFFERENCE_LABEL_SPREADS = 0.01
"""Largest rms difference of a label, in standard deviations of the training labels."""
MAX_DIFFERENCE_FRACTION = 0.05
"""The same, as a part of the rms of what the network says."""
PRECISION_TEST_STARS = 256
"""Most validation stars on which a reduced precision must agree with float32."""


@dataclass(frozen=True)
class Arithmetic:
    """On what and how precisely a member was computed; ledgers and manifests hold it.

    Parameters
    ----------
    precision : of wide products: float32 or bfloat16; ``why`` this one.
    graphed : whether steps ran as a recorded CUDA graph; None where that was no question.
    why_not_graphed : empty where they did.
    """

    device: str
    precision: str
    why: str
    graphed: bool | None = None
    why_not_graphed: str = ""

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def to_json(self) -> dict[str, Any]:
        found = {"device": self.device, "precision": self.precision, "precision_why": self.why}
        if self.graphed is None:
            return found
        return found | {"recorded": self.graphed, "recorded_why": self.why_not_graphed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Arithmetic":
        return cls(
            value["device"],
            value["precision"],
            value["precision_why"],
            value.get("recorded"),
            value.get("recorded_why", ""),
        )


def optimise_layers(layers: nn.Module, validation: Scaled, asked: str, ranks: int) -> Arithmetic:
    """Bring layers into the form that trains fastest on a CPU, in place, and choose a precision.

    Parameters
    ----------
    validation : stars to try a reduced precision on.
    asked : ``train.precision``.
    ranks : how many processes train these layers together.
    """
    device = next(layers.parameters()).device.type
    if device != "cpu":
        return Arithmetic(device, "float32", "a GPU trains members one by one in float32")
    float32_heads(cpu_form(layers))
    if ranks > 1:
        return Arithmetic(device, "float32", "ranks may stand on processors of different kinds")
    trial = torch.arange(min(PRECISION_TEST_STARS, len(validation)))
    with worker_threads():
        precision, why = choose_precision(layers, validation.take(trial), asked)
    return Arithmetic(device, name_of(precision), why)


def name_of(precision: torch.dtype) -> str:
    """``float32`` or ``bfloat16``, as settings and manifests write it."""
    return str(precision).removeprefix("torch.")


class Float32Linear(nn.Module):
    """``nn.Linear`` in float32, whatever precision ``autocast`` sets around it."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x.float(), self.weight, self.bias)


def float32_heads(layers: nn.Module) -> nn.Module:
    """Keep narrow dense layers, the output heads, in float32, in place.

    Means are of order one and their errors a hundredth: bfloat16 has three digits, and a rounded
    output would be a rounded label.
    """
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

    ``layers`` have convolutions as products and heads in float32; ``stars`` [B,...] are a real
    batch on the same device. Means are compared in scaled units: one is the spread of a label.
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
