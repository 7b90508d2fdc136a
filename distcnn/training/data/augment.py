"""Augment: what training inputs suffer afresh in every epoch.

Legend: N or B star, P pixel, S scalar feature.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distcnn.config import AugmentConfig
from distcnn.model import InputSpec, Network
from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.survey import Store
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.tensors import Scaled

REFERENCE_SNR = 20.0
"""S/N at which the errors of velocity and continuum are configured."""
NOISE_SPECTRA = 2000
"""How many of the faintest spectra the noise is measured on."""
PIXELS_PER_COMPONENT = 40
"""One principal component per so many pixels is taken for stellar signal and removed before the
noise is measured. More components would begin to describe noise, first its slow part, and its
correlation would come out too low."""
MAX_NOISE_CORRELATION = 0.7
"""Correlation of neighbours beyond which three pixels cannot imitate the noise."""


@dataclass(frozen=True)
class SurveyProperties:
    """What augmentation must know of a survey, measured once on its training stars.

    ``noise_correlation``: of the noise in neighbouring pixels. ``velocity``: km/s that one pixel
    spans, 0 without a wavelength grid.
    """

    noise_correlation: float = 0.0
    velocity: float = 0.0

    @classmethod
    def of(cls, store: Store, stars: Labelled) -> "SurveyProperties":
        """Of a survey; ``stars``: training stars, some thousands suffice."""
        if not stars.inputs["flux"].shape[1]:
            return cls()
        return cls(noise_correlation(stars), _pixel_velocity(store))


def noise_correlation(stars: Labelled) -> float:
    """Correlation of neighbouring pixels' noise, from what the faintest spectra do not share.

    The faintest, since there noise is most of what is left; what they share is the first principal
    components: stars look alike, their noise does not.
    """
    order = np.argsort(np.nan_to_num(stars.inputs["snr"][:, 0], nan=np.inf), kind="stable")
    flux = stars.inputs["flux"][order[:NOISE_SPECTRA]].astype(np.float64)
    common = flux.shape[1] // PIXELS_PER_COMPONENT
    if len(flux) < 100 or not common:
        return 0.0
    good = np.isfinite(flux)
    centred = np.where(good, flux - np.nanmedian(flux), 0.0)
    centred = np.where(good, centred - centred.mean(axis=0), 0.0)
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    noise = centred - (left[:, :common] * size[:common]) @ right[:common]
    both = good[:, 1:] & good[:, :-1]
    shared = (noise[:, 1:] * noise[:, :-1])[both].mean()
    found = shared / max(np.square(noise[good]).mean(), 1e-30)
    return float(np.clip(found, 0.0, MAX_NOISE_CORRELATION))


def _pixel_velocity(store: Store) -> float:
    wavelength = store.coordinate("wavelength")
    if len(wavelength) < 2 or not (wavelength > 0).all():
        return 0.0
    return float(np.median(np.diff(np.log(wavelength))) * LIGHT_SPEED_KM_S)


class Augment:
    """What training inputs suffer afresh in every epoch, in scaled units.

    - a spectrum gets the noise that lowers it to the S/N of another training star, with the
      correlation of neighbouring pixels that the survey has; with it come the error of the
      radial velocity and of the continuum that a spectrum of that S/N would have;
    - XP, the parallax or another modality with a ``dropout`` is taken away;
    - runs of pixels are hidden.
    """

    def __init__(
        self, config: AugmentConfig, spec: InputSpec, network: Network, properties: SurveyProperties
    ) -> None:
        places = {name: number for number, name in enumerate(spec.features)}
        self.config, self.properties = config, properties
        self.pixels = spec.pixels
        self.log_snr, self.valid = places.get("log_snr", -1), places.get("valid_pixels", -1)
        self.dropped = [
            (row, [places[name] for name in spec.features_of(row)])
            for row in spec.modalities
            if row.dropout
        ]
        self.centre = network.inputs.feature_centre
        self.scale = network.inputs.feature_scale
        self.spectrum = (network.inputs.spectrum_centre, network.inputs.spectrum_scale)
        self.log_flux = network.inputs.log_flux
        rho = properties.noise_correlation
        # White noise through the kernel (a, 1, a) has the neighbour correlation
        # rho = 2a / (1 + 2a^2). Solved for a; real for rho below 0.707, hence the limit above.
        self.neighbour = (1 - math.sqrt(1 - 2 * rho**2)) / (2 * rho) if rho > 0 else 0.0

    def __call__(self, stars: Scaled, pool: Tensor, generator: torch.Generator) -> Scaled:
        """Change ``stars`` (a batch of its own) in place; ``pool`` holds S/N to choose from."""
        config, count = self.config, len(stars)
        if self.pixels and config.noise > 0:
            self._add_noise(stars, pool, generator)
        if self.pixels and config.drop_pixels > 0:
            self._hide_pixels(stars, generator)
        for row, columns in self.dropped:
            probability = getattr(config, row.dropout)
            if probability > 0:
                gone = torch.rand(count, generator=generator) < probability
                if row.branch:
                    stars.branches[row.branch][gone] = 0.0
                _clear(stars.scalars, gone, columns)
        return stars

    def _add_noise(self, stars: Scaled, pool: Tensor, generator: torch.Generator) -> None:
        chosen = torch.randint(len(pool), (len(stars),), generator=generator)
        lower = torch.minimum(pool[chosen], stars.snr)
        chance = torch.rand(len(stars), 1, generator=generator) < self.config.noise
        # NaN where a star has no S/N: it stays as it is.
        ratio = torch.nan_to_num(torch.where(chance, stars.snr / lower, 1.0), nan=1.0)
        rows = torch.nonzero(ratio[:, 0] > 1.0)[:, 0]
        if not len(rows):
            return
        # Variances add: noise that grows by ``ratio`` needs sqrt(ratio^2 - 1) of it on top.
        growth = (ratio[rows].square() - 1.0).sqrt()
        spectrum, noise = stars.spectrum[rows], stars.noise[rows]
        self._misplace(spectrum, growth / stars.snr[rows], generator)
        spectrum.add_(self._draw(noise.shape, generator).mul_(noise).mul_(growth))
        stars.spectrum[rows] = spectrum.masked_fill_(noise == 0, 0.0)
        column = self.log_snr
        stars.scalars[:, column] -= torch.log10(ratio[:, 0]) / self.scale[column]

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Unit noise whose neighbours correlate: white noise through a kernel (a, 1, a)."""
        white = torch.randn(shape, generator=generator)
        if not self.neighbour:
            return white
        mixed = white.clone()
        mixed[:, 1:].add_(white[:, :-1], alpha=self.neighbour)
        mixed[:, :-1].add_(white[:, 1:], alpha=self.neighbour)
        return mixed.div_(math.sqrt(1 + 2 * self.neighbour**2))

    def _misplace(self, spectrum: Tensor, lost: Tensor, generator: torch.Generator) -> None:
        """Shift and tilt spectra, in place, as the pipeline would misplace them at their new S/N.

        The radial velocity and the continuum of a spectrum are measured with errors that go with
        1/S/N. ``lost [B,1]`` is what the lower S/N adds to them: sqrt(1/S/N_new^2 - 1/S/N_old^2).
        """
        config = self.config
        if self.properties.velocity and config.velocity > 0:
            pixels = config.velocity * REFERENCE_SNR * lost / self.properties.velocity
            shift = pixels * torch.randn(lost.shape, generator=generator)
            # A shift by less than a pixel is the slope times the shift (Taylor). The slope is that
            # of the flux itself: scaled values of neighbours have different units.
            flux = spectrum * self.spectrum[1] + self.spectrum[0]
            slope = 0.5 * (flux[:, 2:] - flux[:, :-2]) / self.spectrum[1][1:-1]
            spectrum[:, 1:-1] -= shift * slope
        if config.continuum > 0:
            place = torch.linspace(-1.0, 1.0, self.pixels)
            draw = (
                config.continuum
                * REFERENCE_SNR
                * lost
                * torch.randn(len(lost), 2, generator=generator)
            )
            level = draw[:, :1] + draw[:, 1:] * place
            # A factor on the flux is a sum on its logarithm.
            linear = spectrum * self.spectrum[1] + self.spectrum[0]
            spectrum += level * (torch.ones(()) if self.log_flux else linear) / self.spectrum[1]

    def _hide_pixels(self, stars: Scaled, generator: torch.Generator) -> None:
        draw = torch.rand(len(stars), 2, generator=generator)
        # u^2 of a uniform u gives many short runs and few long ones; its mean is 1/3, hence the 3.
        length = (draw[:, :1].square() * 3 * self.config.drop_pixels * self.pixels).floor()
        start = (draw[:, 1:] * self.pixels).floor() - length / 2
        # A quarter of a pixel decides the edges: the first is hidden, the one after the last not.
        place = torch.arange(self.pixels) + (0.25 - start - length / 2)
        before = torch.count_nonzero(stars.spectrum, dim=1)
        stars.spectrum.mul_(place.abs_().ge_(length / 2))
        lost = (before - torch.count_nonzero(stars.spectrum, dim=1)) / self.pixels
        column = self.valid
        stars.scalars[:, column] -= lost / self.scale[column]


def _clear(scalars: Tensor, rows: Tensor, columns: list[int]) -> None:
    for column in columns:
        scalars[rows, column] = 0.0
