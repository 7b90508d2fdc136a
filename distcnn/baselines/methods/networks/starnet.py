"""StarNet: the network of Fabbro et al. 2018 (MNRAS 475, 2978), with its own errors.

Convolutions of 4 and 16 filters of 8 pixels, pooling by 4, dense layers of 256 and 128, rectifiers
throughout, Adam at 7e-4 for 30 epochs at most: as in its paper and in astroNN's ``StarNet2017``.
Its error is that of the fluxes carried through the network by its derivatives, plus an intrinsic
scatter; that is measured on the validation split.

Legend: N star, B star of a batch, P pixel, L label.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.methods.networks.training import Scaling, Schedule, mean_known, train
from distcnn.baselines.methods.spectral.spectra import Spectra
from distcnn.baselines.steps import UNTOLD, Steps
from distcnn.stats import WITHIN_68

SCHEDULE = Schedule(rate=7e-4, epochs=30, least_rate=8e-5, stop=4)
BATCH = 256
KERNEL, POOL = 8, 4
SAME = (3, 4)
"""Zeros before and behind, so that a convolution keeps the number of pixels, as Keras has it."""


def starnet_layers(pixels: int, labels: int) -> nn.Sequential:
    """The layers: spectra [B, P] -> labels [B, L]. Convolutions keep the number of pixels."""
    network = nn.Sequential(
        nn.Unflatten(1, (1, pixels)),
        *(nn.ZeroPad1d(SAME), nn.Conv1d(1, 4, KERNEL), nn.ReLU()),
        *(nn.ZeroPad1d(SAME), nn.Conv1d(4, 16, KERNEL), nn.ReLU()),
        *(nn.MaxPool1d(POOL), nn.Flatten()),
        *(nn.Linear(16 * (pixels // POOL), 256), nn.ReLU()),
        *(nn.Linear(256, 128), nn.ReLU()),
        nn.Linear(128, labels),
    )
    for part in network:
        if isinstance(part, nn.Conv1d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    return network


def squared_difference(output: Tensor, labels: Tensor) -> Tensor:
    """Mean squared difference of the labels that are known."""
    return mean_known((output - torch.nan_to_num(labels)).square(), labels)


@dataclass(frozen=True)
class StarNet:
    """A trained network, and ``intrinsic`` [L], its error beyond that of the fluxes."""

    network: nn.Module
    scaling: Scaling
    intrinsic: Array

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> "StarNet":
        """Train on spectra; the validation split stops it and gives the intrinsic error."""
        scaling = Scaling.fit(training)
        parts = [
            (scaling.spectra(stars.inputs), scaling.targets(stars.label))
            for stars in (training, validation)
        ]
        pixels, labels = parts[0][0].shape[1], training.label.shape[1]
        network = train(
            lambda: starnet_layers(pixels, labels),
            squared_difference,
            parts,
            SCHEDULE,
            seed=seed,
            steps=steps,
        )
        bare = cls(network, scaling, np.zeros(labels))
        label, carried = bare.carried(validation.inputs)
        return cls(network, scaling, _intrinsic(label - validation.label, carried))

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels, and errors from those of the fluxes and the intrinsic scatter."""
        label, carried = self.carried(inputs)
        error = np.hypot(carried, self.intrinsic)
        return Estimate(label.astype(np.float32), error.astype(np.float32))

    def carried(self, inputs: Inputs) -> tuple[Array, Array]:
        """Labels [N, L], and the errors of the fluxes as they appear in them."""
        spectra = self.scaling.spectra(inputs)
        weight = Spectra.of(inputs).weight
        error = np.where(weight > 0, 1 / np.sqrt(np.where(weight > 0, weight, 1.0)), 0.0)
        sigma = torch.from_numpy((error / self.scaling.width).astype(np.float32))
        parts = [
            _outputs_and_errors(self.network, some, each)
            for some, each in zip(
                torch.split(spectra, BATCH), torch.split(sigma, BATCH), strict=True
            )
        ]
        output, noise = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        return output * self.scaling.size + self.scaling.centre, noise * self.scaling.size


def _outputs_and_errors(
    network: nn.Module, spectra: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs [B, L] and the root of the sum of (slope x sigma)^2 over the pixels [B, L]."""
    inputs = spectra.clone().requires_grad_()
    output: Tensor = network(inputs)
    errors = []
    for number in range(output.shape[1]):
        (slope,) = torch.autograd.grad(output[:, number].sum(), inputs, retain_graph=True)
        errors.append((slope * sigma).square().sum(dim=1).sqrt())
    return output.detach(), torch.stack(errors, dim=1)


def _intrinsic(residual: Array, carried: Array) -> Array:
    """[L] what must be added to the carried errors for 68 % of the residuals to lie within."""
    out = np.full(residual.shape[1], np.nan)
    for number, (column, error) in enumerate(zip(residual.T, carried.T, strict=True)):
        good = np.isfinite(column)
        if good.any():
            width = np.quantile(np.abs(column[good]), WITHIN_68)
            least = 0.1 * width
            out[number] = np.sqrt(max(width**2 - np.median(error[good]) ** 2, least**2, 1e-24))
    return out
