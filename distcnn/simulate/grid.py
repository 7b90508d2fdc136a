"""Release grid: the wavelengths on which a data release publishes its spectra, as a value.

Lengths in the simulator are widths in nm, and a grid says how many of its samples they are: a
gap or a cosmic ray is as wide on a coarse grid as on a fine one.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.config import ReleaseGridConfig

ERROR_CORRELATION_WIDTH_NM = 0.02
"""Distance at which the errors of two samples are no longer correlated."""


@dataclass(frozen=True)
class ReleaseGrid:
    """Wavelengths in vacuum, nm, in the rest frame of the star; ``size`` samples.

    The same for all spectra of a release. Hashable: matrices made for a grid are kept.
    """

    start: float
    step: float
    size: int

    @classmethod
    def of(cls, config: ReleaseGridConfig) -> "ReleaseGrid":
        return cls(config.start, config.step, config.size)

    @property
    def wavelength(self) -> np.ndarray:
        """Of every sample, ``[size]`` nm."""
        return self.start + self.step * np.arange(self.size)

    @property
    def stop(self) -> float:
        """Wavelength of the last sample, nm."""
        return self.start + self.step * (self.size - 1)

    def samples(self, width: float) -> int:
        """How many samples a width in nm is, at least one."""
        return max(1, round(width / self.step))

    def error_weights(self) -> list[float]:
        """What an error shares with the samples 1, 2, ... away, as a fraction of its own.

        Interpolation onto a grid finer than the detector's pixels correlates neighbours; at
        0.025 nm nothing is left of it.
        """
        count = int(np.ceil(ERROR_CORRELATION_WIDTH_NM / self.step - 1e-9)) - 1
        return [1 - (k + 1) * self.step / ERROR_CORRELATION_WIDTH_NM for k in range(count)]


DR3_GRID = ReleaseGrid.of(ReleaseGridConfig())
"""Gaia DR3: 2,401 samples of 0.01 nm from 846 to 870 nm."""
