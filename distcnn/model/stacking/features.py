"""Features: the table that regressions beside the networks are given.

It is made of what the layers of a network are given (``BranchInputs``), so that an ensemble, its
teacher in distillation and training all see the same table. Beside the scaled inputs it has what
a spectroscopist would compute first: principal components of the spectrum and of the colours,
and the absolute magnitude.

Legend: B star, P pixel, C XP coefficient, S scalar feature, A component, F column.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.model.scaling import LINEAR_LIMIT, BranchInputs

MAX_DEVIATION = 8.0
"""Columns are cut there, in units of their spread: a damaged star must not run away."""
MIN_PARALLAX_SNR = 0.5
"""A smaller parallax counts as this many of its errors: a limit, not a distance."""
BRIGHTEST_MAGNITUDE = -6.0
"""Absolute magnitude that stands for all brighter ones, and for parallaxes of no use."""
MIN_VALID_PIXELS = 0.5
"""Fraction of the pixels that a spectrum must have for the regressions to be asked."""


class FeatureTable(nn.Module):
    """Columns [B,F] of a star, of order one.

    The first ``A`` are principal components of the spectrum, then the ``C`` XP components, then
    principal components of the colours, magnitude and absolute magnitude, whatever there is.

    Parameters
    ----------
    arrays : ``spectrum_axes`` [P,A], ``spectrum_offset`` [A], ``colour_axes`` [K-1,K-1],
        ``feature_centre``, ``feature_scale`` [S] of the scaling of the networks, ``centre``,
        ``scale`` [F] of the columns.
    names : of the S scalar features.
    """

    spectrum_axes: Tensor
    spectrum_offset: Tensor
    colour_axes: Tensor
    feature_centre: Tensor
    feature_scale: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, arrays: Mapping[str, Array], names: Sequence[str]) -> None:
        super().__init__()
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.asarray(values, np.float32)))
        self.names = tuple(names)
        self.colours = [k for k, name in enumerate(self.names) if name.startswith("colour_")]

    def forward(
        self, inputs: BranchInputs, components: Tensor | None = None, raw: Tensor | None = None
    ) -> Tensor:
        """The columns, standardised and cut; ``components`` and ``raw``: see ``columns``."""
        table = (self.columns(inputs, components, raw) - self.centre) / self.scale
        return torch.clamp(table, -MAX_DEVIATION, MAX_DEVIATION)

    def columns(
        self, inputs: BranchInputs, components: Tensor | None = None, raw: Tensor | None = None
    ) -> Tensor:
        """The columns before they are standardised.

        ``components`` [B,A]: spectra on ``spectrum_axes``, and ``raw`` [B,S]: what ``raw`` gives,
        where they are computed already.
        """
        scalars = inputs["scalars"]
        if components is None:
            components = inputs["spectrum"] @ self.spectrum_axes
        if raw is None:
            raw = self.raw(scalars)
        parts = [components - self.spectrum_offset, inputs["xp"]]
        parts.append(scalars[:, self.colours] @ self.colour_axes)
        if "magnitude" in self.names:
            parts.append(self._one(raw, "magnitude"))
        if "luminosity" in self.names:
            parts.append(self._absolute_magnitude(scalars, raw))
        if "log_snr" in self.names:
            parts.append(self._one(raw, "log_snr"))
        return torch.cat(parts, dim=1)

    def _absolute_magnitude(self, scalars: Tensor, raw: Tensor) -> Tensor:
        """[B,1] of the reference band; see ``AstrometryFeatures`` for the luminosity."""
        log_error = self._one(raw, "log_parallax_error") + 0.2 * self._one(raw, "magnitude")
        known = self._one(scalars, "log_parallax_error") != 0
        least = torch.where(
            known, MIN_PARALLAX_SNR * torch.pow(10.0, log_error - 2.0), torch.zeros_like(log_error)
        )
        least = torch.clamp(least, min=10.0 ** (0.2 * BRIGHTEST_MAGNITUDE))
        return 5.0 * torch.log10(torch.maximum(self._one(raw, "luminosity"), least))

    def _one(self, features: Tensor, name: str) -> Tensor:
        column = self.names.index(name)
        return features[:, column : column + 1]

    def raw(self, scalars: Tensor) -> Tensor:
        """[B,S] features in their own units, from their scaled and softened values."""
        return self.feature_centre + self.feature_scale * hardened(scalars)


def hardened(soft: Tensor) -> Tensor:
    """The numbers that ``InputScaling.soft`` was given."""
    size = torch.abs(soft)
    beyond = torch.expm1(torch.clamp(size - LINEAR_LIMIT, min=0.0))
    return torch.sign(soft) * (torch.clamp(size, max=LINEAR_LIMIT) + beyond)


def lacks_nothing(scalars: Tensor, raw: Tensor, names: Sequence[str], required: Tensor) -> Tensor:
    """[B] bool: the star has all that the regressions need.

    Parameters
    ----------
    scalars, raw : [B,S] features as networks see them, and in their own units.
    required : [S], 1 for indicators that must be 1.
    """
    complete = (scalars < 0.5).to(scalars.dtype) @ required == 0
    if "valid_pixels" in names:
        complete = complete & (raw[:, list(names).index("valid_pixels")] > MIN_VALID_PIXELS)
    return complete
