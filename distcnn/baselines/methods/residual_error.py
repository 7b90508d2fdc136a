"""Errors for methods that give none: the residuals of validation stars, as a function of S/N."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from distcnn.arrays import Array
from distcnn.baselines.base import Inputs
from distcnn.stats import WITHIN_68

BINS = 6
MIN_STARS_PER_BIN = 20


@dataclass(frozen=True)
class ResidualError:
    """error^2 = floor^2 + (slope / snr)^2, one law per label.

    Attributes
    ----------
    usual : [L] 68th percentile of all residuals, for stars of unknown S/N.
    squares : [2, L] floor^2 and slope^2; NaN where validation tells no S/N.
    """

    usual: Array
    squares: Array

    @classmethod
    def fit(cls, residual: Array, inputs: Inputs) -> "ResidualError":
        """Of residuals [N, L] of stars that were not fitted on; NaN = none."""
        snr = signal_to_noise(inputs, len(residual))
        laws = [_law(column, snr) for column in residual.T]
        usual = np.array([_width(column[np.isfinite(column)]) for column in residual.T])
        return cls(usual, np.array(laws).T)

    def predict(self, inputs: Inputs, stars: int) -> Array:
        """Standard errors, float32 [N, L] in label units."""
        snr = signal_to_noise(inputs, stars)[:, None]
        with np.errstate(divide="ignore"):
            error = np.sqrt(self.squares[0] + self.squares[1] / np.square(snr))
        known = np.isfinite(snr) & (snr > 0) & np.isfinite(self.squares[0])
        return np.where(known, error, self.usual).astype(np.float32)


def signal_to_noise(inputs: Inputs, stars: int) -> Array:
    """[N]; NaN where it is not known."""
    return np.reshape(inputs.get("snr", np.full(stars, np.nan)), -1).astype(float)


def _law(residual: Array, snr: Array) -> Array:
    good = np.isfinite(residual) & np.isfinite(snr) & (snr > 0)
    count = min(BINS, int(good.sum()) // MIN_STARS_PER_BIN)
    if count < 2:
        return np.full(2, np.nan)
    order = np.flatnonzero(good)[np.argsort(snr[good], kind="stable")]
    bins = np.array_split(order, count)
    width = np.array([_width(residual[rows]) for rows in bins])
    square = np.array([np.mean(1 / np.square(snr[rows])) for rows in bins])
    # Relative residuals of the squares, else the faintest bin alone would decide.
    weight = 1 / np.maximum(np.square(width), 1e-30)
    design = np.stack([weight, square * weight], axis=1)
    scale = design.max(axis=0)
    found, _ = nnls(design / scale, np.ones(count))
    return np.asarray(found / scale)


def _width(residual: Array) -> float:
    """Half-width that holds 68 % of the residuals."""
    if not residual.size:
        return float("nan")
    return max(float(np.quantile(np.abs(residual), WITHIN_68)), 1e-12)
