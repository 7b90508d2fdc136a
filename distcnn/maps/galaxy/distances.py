"""Distances from parallaxes: the posterior with a prior that says where stars are at all.

The prior is that of a density of stars in space which falls exponentially from the Sun:
P(r) = r^2 exp(-r / L) / (2 L^3) (Bailer-Jones 2015, PASP 127, 994). The likelihood of a parallax
is Gaussian. What is given is the median of the posterior and the interval of 68 % about it.
"""

import numpy as np

from distcnn.arrays import Array

_NODES = 192
"""Distances at which a posterior is evaluated, evenly in ln r where it is not negligible."""
_WIDTH = 6.0
"""Standard errors of parallax to either side that are looked at."""
_FARTHEST = 25.0
"""Farthest distance that is looked at, in scale lengths."""
_QUANTILES = (0.158655, 0.5, 0.841345)
_BLOCK_STARS = 8192
"""Stars at once: their posteriors stay in the cache."""


def distances(parallax: Array, error: Array, scale_length: float) -> Array:
    """Median and the ends of the 68 % interval: low, median, high [N, 3], in kpc.

    NaN without a parallax or a positive error.

    Parameters
    ----------
    parallax, error : [N] mas, freed of the zero point; a parallax may be negative.
    scale_length : L of the prior [kpc].
    """
    out = np.full((len(parallax), 3), np.nan)
    good = np.flatnonzero(np.isfinite(parallax) & (error > 0))
    for start in range(0, len(good), _BLOCK_STARS):
        rows = good[start : start + _BLOCK_STARS]
        out[rows] = _quantiles(
            parallax[rows].astype(float), error[rows].astype(float), scale_length
        )
    return out


def _quantiles(parallax: Array, error: Array, scale: float) -> Array:
    farthest = _FARTHEST * scale
    nearest = np.minimum(1 / np.maximum(parallax + _WIDTH * error, 1 / farthest), 0.5 * farthest)
    # At 1e-3 L the prior leaves nothing, however large the error.
    nearest = np.maximum(nearest, np.minimum(1e-3 * scale, 0.5 / np.maximum(parallax, 1e-9)))
    far = 1 / np.maximum(parallax - _WIDTH * error, 1 / farthest)
    far = np.maximum(np.minimum(far, farthest), nearest * 1.0001)
    step = np.log(far / nearest) / (_NODES - 1)
    log_r = np.log(nearest)[:, None] + step[:, None] * np.arange(_NODES)
    r = np.exp(log_r)
    # r^3, not r^2: the nodes are even in ln r.
    log_p = 3 * log_r - r / scale - 0.5 * ((parallax[:, None] - 1 / r) / error[:, None]) ** 2
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    total = np.zeros_like(p)
    np.cumsum(0.5 * (p[:, 1:] + p[:, :-1]), axis=1, out=total[:, 1:])
    total /= total[:, -1:]
    return np.stack([_inverse(total, log_r, q) for q in _QUANTILES], axis=1)


def _inverse(total: Array, log_r: Array, quantile: float) -> Array:
    """Distance at which the cumulative posterior reaches a quantile, linear between nodes."""
    after = np.clip((total < quantile).sum(axis=1), 1, total.shape[1] - 1)
    rows = np.arange(len(total))
    low, high = total[rows, after - 1], total[rows, after]
    part = (quantile - low) / np.maximum(high - low, 1e-300)
    return np.asarray(
        np.exp(log_r[rows, after - 1] + part * (log_r[rows, after] - log_r[rows, after - 1]))
    )
