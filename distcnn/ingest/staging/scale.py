"""The scale of fluxes: does the encoding of the store hold them, and which type holds the errors?

Normalised fluxes lie near 1, and the store is made for them: int16 codes in steps of 1e-4, errors
in float16. Fluxes in physical units (1e-15 erg/s/cm2/Angstrom, counts) would become zeros or fall
out of the range, so their scale is measured while they are staged, and what cannot be held is
refused with the settings that hold it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import StoreConfig
from distcnn.errors import ScaleMismatch

MIN_LEVEL_STEPS = 10
"""A star's mean absolute flux [steps of the encoding] below which its spectrum is rounded away,
if its errors are smaller than a step as well."""
_SMALLEST_FLOAT16, _SMALLEST_FLOAT32 = 2.0**-24, 2.0**-149


@dataclass(frozen=True)
class FluxEncoding:
    """What an encoding of flux can hold: values between the limits, in steps of ``step``."""

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, store: StoreConfig) -> "FluxEncoding":
        """The encoding of the settings."""
        if store.flux_encoding == "int16":
            reach = 32767 * store.flux_step
            return cls(1 - reach, 1 + reach, store.flux_step)
        limit = float(np.finfo(store.flux_encoding).max)
        step = _SMALLEST_FLOAT16 if store.flux_encoding == "float16" else _SMALLEST_FLOAT32
        return cls(-limit, limit, step)

    def beyond(self, flux: Array) -> Array:
        """Pixels [B, P] outside the limits."""
        with np.errstate(invalid="ignore"):
            found: Array = (flux < self.low) | (flux > self.high)
        return found


@dataclass
class ScaleOfFile:
    """What was met in the spectra of one file: how many stars the encoding cannot hold.

    A single star of another scale is quarantined; if it is most of a file, the settings are
    wrong for the file, and saying so of each star would say it nowhere.
    """

    encoding: FluxEncoding
    stars: int = 0
    unfit: int = 0
    levels: list[float] = field(default_factory=list)
    """Mean absolute flux of the stars that are unfit."""

    def judge(self, flux: Array, error: Array | None, beyond: Array) -> dict[int, str]:
        """Rows whose flux [B, P] is rounded away, with the reason; all unfit rows are counted."""
        good = np.isfinite(flux)
        count = good.sum(axis=1)
        level = _mean(np.abs(flux), good, count)
        small = (level > 0) & (level < MIN_LEVEL_STEPS * self.encoding.step)
        if error is not None:
            small &= ~(_mean(error, good & np.isfinite(error), count) > self.encoding.step)
        large = 2 * (beyond & good).sum(axis=1) > count
        unfit = small | large
        self.stars += int((count > 0).sum())
        self.unfit += int(unfit.sum())
        self.levels += level[unfit].tolist()
        step = self.encoding.step
        return {
            int(row): f"its flux, {level[row]:.3g} on average, is below the steps of the store, "
            f"{step:g}"
            for row in np.flatnonzero(small)
        }

    def check(self, path: Path, store: StoreConfig) -> None:
        """Refuse a file most of whose spectra the store cannot hold.

        Raises
        ------
        ScaleMismatch : names the scale that was met and the settings that hold it.
        """
        if 2 * self.unfit <= self.stars or not self.unfit:
            return
        level, encoding = float(np.median(self.levels)), self.encoding
        steps = f" in steps of {encoding.step:g}" if store.flux_encoding != "float32" else ""
        wider = "" if store.flux_encoding == "float32" else _WIDER
        raise ScaleMismatch(
            f"{path}: the flux of {self.unfit} of {self.stars} stars cannot be stored, it is "
            f"{level:.3g} on average",
            expected=f"{encoding.low:g} to {encoding.high:g}{steps}, as ingest.store.flux_encoding "
            f"= {store.flux_encoding} holds it",
            cure=f"Set ingest.prepare.normalisation to median or running_quantile{wider}.",
        )


_WIDER = ", which networks want; or keep physical units with ingest.store.flux_encoding = float32"


def _mean(values: Array, good: Array, count: Array) -> Array:
    total = np.where(good, values, 0).sum(axis=1, dtype=np.float64)
    return np.asarray(total / np.maximum(count, 1))


@dataclass
class ErrorRange:
    """Smallest and largest positive error of a part; (1, 1) before there is any."""

    low: float = 1.0
    high: float = 1.0

    def include(self, error: Array) -> None:
        """Widen to the errors [B, P] of more spectra; NaN does not count."""
        with np.errstate(invalid="ignore"):
            smallest = float(np.min(error, initial=np.inf, where=error > 0))
            largest = float(np.max(error, initial=0.0, where=error > 0))
        self.low, self.high = min(self.low, smallest), max(self.high, largest)

    def join(self, other: "ErrorRange") -> None:
        """Widen to the range of another file."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
