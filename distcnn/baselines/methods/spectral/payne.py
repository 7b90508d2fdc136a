"""The Payne: a small network that emulates spectra from labels, fitted to stars by least squares.

Ting et al. 2019 (ApJ 879, 69); as in its public code labels are scaled to -0.5...0.5, two hidden
layers have 300 neurons, the loss is the mean absolute difference. There it learns synthetic
spectra, here those of the training stars, as Xiang et al. 2019 (ApJS 245, 34) did; these are
some thousands with noise, so at most 2,000 steps are taken instead of 10,000.

Legend: B star of a batch, P pixel, K label as a number.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from distcnn.arrays import Array
from distcnn.baselines.base import LabelledStars
from distcnn.baselines.methods.spectral.model_fit import FittedModel, spread_starts
from distcnn.baselines.methods.spectral.spectra import Spectra, complete_stars, mean_spectrum
from distcnn.baselines.steps import UNTOLD, Steps
from distcnn.model.quadratic_spectra import likeliest_variance

HIDDEN, BATCH, RATE = 300, 256, 3e-3
EPOCHS, MIN_STEPS, MAX_STEPS = 200, 500, 2_000
STARTS = 64
SLOPE = 0.01
"""Of the leaky rectifiers."""


@dataclass(frozen=True)
class Payne:
    """Weights and biases of three layers, and ``variance`` [P] of real spectra about them.

    ``low``, ``width`` [K]: the labels that become -0.5, and the range to 0.5.
    """

    layers: tuple[tuple[Array, Array], ...]
    low: Array
    width: Array
    variance: Array

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> FittedModel:
        """Train the emulator on stars that have every label."""
        spectra, labels, axes = complete_stars(training)
        low, width = labels.min(axis=0), np.ptp(labels, axis=0) + 1e-9
        layers = train_emulator(spectra, (labels - low) / width - 0.5, seed, steps)
        bare = cls(layers, low, width, np.zeros(spectra.flux.shape[1]))
        model = cls(
            layers, low, width, likeliest_variance(spectra.flux, spectra.weight, bare.flux(labels))
        )
        return FittedModel(model, axes, spread_starts(labels, STARTS, seed))

    def flux(self, labels: Array) -> Array:
        """[B, P] spectra of labels [B, K]."""
        out = (labels - self.low) / self.width - 0.5
        for number, (weight, bias) in enumerate(self.layers):
            out = out @ weight.T + bias
            if number < len(self.layers) - 1:
                out = np.where(out > 0, out, SLOPE * out)
        return np.asarray(out, float)

    def jacobian(self, labels: Array) -> Array:
        """[B, P, K] derivatives by the labels, layer after layer."""
        out = (labels - self.low) / self.width - 0.5
        slope = np.broadcast_to(np.diag(1 / self.width), (len(out), out.shape[1], out.shape[1]))
        for weight, bias in self.layers[:-1]:
            out = out @ weight.T + bias
            gain = np.where(out > 0, 1.0, SLOPE)
            slope = (weight @ slope) * gain[..., None]
            out = out * gain
        return np.asarray(self.layers[-1][0] @ slope, float)


def train_emulator(
    spectra: Spectra, labels: Array, seed: int, steps: Steps = UNTOLD
) -> tuple[tuple[Array, Array], ...]:
    """Weights [out, in] and biases [out] of the three layers, of labels [N, K] in -0.5...0.5."""
    mean = mean_spectrum(spectra)
    count = int(np.clip(EPOCHS * len(labels) // BATCH, MIN_STEPS, MAX_STEPS))
    flux = torch.from_numpy((spectra.flux - mean).astype(np.float32))
    known = torch.from_numpy((spectra.weight > 0).astype(np.float32))
    inputs = torch.from_numpy(labels.astype(np.float32))
    with (
        torch.random.fork_rng(devices=[]),
        steps.step("training of the emulator", count, "batches") as advance,
    ):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Linear(inputs.shape[1], HIDDEN), nn.LeakyReLU(SLOPE)),
            *(nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(SLOPE)),
            nn.Linear(HIDDEN, flux.shape[1]),
        )
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, count)
        for _ in range(count):
            rows = torch.randint(len(inputs), (min(BATCH, len(inputs)),))
            absolute = (network(inputs[rows]) - flux[rows]).abs() * known[rows]
            optimiser.zero_grad()
            torch.autograd.backward(absolute.sum() / known[rows].sum().clamp(min=1))
            optimiser.step()
            schedule.step()
            advance(1)
    found = [part for part in network if isinstance(part, nn.Linear)]
    arrays = [(p.weight.detach().numpy(), p.bias.detach().numpy()) for p in found]
    arrays[-1] = (arrays[-1][0], arrays[-1][1] + mean)
    return tuple(arrays)
