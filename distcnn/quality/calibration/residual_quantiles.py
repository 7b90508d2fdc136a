"""Quantiles of residuals, in units of the predicted sigma, without the errors of references.

Legend: N star, L label.
"""

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.calibration.error_deconvolution import (
    MIN_STARS_FOR_SCALE,
    ReferenceResiduals,
)

_ONE_SIGMA_QUANTILE = 0.8413
_MIN_SCALE = 0.05  # below this the quoted reference errors explain every residual


def side_width(found: ReferenceResiduals, sign: float) -> Array:
    """[L] 84.1 % quantile of what residuals of one sign need, in units of the predicted sigma."""
    excess = np.maximum(found.residual * sign, 0.0) ** 2 - found.reference_error**2
    need = np.where(found.known, np.sqrt(np.maximum(excess, 0.0)) / found.predicted_sigma, np.nan)
    return np.array([_quantile(column) for column in need.T])


def needed_factor(found: ReferenceResiduals, sigmas: int) -> Array:
    """[N, L] factor on the predicted sigma that just holds a residual; NaN = unknown.

    ``sigmas`` : 1 for the quantile of 68 %, 2 for that of 95 %, where so many of the references'
    errors are in it.
    """
    excess = np.square(found.residual) - np.square(sigmas * found.reference_error)
    need = np.sqrt(np.maximum(excess, 0.0)) / np.maximum(found.predicted_sigma, 1e-30)
    return np.where(found.known, need, np.nan)


def weighted_quantiles(values: Array, weight: Array, quantile: float) -> Array:
    """[L] of values and weights [N, L]; NaN for few stars."""
    found = np.full(values.shape[1], np.nan)
    for k in range(values.shape[1]):
        good = np.isfinite(values[:, k]) & (weight[:, k] > 0)
        if good.sum() < MIN_STARS_FOR_SCALE:
            continue
        order = np.argsort(values[good, k])
        heap, own = np.cumsum(weight[good, k][order]), weight[good, k][order]
        found[k] = np.interp(quantile * heap[-1], heap - own / 2, values[good, k][order])
    return found


def _quantile(need: Array) -> float:
    good = need[np.isfinite(need)]
    if good.size < MIN_STARS_FOR_SCALE:
        return np.nan
    return max(float(np.quantile(good, _ONE_SIGMA_QUANTILE)), _MIN_SCALE)
