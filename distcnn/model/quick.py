"""Quick: the input scaling of ``scaling.InputScaling`` on a CPU, the same bits in a third the time.

A logarithm of every pixel costs as much as a small network. Few pixels are so far out that they
need one, so it is taken of those alone; and valid pixels are counted as bits, not as numbers.

Legend: B star, P pixel, C XP coefficient, S scalar feature.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from distcnn.model.inputs import Batch
from distcnn.model.scaling import Features, InputScaling


class QuickScaling:
    """What ``scaling.forward`` gives for batches on the CPU; no gradients."""

    def __init__(self, scaling: InputScaling) -> None:
        self.scaling = scaling
        self.valid = Features(scaling.names).at("valid_pixels")

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled spectrum [B,P], scaled XP [B,C], scalar features [B,S]."""
        scaling = self.scaling
        shape, norm = scaling.xp_shape(batch.xp)
        # Spectrum and XP count there by one number each, which need not be found twice.
        raw = scaling.raw_features(batch.flux[:, :1], norm, *batch[2:])
        for column in self.valid:
            raw[:, column] = _valid(batch.flux)
        return (
            self._spectrum(batch.flux),
            scaling.soft(scaling.xp_components(shape)),
            scaling.scaled(raw, scaling.feature_centre, scaling.feature_scale),
        )

    def _spectrum(self, flux: Tensor) -> Tensor:
        scaling = self.scaling
        linear = scaling.spectral(flux) - scaling.spectrum_centre
        linear.div_(scaling.spectrum_scale)
        values: Any = linear.numpy().reshape(-1)
        # What is no number is not within the limit either.
        rare = np.flatnonzero(~(np.abs(values) <= scaling.linear))
        values[rare] = scaling.soft(torch.from_numpy(values[rare])).numpy()
        return linear


def _valid(flux: Tensor) -> Tensor:
    """[B] fraction of pixels that are numbers."""
    good = np.count_nonzero(np.isfinite(flux.numpy()), axis=1).astype(np.float32)
    return torch.from_numpy(good / np.float32(flux.shape[1]))
