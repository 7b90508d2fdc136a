"""Presets: networks with exactly the layers that were published.

Read in the public notebooks of Guiglion et al. 2020 (RAVE) and Nepal et al. 2023
(Gaia-ESO HR15N). Both have no noise head: here their sigma is one constant per label, learned
with the loss, and what varies from star to star is the scatter of the ensemble alone.
Inputs and labels are standardised by our own scaling where the notebooks use training
minima and maxima; losses and schedules are those of ``training``.

Legend: B star, P pixel, C XP coefficient, S scalar feature, L label.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.model.networks.covariance import MIN_SIGMA, Correlation, pairs

SLOPE = 0.3
"""Negative slope of Keras' LeakyReLU, which both notebooks use."""


class Rave2020(nn.Module):
    """Guiglion et al. 2020: three convolutions and a dense branch for photometry.

    58,549 parameters for 912 pixels, 9 photometric inputs and 9 labels. Our scalar features
    (colours, luminosity, indicators) take the place of their absolute magnitudes.
    """

    min_pixels = 28

    def __init__(self, pixels: int, scalars: int, labels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(nn.Conv1d(1, 8, 10), nn.LeakyReLU(SLOPE)),
            *(nn.Conv1d(8, 4, 10), nn.LeakyReLU(SLOPE)),
            *(nn.Conv1d(4, 2, 10), nn.LeakyReLU(SLOPE)),
        )
        self.spectrum = nn.Sequential(
            nn.Dropout(0.2), nn.Flatten(), nn.Linear(2 * (pixels - 27), 32), nn.LeakyReLU(SLOPE)
        )
        self.photometry = nn.Sequential(nn.Linear(scalars, 27), nn.LeakyReLU(SLOPE))
        self.join = nn.Sequential(nn.Linear(59, 16), nn.LeakyReLU(SLOPE), nn.Linear(16, labels))

    def forward(self, spectrum: Tensor, scalars: Tensor) -> Tensor:
        x = self.spectrum(self.convolutions(spectrum.unsqueeze(1)))
        out: Tensor = self.join(torch.cat([x, self.photometry(scalars)], dim=1))
        return out


class Hr15n2023(nn.Module):
    """Nepal et al. 2023: three convolutions, two of them pooled, then four dense layers.

    448,167 parameters for 6,861 pixels and, as published, 5 outputs (for 4 labels). The L2
    penalty on the first convolution is left to the optimiser's weight decay. Only the
    spectrum is used.
    """

    min_pixels = 84

    def __init__(self, pixels: int, labels: int) -> None:
        super().__init__()
        width = 4 * (((pixels - 9) // 2 - 14) // 2 - 9)
        self.convolutions = nn.Sequential(
            *(nn.Conv1d(1, 8, 10), nn.LeakyReLU(SLOPE), nn.MaxPool1d(2)),
            *(nn.Conv1d(8, 6, 15), nn.LeakyReLU(SLOPE), nn.MaxPool1d(2)),
            *(nn.Conv1d(6, 4, 10), nn.LeakyReLU(SLOPE), nn.Flatten(), nn.Dropout(0.2)),
        )
        self.dense = nn.Sequential(
            *(nn.Linear(width, 64), nn.LeakyReLU(SLOPE), nn.Dropout(0.2)),
            *(nn.Linear(64, 128), nn.LeakyReLU(SLOPE), nn.Dropout(0.2)),
            *(nn.Linear(128, 32), nn.LeakyReLU(SLOPE), nn.Linear(32, labels)),
        )

    def forward(self, spectrum: Tensor, scalars: Tensor) -> Tensor:
        out: Tensor = self.dense(self.convolutions(spectrum.unsqueeze(1)))
        return out


class WithConstantNoise(nn.Module):
    """Gives a published network the contract of ours: learned constant errors."""

    def __init__(self, network: nn.Module, labels: int) -> None:
        super().__init__()
        self.network = network
        self.noise = nn.Parameter(torch.zeros(labels))
        self.pairs = nn.Parameter(torch.zeros(len(pairs(labels))))
        self.correlation = Correlation(labels)
        self.least = MIN_SIGMA

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        mean, noise, entries = self.heads(inputs)
        return mean, functional.softplus(noise) + self.least, self.correlation(entries)

    def heads(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [B,L], noise [B,L] before it is made positive, free entries of pairs [B,K]."""
        mean = self.network(inputs["spectrum"], inputs["scalars"])
        return mean, self.noise.expand_as(mean), self.pairs.expand(mean.shape[0], -1)
