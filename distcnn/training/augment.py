"""Augment: what training inputs suffer afresh in every epoch.

Legend: N or B star, P pixel, S scalar feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distcnn.config import AugmentConfig
from distcnn.model import Features, InputSpec, Network
from distcnn.survey import Store
from distcnn.training.batches import Scaled
from distcnn.training.data import Labelled


@dataclass(frozen=True)
class Facts:
    """What augmentation must know of a survey, measured once on its training stars."""

    @classmethod
    def of(cls, store: Store, stars: Labelled) -> "Facts":
        """Facts of a survey; ``stars``: training stars, some thousands suffice."""
        return cls()


class Augment:
    """What training inputs suffer afresh in every epoch, in scaled units.

    - a spectrum gets the noise that lowers it to the S/N of another training star;
    - XP, or the parallax, is taken away;
    - runs of pixels are hidden.
    """

    def __init__(
        self, config: AugmentConfig, spec: InputSpec, network: Network, facts: Facts
    ) -> None:
        features = Features.of(spec)
        self.config, self.facts = config, facts
        self.pixels = spec.pixels
        self.log_snr = features.at("log_snr")
        self.valid = features.at("valid_pixels")
        self.of_xp = features.at("xp_norm", "has_xp")
        self.of_parallax = features.of_parallax
        self.centre = network.inputs.feature_centre
        self.scale = network.inputs.feature_scale

    def __call__(self, stars: Scaled, pool: Tensor, generator: torch.Generator) -> Scaled:
        """Change ``stars`` (a batch of its own) in place; ``pool`` holds S/N to choose from."""
        config, count = self.config, len(stars)
        if self.pixels and config.noise > 0:
            self._add_noise(stars, pool, generator)
        if self.pixels and config.drop_pixels > 0:
            self._hide_pixels(stars, generator)
        if self.of_xp and config.drop_xp > 0:
            gone = torch.rand(count, generator=generator) < config.drop_xp
            stars.xp[gone] = 0.0
            _clear(stars.scalars, gone, self.of_xp)
        if self.of_parallax and config.drop_parallax > 0:
            gone = torch.rand(count, generator=generator) < config.drop_parallax
            _clear(stars.scalars, gone, self.of_parallax)
        return stars

    def _add_noise(self, stars: Scaled, pool: Tensor, generator: torch.Generator) -> None:
        chosen = torch.randint(len(pool), (len(stars),), generator=generator)
        lower = torch.minimum(pool[chosen], stars.snr)
        struck = torch.rand(len(stars), 1, generator=generator) < self.config.noise
        # NaN where a star has no S/N: it stays as it is.
        ratio = torch.nan_to_num(torch.where(struck, stars.snr / lower, 1.0), nan=1.0)
        rows = torch.nonzero(ratio[:, 0] > 1.0)[:, 0]
        if not len(rows):
            return
        extra = (ratio[rows].square() - 1.0).sqrt() * stars.noise[rows]
        draw = torch.randn(extra.shape, generator=generator)
        stars.spectrum.index_add_(0, rows, draw.mul_(extra))
        column = self.log_snr[0]
        stars.scalars[:, column] -= torch.log10(ratio[:, 0]) / self.scale[column]

    def _hide_pixels(self, stars: Scaled, generator: torch.Generator) -> None:
        draw = torch.rand(len(stars), 2, generator=generator)
        # The mean of u^2 is 1/3: many short runs, few long ones.
        length = (draw[:, :1].square() * 3 * self.config.drop_pixels * self.pixels).floor()
        start = (draw[:, 1:] * self.pixels).floor() - length / 2
        place = torch.arange(self.pixels)
        hidden = (place >= start) & (place < start + length)
        lost = (hidden & (stars.spectrum != 0)).to(draw.dtype).mean(dim=1)
        stars.spectrum.masked_fill_(hidden, 0.0)
        column = self.valid[0]
        stars.scalars[:, column] -= lost / self.scale[column]


def _clear(scalars: Tensor, rows: Tensor, columns: list[int]) -> None:
    for column in columns:
        scalars[rows, column] = 0.0
