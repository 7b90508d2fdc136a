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

    def forward(self, inputs: BranchInputs, components: Tensor | None = None) -> Tensor:
        """The columns, standardised and cut; ``components``: see ``columns``."""
        raw = (self.columns(inputs, components) - self.centre) / self.scale
        return torch.clamp(raw, -MAX_DEVIATION, MAX_DEVIATION)

    def columns(self, inputs: BranchInputs, components: Tensor | None = None) -> Tensor:
        """The columns before they are standardised.

        ``components`` [B,A]: spectra on ``spectrum_axes``, where they are computed already.
        """
        scalars = inputs["scalars"]
        if components is None:
            components = inputs["spectrum"] @ self.spectrum_axes
        parts = [components - self.spectrum_offset, inputs["xp"]]
        parts.append(scalars[:, self.colours] @ self.colour_axes)
        if "magnitude" in self.names:
            parts.append(self.raw(scalars, "magnitude"))
        if "luminosity" in self.names:
            parts.append(self._absolute_magnitude(scalars))
        if "log_snr" in self.names:
            parts.append(self.raw(scalars, "log_snr"))
        return torch.cat(parts, dim=1)

    def _absolute_magnitude(self, scalars: Tensor) -> Tensor:
        """[B,1] of the reference band; see ``AstrometryFeatures`` for the luminosity."""
        log_error = self.raw(scalars, "log_parallax_error") + 0.2 * self.raw(scalars, "magnitude")
        known = self._scaled(scalars, "log_parallax_error") != 0
        least = torch.where(
            known, MIN_PARALLAX_SNR * torch.pow(10.0, log_error - 2.0), torch.zeros_like(log_error)
        )
        least = torch.clamp(least, min=10.0 ** (0.2 * BRIGHTEST_MAGNITUDE))
        return 5.0 * torch.log10(torch.maximum(self.raw(scalars, "luminosity"), least))

    def _scaled(self, scalars: Tensor, name: str) -> Tensor:
        column = self.names.index(name)
        return scalars[:, column : column + 1]

    def raw(self, scalars: Tensor, name: str) -> Tensor:
        """[B,1] a feature in its own unit, from its scaled and softened value."""
        column = self.names.index(name)
        linear = hardened(scalars[:, column : column + 1])
        return self.feature_centre[column] + self.feature_scale[column] * linear


def hardened(soft: Tensor) -> Tensor:
    """The numbers that ``InputScaling.soft`` was given."""
    size = torch.abs(soft)
    beyond = torch.expm1(torch.clamp(size - LINEAR_LIMIT, min=0.0))
    return torch.sign(soft) * (torch.clamp(size, max=LINEAR_LIMIT) + beyond)


def lacks_nothing(
    scalars: Tensor, names: Sequence[str], required: Tensor, scaling: Mapping[str, Tensor]
) -> Tensor:
    """[B] bool: the star has all that the regressions need.

    Parameters
    ----------
    required : [S], 1 for indicators that must be 1.
    scaling : ``feature_centre``, ``feature_scale`` [S].
    """
    complete = (scalars < 0.5).to(scalars.dtype) @ required == 0
    if "valid_pixels" in names:
        column = list(names).index("valid_pixels")
        linear = hardened(scalars[:, column])
        valid = scaling["feature_centre"][column] + scaling["feature_scale"][column] * linear
        complete = complete & (valid > MIN_VALID_PIXELS)
    return complete
