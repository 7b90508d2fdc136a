"""How the published networks are trained here: on spectra alone, in one process.

Legend: N star, B star of a batch, P pixel, L label.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.baselines.base import Inputs, LabelledStars
from distcnn.baselines.steps import UNTOLD, Steps

Loss = Callable[[Tensor, Tensor], Tensor]
"""Output of a network and scaled labels [B, L] (NaN = none) -> the mean loss of the labels."""


@dataclass(frozen=True)
class Schedule:
    """Epochs, and what lowers the learning rate or ends training, as Keras' callbacks do it.

    The rate is multiplied by ``factor``, down to ``least_rate``, whenever the validation loss has
    not fallen for ``patience`` epochs; training ends after ``stop`` such epochs (None = never).
    The weights kept are those of the least validation loss.
    """

    rate: float
    epochs: int
    batch: int = 64
    factor: float = 0.5
    patience: int = 2
    least_rate: float = 1e-8
    stop: int | None = None
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Scaling:
    """Pixels less their mean over the deviation of all; labels without unit.

    ``mean`` [P], ``width``; ``centre``, ``size`` [L], NaN where training stars have no label.
    """

    mean: Array
    width: float
    centre: Array
    size: Array

    @classmethod
    def fit(cls, stars: LabelledStars) -> "Scaling":
        """Of training stars."""
        flux = np.asarray(stars.inputs["flux"], float)
        good = np.isfinite(flux)
        mean = np.where(good, flux, 0.0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
        width = float(np.sqrt(np.square((flux - mean)[good]).mean())) if good.any() else 1.0
        known = np.isfinite(stars.label)
        count = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        centre = np.where(known, stars.label, 0.0).sum(axis=0) / count
        square = np.where(known, np.square(stars.label - centre), 0.0).sum(axis=0) / count
        size = np.where(square == 0, 1.0, np.sqrt(square))
        return cls(mean, width or 1.0, centre, size)

    def spectra(self, inputs: Inputs) -> Tensor:
        """Float32 [N, P], 0 where nothing is known."""
        scaled = (np.asarray(inputs["flux"], float) - self.mean) / self.width
        finite = np.where(np.isfinite(scaled), scaled, 0.0)
        return torch.from_numpy(finite.astype(np.float32))

    def targets(self, label: Array) -> Tensor:
        """Float32 [N, L], NaN = none."""
        return torch.from_numpy(((label - self.centre) / self.size).astype(np.float32))


def train(
    build: Callable[[], nn.Module],
    loss: Loss,
    parts: Sequence[tuple[Tensor, Tensor]],
    schedule: Schedule,
    *,
    seed: int,
    steps: Steps = UNTOLD,
) -> nn.Module:
    """A network trained on spectra and labels ``parts[0]``, watched on ``parts[1]``."""
    stars, others = parts
    with (
        torch.random.fork_rng(devices=[]),
        steps.step("training", schedule.epochs, "epochs") as advance,
    ):
        torch.manual_seed(seed)
        network = build()
        best, least = copy.deepcopy(network.state_dict()), float("inf")
        rate, since, waited = schedule.rate, 0, 0
        optimiser = torch.optim.Adam(
            network.parameters(), lr=rate, weight_decay=schedule.weight_decay
        )
        for _ in range(schedule.epochs):
            _epoch(network, loss, stars, optimiser, schedule.batch)
            found = _validation_loss(network, loss, others)
            advance(1)
            since, waited = since + 1, waited + 1
            if found < least:
                best, least, since, waited = copy.deepcopy(network.state_dict()), found, 0, 0
            if schedule.stop is not None and since >= schedule.stop:
                break
            if waited >= schedule.patience:
                waited, rate = 0, max(rate * schedule.factor, schedule.least_rate)
                for group in optimiser.param_groups:
                    group["lr"] = rate
        network.load_state_dict(best)
        return network.eval()


def _epoch(
    network: nn.Module,
    loss: Loss,
    stars: tuple[Tensor, Tensor],
    optimiser: torch.optim.Optimizer,
    batch: int,
) -> None:
    network.train()
    spectra, labels = stars
    for rows in torch.split(torch.randperm(len(spectra)), batch):
        optimiser.zero_grad()
        torch.autograd.backward(loss(network(spectra[rows]), labels[rows]))
        optimiser.step()


def _validation_loss(network: nn.Module, loss: Loss, others: tuple[Tensor, Tensor]) -> float:
    network.eval()
    with torch.inference_mode():
        spectra, labels = others
        if not torch.isfinite(labels).any():
            return float("inf")
        parts = zip(torch.split(spectra, 1024), torch.split(labels, 1024), strict=True)
        return sum(float(loss(network(s), y)) * len(s) for s, y in parts) / len(spectra)


def mean_known(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of values [B, L] over the labels that are known."""
    known = torch.isfinite(labels)
    return torch.where(known, values, 0.0).sum() / known.sum().clamp(min=1)
