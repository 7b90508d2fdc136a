"""Checkpoints: written whole or not at all, and believed only if their digest fits."""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distcnn import hashing
from distcnn.files import atomic_write_bytes

CHECKPOINT = "checkpoint.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, the digest of the rest in the first line."""
    stream = io.BytesIO()
    torch.save(state, stream)
    data = stream.getvalue()
    atomic_write_bytes(path, hashing.of_bytes(data).encode() + b"\n" + data)


def load(path: Path) -> dict[str, Any] | None:
    """The state written last; None if there is none or it is damaged."""
    if not path.exists():
        return None
    digest, _, data = path.read_bytes().partition(b"\n")
    if hashing.of_bytes(data).encode() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return state


@dataclass
class MemberState:
    """Where a member stands, beside its layers and its optimiser.

    Parameters
    ----------
    epochs : (training loss, validation loss) of every epoch done.
    best : number of the epoch with the lowest validation loss, and the ``weights`` it ended with.
    step : the next one of the epoch after them.
    sums : loss and known labels, summed over the steps of that epoch before it.
    """

    epochs: list[tuple[float, float]] = field(default_factory=list)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    @property
    def validation(self) -> float:
        """The best validation loss so far."""
        return self.epochs[self.best][1] if self.best >= 0 else math.inf

    def save(self, path: Path, layers: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write all that a member needs to go on."""
        state = {"layers": layers.state_dict(), "optimiser": optimiser.state_dict()}
        save(path, state | vars(self))

    @classmethod
    def resume(
        cls, path: Path, layers: nn.Module, optimiser: torch.optim.Optimizer
    ) -> "MemberState":
        """The state last saved, put into layers and optimiser; the beginning if there is none."""
        state = load(path)
        if state is None:
            return cls()
        layers.load_state_dict(state["layers"])
        optimiser.load_state_dict(state["optimiser"])
        epochs = [(float(loss), float(validation)) for loss, validation in state["epochs"]]
        return cls(epochs, state["best"], state["weights"], state["step"], state["sums"])
