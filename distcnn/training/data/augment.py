"""Augment: what training inputs suffer afresh in every epoch.

Legend: N or B star, P pixel, S scalar feature.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distcnn.config import AugmentConfig
from distcnn.model import InputSpec, Network
from distcnn.model.pixel_noise import (
    Correlation,
    NoiseGenerator,
    correlation_of_length,
    measure_correlation,
    stated_correlation,
)
from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.survey import Store
from distcnn.training.data.farther import FartherAway, ModelStars
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.tensors import Scaled

REFERENCE_SNR = 20.0
"""S/N at which the errors of velocity and continuum are configured."""


@dataclass(frozen=True)
class SurveyProperties:
    """What augmentation must know of a survey, measured once.

    ``correlation``: of the noise in pixels 1, 2, ... apart. ``velocity``: km/s that one pixel
    spans, 0 without a wavelength grid. ``models``: stars that others are made like.
    """

    correlation: Correlation = ()
    velocity: float = 0.0
    models: ModelStars | None = None

    @classmethod
    def of(cls, store: Store, stars: Labelled) -> "SurveyProperties":
        """Of a survey; ``stars``: training stars, some thousands suffice.

        Where too few spectra tell how noise is correlated, the settings of ingest do.
        """
        if not stars.inputs["flux"].shape[1]:
            return cls()
        measured = measure_correlation(stars.inputs["flux"], stars.inputs["snr"][:, 0])
        correlation = stated_correlation(store) if measured is None else measured
        return cls(correlation, _pixel_velocity(store), ModelStars.of(store))


def _pixel_velocity(store: Store) -> float:
    wavelength = store.coordinate("wavelength")
    if len(wavelength) < 2 or not (wavelength > 0).all():
        return 0.0
    return float(np.median(np.diff(np.log(wavelength))) * LIGHT_SPEED_KM_S)


class Augment:
    """What training inputs suffer afresh in every epoch, in scaled units.

    - a spectrum gets the noise that lowers it to the S/N of another training star, or to one drawn
      down to ``faintest``, with the correlation between pixels that the survey has; with it come
      the error of the radial velocity and of the continuum that a spectrum of that S/N would
      have, and the missing pixels of one; with ``faint_inputs`` the star is moved away until it is
      as faint as stars of that S/N, and XP and parallax have the errors of theirs;
    - the spectrum, XP, the parallax or another modality with a ``dropout`` is taken away;
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
        self.inputs = network.inputs
        self.spectrum = (network.inputs.spectrum_centre, network.inputs.spectrum_scale)
        self.log_flux = network.inputs.log_flux
        given = config.correlation
        known = properties.correlation if given is None else correlation_of_length(given)
        self.noise = NoiseGenerator.of(known)
        self.farther = FartherAway(spec, network.inputs, config.parallax_zero_point)

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
                if row.branch == "spectrum":
                    stars.scalars[gone, self.valid] = self._no_pixel
        return stars

    def _add_noise(self, stars: Scaled, pool: Tensor, generator: torch.Generator) -> None:
        lower = torch.minimum(self._target(stars.snr, pool, generator), stars.snr)
        chance = torch.rand(len(stars), 1, generator=generator) < self.config.noise
        # NaN where a star has no S/N: it stays as it is.
        ratio = torch.nan_to_num(torch.where(chance, stars.snr / lower, 1.0), nan=1.0)
        rows = torch.nonzero(ratio[:, 0] > 1.0)[:, 0]
        if not len(rows):
            return
        # Variances add: noise that grows by ``ratio`` needs sqrt(ratio^2 - 1) of it on top.
        growth = (ratio[rows].square() - 1.0).sqrt()
        before, after = (self.inputs.noise_gain(snr[rows]) for snr in (stars.snr, lower))
        spectrum, noise = stars.spectrum[rows] * before, stars.noise[rows] * before
        self._misplace(spectrum, growth / stars.snr[rows], generator)
        drawn = self.noise.draw(noise.shape, generator, noise.device)
        spectrum.add_(drawn.mul_(noise).mul_(growth)).div_(after)
        gone = noise == 0
        models = self.properties.models
        if models is not None:
            models = models.draw(lower[rows], generator)
            gone |= models.missing
            self._lose(stars, rows, (gone & (noise != 0)).float().mean(dim=1))
            if self.config.faint_inputs:
                self.farther(stars, rows, models, generator)
        stars.spectrum[rows] = spectrum.masked_fill_(gone, 0.0)
        self._add(stars, self.log_snr, -torch.log10(ratio[:, 0]))

    def _target(self, snr: Tensor, pool: Tensor, generator: torch.Generator) -> Tensor:
        """S/N [B,1] to lower spectra to: of other stars, or spread evenly in its logarithm."""
        faintest = self.config.faintest
        if faintest is None:
            return pool[torch.randint(len(pool), (len(snr),), generator=generator)]
        part = torch.rand(len(snr), 1, generator=generator)
        return faintest * (snr / faintest).clamp(min=1.0) ** part

    @property
    def _no_pixel(self) -> Tensor:
        """The scaled fraction of valid pixels of a spectrum that has none."""
        return self.inputs.soft(-self.centre[self.valid] / self.scale[self.valid])

    def _lose(self, stars: Scaled, rows: Tensor, fraction: Tensor) -> None:
        """Tell of pixels that are gone, a fraction [n] of all, of the stars at ``rows``."""
        lost = torch.zeros(len(stars), device=fraction.device)
        lost[rows] = fraction
        self._add(stars, self.valid, -lost)

    def _add(self, stars: Scaled, column: int, change: Tensor) -> None:
        """Change a scalar feature by so much [B] of its own unit, before it was scaled."""
        linear = self.inputs.linear(stars.scalars[:, column])
        changed = self.inputs.soft(linear + change / self.scale[column])
        # What does not change keeps its bits.
        stars.scalars[:, column] = torch.where(change == 0, stars.scalars[:, column], changed)

    def _misplace(self, spectrum: Tensor, lost: Tensor, generator: torch.Generator) -> None:
        """Shift and tilt spectra, in place, as the pipeline would misplace them at their new S/N.

        The radial velocity and the continuum of a spectrum are measured with errors that go with
        1/S/N. ``lost [B,1]`` is what the lower S/N adds to them: sqrt(1/S/N_new^2 - 1/S/N_old^2).
        """
        config = self.config
        if self.properties.velocity and config.velocity > 0:
            added = (config.velocity * REFERENCE_SNR * lost).clamp(max=config.velocity_limit)
            shift = added / self.properties.velocity * torch.randn(lost.shape, generator=generator)
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
        self._add(stars, self.valid, -lost)


def _clear(scalars: Tensor, rows: Tensor, columns: list[int]) -> None:
    for column in columns:
        scalars[rows, column] = 0.0
