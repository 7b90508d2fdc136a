"""The width of the errors of predictions, seen through the errors of references (deconvolution).

residual = error of the prediction + error of the reference. The second is Gaussian and known
per star; the first follows Student's t distribution, with a scale in units of the predicted
sigma: real errors have tails, and a Gaussian in their place would count the references' errors
twice. A t distribution is a mixture of Gaussians of different widths, so the sum of both errors
is one too, and its likelihood a short sum.

Legend: N star, L label, W node of the mixture.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # optimize is loaded when it is first used: it takes a third of a second
from scipy import special

from distcnn.arrays import Array
from distcnn.stats import WITHIN_68

DEGREES_OF_FREEDOM = (3.0, 5.0, 8.0, 15.0, 100.0)
"""Of Student's t, those that are tried; the last is a Gaussian for all that matters."""
MIXTURE_NODES = 20
"""Gaussians that stand for one t distribution."""
_OUTLIER_VARIANCES = np.array([10.0, 40.0]) ** 2
_OUTLIER_SHARE = 0.005
MIXTURE_WEIGHTS = np.append(
    np.full(MIXTURE_NODES, (1 - 2 * _OUTLIER_SHARE) / MIXTURE_NODES), [_OUTLIER_SHARE] * 2
)
"""[W] of the Gaussians of ``mixture_with_outliers``."""
MIN_SCALE, MAX_SCALE = 0.02, 50.0
"""Bounds of the fitted scale, in units of the predicted sigma."""
MAX_LOG_VARIANCE = 0.5
"""Of ln scale: beyond, a predictive interval is no wider, for nothing is known."""
MIN_STARS_FOR_SCALE = 20
"""Stars without which no scale is fitted."""
CLIP_SIGMA = 8.0
"""Residuals are cut here, in units of their expected width: no likelihood may hang on one star."""


@dataclass(frozen=True)
class ReferenceResiduals:
    """Residuals [N, L] against references, with the two errors that make them.

    Attributes
    ----------
    residual : prediction minus reference, NaN = unknown.
    predicted_sigma : error of the prediction as the network gives it, uncalibrated.
    reference_error : error of the reference.
    """

    residual: Array
    predicted_sigma: Array
    reference_error: Array

    def take(self, rows: Array) -> "ReferenceResiduals":
        """Those of the stars at ``rows``."""
        return ReferenceResiduals(
            self.residual[rows], self.predicted_sigma[rows], self.reference_error[rows]
        )

    def rescaled(self, factor: Array) -> "ReferenceResiduals":
        """The same with the predicted sigma multiplied."""
        return ReferenceResiduals(
            self.residual, self.predicted_sigma * factor, self.reference_error
        )

    @property
    def known(self) -> Array:
        """[N, L] bool: the residual and both errors are known."""
        whole = np.isfinite(self.residual + self.predicted_sigma + self.reference_error)
        return np.asarray(whole & (self.predicted_sigma > 0))

    def effective_stars(self) -> Array:
        """[N, L] effective number of stars that each is, (s_pred^2 / (s_pred^2 + s_ref^2))^2.

        The noisier the reference, the less its residual tells of the prediction's own error.
        """
        ratio = self.reference_error / np.maximum(self.predicted_sigma, 1e-30)
        return np.where(self.known, np.square(1 / (1 + np.square(ratio))), 0.0)

    def degrees_of_freedom(self) -> Array:
        """[L] of ``DEGREES_OF_FREEDOM``, those that explain the residuals best."""
        labels = self.residual.shape[1]
        return np.array([_best_degrees(*self._column(k)) for k in range(labels)])

    def scales(self, degrees: Array) -> Array:
        """[L] factor on the predicted sigma that holds 68.3 % of the errors; NaN for few stars.

        ``degrees`` : [L] degrees of freedom of the errors.
        """
        columns = (self._column(k) for k in range(self.residual.shape[1]))
        found = [_scale(*column, nu) for column, nu in zip(columns, degrees, strict=True)]
        return np.array(found)

    def _column(self, k: int) -> tuple[Array, Array, Array]:
        good = self.known[:, k]
        arrays = (self.residual, self.predicted_sigma, self.reference_error)
        residual, sigma, error = (array[good, k].astype(np.float64) for array in arrays)
        most = CLIP_SIGMA * np.hypot(sigma, error)
        return np.clip(residual, -most, most), sigma, error


