"""astroNN's Bayesian network with Monte-Carlo drop-out (Leung & Bovy 2019, MNRAS 483, 3255).

Layers and schedule of ``ApogeeBCNN``: convolutions of 2 and 4 filters of 8 pixels, pooling by 4,
dense layers of 196 and 96, drop-out of 0.3 before all but the last of these and kept when stars
are predicted; outputs are labels and the logarithms of their variances, weights are drawn from a
Gaussian of 0.05, Adam at 5e-4 for 100 epochs at most. The error of a label is the learned
variance plus the variance among ``PASSES`` predictions, each with other neurons dropped. (astroNN
draws 100 of them by default; 25 are those of its published timing.)

Legend: N star, B star of a batch, P pixel, L label.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.methods.networks.starnet import SAME
from distcnn.baselines.methods.networks.training import Scaling, Schedule, mean_known, train
from distcnn.baselines.steps import UNTOLD, Steps

SCHEDULE = Schedule(rate=5e-4, epochs=100, stop=15, weight_decay=5e-9)
PASSES = 25
DROPOUT, KERNEL, POOL, SPREAD = 0.3, 8, 4, 0.05
BATCH = 512


class SharedDropout(nn.Module):
    """Drop-out; with ``masks_of`` set, the same neurons are dropped for all stars of a batch.

    So a pass is one network of the posterior, and a star has the same labels in any company.
    """

    masks_of: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.masks_of is None:
            return nn.functional.dropout(values, DROPOUT, self.training)
        kept = torch.rand((1, *values.shape[1:]), generator=self.masks_of) >= DROPOUT
        return values * kept / (1 - DROPOUT)


class Bcnn(nn.Module):
    """Spectra [B, P] -> labels and logarithms of their variances [B, 2 L], all without unit."""

    def __init__(self, pixels: int, labels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, pixels)),
            *(nn.ZeroPad1d(SAME), nn.Conv1d(1, 2, KERNEL), nn.ReLU(), SharedDropout()),
            *(nn.ZeroPad1d(SAME), nn.Conv1d(2, 4, KERNEL), nn.ReLU()),
            *(nn.MaxPool1d(POOL), nn.Flatten(), SharedDropout()),
            *(nn.Linear(4 * (pixels // POOL), 196), nn.ReLU(), SharedDropout()),
            *(nn.Linear(196, 96), nn.ReLU()),
            nn.Linear(96, 2 * labels),
        )
        for part in self.layers:
            if isinstance(part, nn.Conv1d | nn.Linear):
                nn.init.normal_(part.weight, std=SPREAD)
                assert part.bias is not None
                nn.init.zeros_(part.bias)

    def forward(self, spectra: Tensor) -> Tensor:
        out: Tensor = self.layers(spectra)
        return out

    def draw_masks(self, generator: torch.Generator | None) -> None:
        """Take the masks of drop-out from ``generator``; None = as in training."""
        for part in self.layers:
            if isinstance(part, SharedDropout):
                part.masks_of = generator


def heteroscedastic(output: Tensor, labels: Tensor) -> Tensor:
    """Minus the logarithm of the likelihood, without its constant, of labels that are known."""
    mean, log_variance = output.chunk(2, dim=1)
    square = (mean - torch.nan_to_num(labels)).square()
    return mean_known(0.5 * (square * torch.exp(-log_variance) + log_variance), labels)


@dataclass(frozen=True)
class BayesianCnn:
    """A trained network, its scaling, and the seed of its passes."""

    network: Bcnn
    scaling: Scaling
    seed: int

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> "BayesianCnn":
        """Train on spectra; the validation split lowers the learning rate and stops it."""
        scaling = Scaling.fit(training)
        parts = [
            (scaling.spectra(stars.inputs), scaling.targets(stars.label))
            for stars in (training, validation)
        ]
        pixels, labels = parts[0][0].shape[1], training.label.shape[1]
        network = train(
            lambda: Bcnn(pixels, labels), heteroscedastic, parts, SCHEDULE, seed=seed, steps=steps
        )
        assert isinstance(network, Bcnn)
        return cls(network, scaling, seed)

    def predict(self, inputs: Inputs) -> Estimate:
        """Mean of the passes, and the root of learned variance plus variance among them."""
        spectra = self.scaling.spectra(inputs)
        passes = [self._pass(spectra, number) for number in range(PASSES)]
        mean, variance = (np.stack(part) for part in zip(*passes, strict=True))
        total = mean.var(axis=0) + variance.mean(axis=0)
        label = mean.mean(axis=0) * self.scaling.size + self.scaling.centre
        error = np.sqrt(total) * self.scaling.size
        return Estimate(label.astype(np.float32), error.astype(np.float32))

    def _pass(self, spectra: Tensor, number: int) -> tuple[Array, Array]:
        """Labels and variances [N, L] with the masks of one pass."""
        parts = []
        with torch.inference_mode():
            for some in torch.split(spectra, BATCH):
                masks = torch.Generator().manual_seed(self.seed * PASSES + number)
                self.network.draw_masks(masks)
                parts.append(self.network(some))
        self.network.draw_masks(None)
        mean, log_variance = torch.cat(parts).chunk(2, dim=1)
        return mean.numpy(), np.exp(log_variance.numpy())
