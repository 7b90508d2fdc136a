"""What the signal to noise of a survey is per."""

from math import sqrt
from typing import Self

from pydantic import Field, model_validator

from distcnn.config.base import Frozen


class SnrConfig(Frozen):
    """What the S/N in the survey is per: a pixel, or a wavelength interval common to all grids.

    S/N per pixel is another number on every grid: resampling makes pixels, not photons. Over an
    interval much wider than its noise is correlated it is the same number on all of them.
    """

    interval: float | None = Field(None, gt=0)
    """Wavelength interval that the S/N of the survey is per [nm]; null = one pixel of the spectra
    in the files. Gaia: 0.0245, one pixel of its detector."""
    given: float | None = Field(None, gt=0)
    """Interval that the files' own column of S/N is per [nm]; needed with ``interval``, and not
    used where the S/N is computed from flux and error."""
    correlation: float | None = Field(None, ge=1)
    """Correlation length of the noise [input pixels], by which n pixels of an interval are but
    n / length independent ones; null = that of ``prepare.noise_correlation``."""

    @model_validator(mode="after")
    def _says_what_is_given(self) -> Self:
        if self.interval is not None and self.given is None:
            raise ValueError(
                "given, the interval that the S/N column of the files is per, with interval; the "
                "same number where the files have no such column"
            )
        return self

    @property
    def stated(self) -> str | None:
        """The interval as stores state it; None = per pixel."""
        return None if self.interval is None else f"{self.interval:.6g} nm"

    def factor_given(self) -> float:
        """What the files' own S/N is multiplied by."""
        if self.interval is None or self.given is None:
            return 1.0
        return sqrt(self.interval / self.given)

    def factor_per_pixel(self, width: float, noise_correlation: float) -> float:
        """What S/N per pixel is multiplied by.

        ``width`` : of a pixel [nm]; ``noise_correlation`` : the length of ``prepare``.
        """
        if self.interval is None:
            return 1.0
        return sqrt(self.interval / (width * (self.correlation or noise_correlation)))
