"""Quick: the input scaling of ``scaling.InputScaling`` on a CPU, the same bits in a third the time.

A logarithm of every pixel costs as much as a small network. Few pixels are so far out that they
need one, so it is taken of those alone; and valid pixels are counted as bits, not as numbers.

Legend: B star, P pixel, C XP coefficient, S scalar feature.
"""

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.model.inputs import Batch
from distcnn.model.scaling import Features, InputScaling


class CpuInputScaling:
    """What ``scaling.forward`` gives for batches on the CPU; no gradients.

    The spectra it gives are overwritten by its next call: fresh memory for every batch costs
    as much as the arithmetic.
    """

    def __init__(self, scaling: InputScaling) -> None:
        self.scaling = scaling
        self._spectra, self._sizes = np.empty((2, 0), np.float32)
        self._rare = np.empty(0, bool)
        self.valid = Features(scaling.names).at("valid_pixels")

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled spectrum [B,P], scaled XP [B,C], scalar features [B,S]."""
        scaling = self.scaling
        shape, norm = scaling.xp_shape(batch.xp)
        linear = self._linear(batch.flux)
        rare = self._soften(linear)
        # Spectrum and XP count there by one number each, which need not be found twice.
        raw = scaling.raw_features(batch.flux[:, :1], norm, *batch[2:])
        for column in self.valid:
            # A logarithm is cut, so that what is infinite need not be far out.
            suspects = np.arange(linear.numel()) if scaling.log_flux else rare
            raw[:, column] = _valid(batch.flux, suspects)
        components = scaling.xp_components(shape)
        self._soften(components)
        return (
            linear,
            components,
            scaling.scaled(raw, scaling.feature_centre, scaling.feature_scale),
        )

    def _linear(self, flux: Tensor) -> Tensor:
        """Spectrum over its spread, before it is softened."""
        if self._spectra.size < flux.numel():
            self._spectra, self._sizes = np.empty((2, flux.numel()), np.float32)
            self._rare = np.empty(flux.numel(), bool)
        out = torch.from_numpy(self._spectra[: flux.numel()]).view(flux.shape)
        torch.sub(self.scaling.spectral(flux), self.scaling.spectrum_centre, out=out)
        return out.div_(self.scaling.spectrum_scale)

    def _soften(self, linear: Tensor) -> Array:
        """Do ``scaling.soft`` in place; returns the places, in the flat array, that needed it."""
        values: Array = linear.numpy().reshape(-1)
        if values.size <= self._sizes.size:
            sizes, far = self._sizes[: values.size], self._rare[: values.size]
        else:
            sizes, far = np.empty_like(values), np.empty(values.size, bool)
        np.abs(values, out=sizes)
        # What is no number is not within the limit either.
        np.logical_not(np.less_equal(sizes, self.scaling.linear, out=far), out=far)
        rare = np.flatnonzero(far)
        values[rare] = self.scaling.soft(torch.from_numpy(values[rare])).numpy()
        return rare


def _valid(flux: Tensor, suspects: Array) -> Tensor:
    """[B] fraction of pixels that are numbers; the others are among the places ``suspects``."""
    stars, pixels = flux.shape
    values: Array = flux.numpy().reshape(-1)
    bad = suspects[~np.isfinite(values[suspects])]
    good = pixels - np.bincount(bad // max(pixels, 1), minlength=stars)
    return torch.from_numpy(good.astype(np.float32) / np.float32(pixels))
