"""Fast path of ``scaling.InputScaling`` on a CPU; same bits, tested in
``tests/model/test_model_scaling_cpu.py``; measured gain: a third of the time.

A logarithm of every pixel costs as much as a small network. Few pixels are so far out that they
need one, so it is taken of those alone; and valid pixels are counted among those alone too.

Legend: B star, P pixel, C XP coefficient, S scalar feature.
"""

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.model.inputs import Batch
from distcnn.model.scaling import BranchInputs, InputScaling, NoiseGain, xp_shape


class CpuInputScaling:
    """What ``scaling.forward`` gives for batches on the CPU; no gradients.

    The spectra it gives are overwritten by its next call: fresh memory for every batch costs
    as much as the arithmetic.
    """

    def __init__(self, scaling: InputScaling) -> None:
        self.scaling = scaling
        self._spectra, self._sizes = np.empty((2, 0), np.float32)
        self._far = np.empty(0, bool)
        names = scaling.names
        self._valid_column = names.index("valid_pixels") if "valid_pixels" in names else None

    def __call__(self, stars: Batch) -> BranchInputs:
        """What ``InputScaling.forward`` gives."""
        scaling = self.scaling
        shape, norm = xp_shape(stars["xp"])
        linear = self._linear(stars["flux"], stars["snr"])
        far = self._soften(linear)
        # Features use one number of the spectrum and one of XP. Both are known here already, so
        # the first pixel and the norm stand in: the norm of a norm is itself.
        raw = scaling.raw_features({**stars, "flux": stars["flux"][:, :1], "xp": norm})
        if self._valid_column is not None:
            # A clamped logarithm is never far out, so a missing pixel may hide anywhere.
            suspects = np.arange(linear.numel()) if scaling.log_flux else far
            raw[:, self._valid_column] = _valid(stars["flux"], suspects)
        components = scaling.xp_components(shape)
        self._soften(components)
        return {
            "spectrum": linear,
            "xp": components,
            "scalars": scaling.scaled(raw, scaling.feature_centre, scaling.feature_scale),
        }

    def _linear(self, flux: Tensor, snr: Tensor) -> Tensor:
        """Spectrum over its spread, before it is softened."""
        if self._spectra.size < flux.numel():
            self._spectra, self._sizes = np.empty((2, flux.numel()), np.float32)
            self._far = np.empty(flux.numel(), bool)
        out = torch.from_numpy(self._spectra[: flux.numel()]).view(flux.shape)
        torch.sub(self.scaling.spectral(flux), self.scaling.spectrum_centre, out=out)
        out.div_(self.scaling.spectrum_scale)
        if isinstance(self.scaling.noise_gain, NoiseGain):
            out.div_(self.scaling.noise_gain(snr))
        return out

    def _soften(self, linear: Tensor) -> Array:
        """Do ``scaling.soft`` in place; returns the places, in the flat array, that needed it."""
        values: Array = linear.numpy().reshape(-1)
        if values.size <= self._sizes.size:
            sizes, far = self._sizes[: values.size], self._far[: values.size]
        else:
            sizes, far = np.empty_like(values), np.empty(values.size, bool)
        np.abs(values, out=sizes)
        # What is no number is not within the limit either.
        np.logical_not(np.less_equal(sizes, self.scaling.linear_limit, out=far), out=far)
        places = np.flatnonzero(far)
        values[places] = self.scaling.soft(torch.from_numpy(values[places])).numpy()
        return places


def _valid(flux: Tensor, suspects: Array) -> Tensor:
    """[B] fraction of pixels that are numbers; the others are among the places ``suspects``."""
    stars, pixels = flux.shape
    values: Array = flux.numpy().reshape(-1)
    bad = suspects[~np.isfinite(values[suspects])]
    good = pixels - np.bincount(bad // max(pixels, 1), minlength=stars)
    return torch.from_numpy(good.astype(np.float32) / np.float32(pixels))