def _best_degrees(residual: Array, sigma: Array, error: Array) -> float:
    if len(residual) < MIN_STARS_FOR_SCALE:
        return DEGREES_OF_FREEDOM[-1]
    costs = [_fit(residual, sigma, error, degrees)[1] for degrees in DEGREES_OF_FREEDOM]
    return DEGREES_OF_FREEDOM[int(np.argmin(costs))]


def _scale(residual: Array, sigma: Array, error: Array, degrees: float) -> float:
    if len(residual) < MIN_STARS_FOR_SCALE:
        return np.nan
    return _fit(residual, sigma, error, degrees)[0] * half_width(degrees)


@lru_cache(maxsize=len(DEGREES_OF_FREEDOM))
def mixture_variances(degrees: float) -> Array:
    """[W] variances of the Gaussians that a t distribution is made of, equally common.

    The variance of each is an inverse gamma variate (that is what makes the mixture a t), so its
    quantiles at evenly spaced probabilities are the nodes.
    """
    probabilities = (np.arange(MIXTURE_NODES) + 0.5) / MIXTURE_NODES
    return np.asarray(1 / (special.gammaincinv(degrees / 2, probabilities) * (2 / degrees)))


def mixture_with_outliers(degrees: float) -> Array:
    """[W] the same and those of few stars far out (``MIXTURE_WEIGHTS``), for likelihoods.

    The widest of the Gaussians that stand for a t distribution ends where real tails do not: a
    wrong reference, beyond all of them, would widen the errors of all stars that are like it.
    """
    return np.concatenate([mixture_variances(degrees), _OUTLIER_VARIANCES])


@lru_cache(maxsize=256)
def half_width(degrees: float, log_variance: float = 0.0, within: float = WITHIN_68) -> float:
    """Half the width of the interval that holds 68.3 % of the mixture, or the part ``within``.

    ``log_variance`` : variance of the logarithm of the scale, where that is not known better: the
    interval then holds that part on average over what the scale may be (a predictive interval).
    """
    log_variance = min(log_variance, MAX_LOG_VARIANCE)
    nodes = special.ndtri((np.arange(MIXTURE_NODES) + 0.5) / MIXTURE_NODES)
    scales = np.exp(np.sqrt(log_variance) * nodes)
    widths = (np.sqrt(mixture_variances(degrees))[:, None] * scales).ravel()
    excess = lambda x: float((2 * special.ndtr(x / widths) - 1).mean()) - within  # noqa: E731
    return float(scipy.optimize.brentq(excess, 0.05, 50.0))


def _fit(residual: Array, sigma: Array, error: Array, degrees: float) -> tuple[float, float]:
    """(scale of the t distribution, negative log likelihood of the best fit)."""
    mixture = mixture_with_outliers(degrees)
    square, noise, predicted = residual[:, None] ** 2, error[:, None] ** 2, sigma[:, None] ** 2

    def cost(log_scale: float) -> float:
        variance = np.exp(2 * log_scale) * predicted * mixture + noise
        each = np.exp(-0.5 * square / variance) / np.sqrt(variance)
        return float(-np.log(np.maximum(each @ MIXTURE_WEIGHTS, 1e-300)).sum())

    bounds = (np.log(MIN_SCALE), np.log(MAX_SCALE))
    best = scipy.optimize.minimize_scalar(
        cost, bounds=bounds, method="bounded", options={"xatol": 2e-3}
    )
    return float(np.exp(best.x)), float(best.fun)
