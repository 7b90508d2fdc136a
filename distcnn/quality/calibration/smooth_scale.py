"""A scale of errors that varies smoothly with what is known of a star, and how well it is known.

    ln scale of star n = sum over p of basis[n, p] coefficient[p]

is fitted by penalised maximum likelihood: residuals follow Student's t with that scale, seen
through the errors of the references (``error_deconvolution``). Each penalty says that some
combinations of coefficients (differences of neighbours, say) are Gaussian around zero, with a
width that the residuals tell (expectation maximisation), as far as there are enough of them; few
stars leave the scale flat. The curvature of the likelihood gives the covariance of the
coefficients, so the uncertainty of the scale at any star. Fisher scoring; the expected information
of a t distribution on ln scale is 2 nu / (nu + 3) per star (Lange, Little & Taylor 1989, JASA 84).

Legend: N star, P coefficient, R penalised combination, W node of the mixture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.calibration.error_deconvolution import (
    CLIP_SIGMA,
    DEGREES_OF_FREEDOM,
    MAX_SCALE,
    MIN_SCALE,
    MIXTURE_WEIGHTS,
    mixture_with_outliers,
)

MAX_STEP = 0.5
"""Largest change of ln scale of a star in one step."""
LOOSE_SPREAD = 2.0
"""Spread of every coefficient that no star and no penalty tells of: errors are then what the
network says, rather than nothing or anything."""
ROUNDS, STEPS = 5, 2
"""Times that the widths of penalties are found again; steps of scoring in between."""
MAX_STARS_FOR_DEGREES = 4000
"""Stars, evenly taken, that degrees of freedom are found with."""
LEAST_GAP = 1e-3
"""Between nodes at quantiles, in units of what they span."""


@dataclass(frozen=True)
class Penalty:
    """``combinations`` [R, P] of coefficients are Gaussian around zero.

    ``width`` : what their spread is taken to be before the residuals are looked at, as if
    ``weight`` combinations had told it.
    """

    combinations: Array
    width: float
    weight: float = 2.0


@dataclass(frozen=True)
class Residuals:
    """Of N stars, one label: residual, predicted sigma, error of the reference; all finite."""

    residual: Array
    sigma: Array
    error: Array

    @classmethod
    def clipped(cls, residual: Array, sigma: Array, error: Array) -> "Residuals":
        """Cut where no likelihood may hang on one star."""
        most = CLIP_SIGMA * np.hypot(sigma, error)
        return cls(np.clip(residual, -most, most), sigma, error)


@dataclass(frozen=True)
class SmoothScale:
    """Coefficients [P] of the ln scale of a t distribution, and their covariance [P, P]."""

    coefficients: Array
    covariance: Array
    degrees: float

    def variance(self, basis: Array) -> Array:
        """Variance [N] of ln scale at stars of that basis [N, P]."""
        return np.asarray(np.einsum("np,pq,nq->n", basis, self.covariance, basis))


def fit_scale(
    found: Residuals,
    basis: Array,
    penalties: Sequence[Penalty],
    *,
    offset: Array | float = 0.0,
    degrees: float | None = None,
) -> SmoothScale:
    """Fit coefficients, widths of the penalties and, unless given, degrees of freedom.

    Parameters
    ----------
    basis : [N, P].
    offset : [N] known part of ln scale.
    """
    nu = degrees or DEGREES_OF_FREEDOM[1]
    start = np.zeros(basis.shape[1])
    for _ in range(1 if degrees else 2):
        start, covariance = _fit(found, basis, penalties, offset=offset, degrees=nu, start=start)
        if not degrees:
            nu = _best_degrees(found, basis @ start + offset)
    return SmoothScale(start, covariance, nu)


def _fit(
    found: Residuals,
    basis: Array,
    penalties: Sequence[Penalty],
    *,
    offset: Array | float,
    degrees: float,
    start: Array,
) -> tuple[Array, Array]:
    squares = [penalty.width**2 for penalty in penalties]
    coefficients = start
    for _ in range(ROUNDS):
        precision = _precision(penalties, squares, basis.shape[1])
        for _ in range(STEPS):
            slope, information = _score(found, basis @ coefficients + offset, degrees)
            curvature = (basis * information[:, None]).T @ basis + precision
            covariance = np.linalg.inv(curvature)
            step = covariance @ (basis.T @ slope - precision @ coefficients)
            largest = float(np.abs(basis @ step).max(initial=0.0))
            coefficients = coefficients + step * min(1.0, MAX_STEP / max(largest, 1e-12))
            coefficients = np.clip(coefficients, np.log(MIN_SCALE), np.log(MAX_SCALE))
        squares = [_square(penalty, coefficients, covariance) for penalty in penalties]
    return coefficients, covariance


def _precision(penalties: Sequence[Penalty], squares: Sequence[float], size: int) -> Array:
    whole = np.eye(size) / LOOSE_SPREAD**2
    for penalty, square in zip(penalties, squares, strict=True):
        whole += penalty.combinations.T @ penalty.combinations / square
    return whole


def _square(penalty: Penalty, coefficients: Array, covariance: Array) -> float:
    """Mean square of the penalised combinations, their uncertainty included."""
    rows = penalty.combinations
    told = np.square(rows @ coefficients).sum() + np.einsum("rp,pq,rq->", rows, covariance, rows)
    return float((told + penalty.weight * penalty.width**2) / (len(rows) + penalty.weight))


def _terms(found: Residuals, log_scale: Array, degrees: float) -> tuple[Array, Array, Array]:
    """[N, W]: log-likelihood of each Gaussian, r^2 / variance, part of the prediction in it."""
    own = np.square(np.exp(log_scale) * found.sigma)[:, None] * mixture_with_outliers(degrees)
    variance = own + np.square(found.error)[:, None]
    square = np.square(found.residual)[:, None] / variance
    return np.log(MIXTURE_WEIGHTS) - 0.5 * (square + np.log(variance)), square, own / variance


def _score(found: Residuals, log_scale: Array, degrees: float) -> tuple[Array, Array]:
    """Slope of the log-likelihood with ln scale, and expected information on it, per star [N]."""
    log, square, share = _terms(found, log_scale, degrees)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    slope = (weight * share * (square - 1)).sum(axis=1)
    mean_share = (weight * share).sum(axis=1)
    return slope, 2 * degrees / (degrees + 3) * mean_share**2


def _best_degrees(found: Residuals, log_scale: Array) -> float:
    """Of those that are tried; each with the level of the scale that suits it."""
    some = slice(None, None, -(-len(log_scale) // MAX_STARS_FOR_DEGREES))
    log_scale = log_scale[some]
    found = Residuals(found.residual[some], found.sigma[some], found.error[some])
    losses = []
    for degrees in DEGREES_OF_FREEDOM:
        level = np.zeros(1)
        for _ in range(STEPS):
            slope, information = _score(found, log_scale + level, degrees)
            level += np.clip(slope.sum() / max(information.sum(), 1e-12), -MAX_STEP, MAX_STEP)
        log, _, _ = _terms(found, log_scale + level, degrees)
        top = log.max(axis=1)
        losses.append(-(top + np.log(np.exp(log - top[:, None]).sum(axis=1))).sum())
    return DEGREES_OF_FREEDOM[int(np.argmin(losses))]


def differences(places: Array, columns: int) -> Array:
    """[K - 1, columns] differences of the first K neighbours over the root of their distance.

    Their penalty makes a random walk along ``places`` [K], ascending.
    """
    rows = np.zeros((max(len(places) - 1, 0), columns))
    for number, gap in enumerate(np.diff(places)):
        rows[number, number : number + 2] = np.array([-1.0, 1.0]) / np.sqrt(max(gap, 1e-3))
    return rows


def nodes_at(values: Array, quantiles: Array) -> Array:
    """[K] nodes at quantiles of values [N], which differ; kept apart where values repeat.

    By a thousandth of what they span, so that they ascend in float32 too.
    """
    found: Array = np.quantile(values.astype(np.float64), quantiles)
    # Where all but a few values are alike the quantiles span nothing.
    span = max(float(found[-1] - found[0]), 0.1 * float(np.ptp(values)))
    return np.asarray(np.maximum.accumulate(found) + LEAST_GAP * span * np.arange(len(found)))


def hat_weights(at: Array, places: Array) -> Array:
    """[N, K] weights with which values at ``places`` are interpolated; constant beyond the ends."""
    one = np.eye(len(places))
    return np.stack([np.interp(at, places, row) for row in one], axis=1)
