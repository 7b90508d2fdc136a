"""Deconvolve: the width of the errors of predictions, seen through the errors of references.

residual = error of the prediction + error of the reference. The second is Gaussian and known
per star; the first is t-distributed with a scale in units of what the network believes: real
errors have tails, and a Gaussian in their place would count the references' errors twice.
A t-distribution is a mixture of Gaussians of different widths, so the sum of both errors is
one too, and its likelihood a short sum.

Legend: N star, L label, W node of the mixture.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # optimize is loaded when it is first used: it takes a third of a second
from scipy import special

from distcnn.stats import WITHIN_68

Array = np.ndarray[Any, Any]

SHAPES = (3.0, 5.0, 8.0, 15.0, 100.0)
"""Degrees of freedom that are tried; the last is a Gaussian for all that matters."""
NODES = 20
NARROWEST, WIDEST = 0.02, 50.0
FEWEST = 20
"""Stars without which nothing is told."""
FAR = 8.0
"""Residuals are cut here, in units of their expected width: no likelihood may hang on one star."""


@dataclass(frozen=True)
class Residuals:
    """[N, L] prediction minus reference (NaN = unknown), what the network believes of its error,
    and the error of the reference.
    """

    residual: Array
    spread: Array
    error: Array

    def take(self, rows: Array) -> "Residuals":
        return Residuals(self.residual[rows], self.spread[rows], self.error[rows])

    def over(self, factor: Array) -> "Residuals":
        """The same with beliefs multiplied."""
        return Residuals(self.residual, self.spread * factor, self.error)

    @property
    def known(self) -> Array:
        """[N, L] bool."""
        whole = np.isfinite(self.residual + self.spread + self.error)
        return np.asarray(whole & (self.spread > 0))

    def worth(self) -> Array:
        """[N, L] what each is worth, in stars: the scale hides in what the error leaves."""
        share = 1 / (1 + np.square(self.error / np.maximum(self.spread, 1e-30)))
        return np.where(self.known, np.square(share), 0.0)

    def shapes(self) -> Array:
        """[L] the degrees of freedom that explain the residuals best."""
        return np.array([_best_shape(*self._column(k)) for k in range(self.residual.shape[1])])

    def scales(self, shapes: Array) -> Array:
        """[L] factor on the beliefs that holds 68.3 % of the errors; NaN for too few stars."""
        columns = (self._column(k) for k in range(self.residual.shape[1]))
        found = [_scale(*column, shape) for column, shape in zip(columns, shapes, strict=True)]
        return np.array(found)

    def _column(self, k: int) -> tuple[Array, Array, Array]:
        good = self.known[:, k]
        arrays = (self.residual, self.spread, self.error)
        residual, spread, error = (array[good, k].astype(np.float64) for array in arrays)
        most = FAR * np.hypot(spread, error)
        return np.clip(residual, -most, most), spread, error


def _best_shape(residual: Array, spread: Array, error: Array) -> float:
    if len(residual) < FEWEST:
        return SHAPES[-1]
    costs = [_fit(residual, spread, error, shape)[1] for shape in SHAPES]
    return SHAPES[int(np.argmin(costs))]


def _scale(residual: Array, spread: Array, error: Array, shape: float) -> float:
    if len(residual) < FEWEST:
        return np.nan
    return _fit(residual, spread, error, shape)[0] * _half_width(shape)


def _widths(shape: float) -> Array:
    """[W] variances of the Gaussians that a t-distribution is made of, equally common."""
    places = (np.arange(NODES) + 0.5) / NODES
    return np.asarray(1 / (special.gammaincinv(shape / 2, places) * (2 / shape)))


@lru_cache(maxsize=len(SHAPES))
def _half_width(shape: float) -> float:
    """Half the width of the interval that holds 68.3 % of the mixture."""
    widths = np.sqrt(_widths(shape))
    inside = lambda x: float((2 * special.ndtr(x / widths) - 1).mean()) - WITHIN_68  # noqa: E731
    return float(scipy.optimize.brentq(inside, 0.1, 10.0))


def _fit(residual: Array, spread: Array, error: Array, shape: float) -> tuple[float, float]:
    """(scale of the t-distribution, cost of the best fit)."""
    widths = _widths(shape)
    square, noise, belief = residual[:, None] ** 2, error[:, None] ** 2, spread[:, None] ** 2

    def cost(log_scale: float) -> float:
        variance = np.exp(2 * log_scale) * belief * widths + noise
        each = np.exp(-0.5 * square / variance) / np.sqrt(variance)
        return float(-np.log(np.maximum(each.sum(axis=1), 1e-300)).sum())

    bounds = (np.log(NARROWEST), np.log(WIDEST))
    best = scipy.optimize.minimize_scalar(
        cost, bounds=bounds, method="bounded", options={"xatol": 2e-3}
    )
    return float(np.exp(best.x)), float(best.fun)
