"""Mixtures of Gaussians behind noisy measurements, whose means may run linearly with something.

Extreme deconvolution (Bovy, Hogg & Roweis 2011, Ann. Appl. Stat. 5, 1657): every star brings the
covariance of its own errors, and the components describe the stars without them. A component's
mean may depend on covariates of the star, as [M/H] does on R; an error of the covariate adds to
that of the measurement, times the slope. Fitted by expectation and maximisation.

Legend: N star, D measurement, P covariate (the first is 1), K component, G group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from distcnn.arrays import Array

_ITERATIONS = 400
_TOLERANCE = 1e-6
"""Gain of ln likelihood per star below which a fit has converged."""
_LEAST_SHARE = 1e-4
_STEP = 1e-4
"""Step of numerical derivatives, in units of a parameter's size."""


@dataclass(frozen=True)
class NoisyStars:
    """``values`` [N, D]; ``covariance`` [N, D, D] of their errors; ``covariates`` [N, P] and the
    ``covariate_error`` [N] of the second of them; ``group`` [N], below ``groups``: stars of a
    group share how often the components occur among them.
    """

    values: Array
    covariance: Array
    covariates: Array
    covariate_error: Array
    group: Array
    groups: int = 1

    @classmethod
    def of(cls, values: Array, covariance: Array) -> "NoisyStars":
        """Stars of one group without covariates."""
        count = len(values)
        return cls(
            values, covariance, np.ones((count, 1)), np.zeros(count), np.zeros(count, np.int64)
        )

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Mixture:
    """Components of a mixture.

    ``share`` [G, K]: fraction of a group's stars. ``mean`` [K, D, P]: coefficients of the means.
    ``covariance`` [K, D, D]: intrinsic. ``log_likelihood``: of the stars that it was fitted to,
    summed, ``stars`` of them. ``groups_seen``: groups that have stars.
    """

    share: Array
    mean: Array
    covariance: Array
    log_likelihood: float
    stars: int
    groups_seen: int = 1

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz 1978, Ann. Stat. 6, 461); less is better."""
        count, size, covariates = self.mean.shape
        own = size * covariates + size * (size + 1) // 2
        free = count * own + self.groups_seen * (count - 1)
        return float(-2 * self.log_likelihood + free * np.log(self.stars))


def fit_mixture(stars: NoisyStars, start: Sequence[Mixture]) -> Mixture:
    """The most likely of the mixtures that expectation and maximisation reach from ``start``."""
    return max((_climb(stars, one) for one in start), key=lambda found: found.log_likelihood)


def one_component(stars: NoisyStars) -> Mixture:
    """Where a single component starts: the stars as they are seen, all of one kind."""
    return split_by(stars, np.zeros(len(stars), np.int64), 1)


def split_by(stars: NoisyStars, kind: Array, components: int) -> Mixture:
    """Where a mixture starts: the stars of each ``kind`` [N] make a component.

    A component of too few stars to have a width begins with that of all.
    """
    size, covariates = stars.values.shape[1], stars.covariates.shape[1]
    whole = np.atleast_2d(np.cov(stars.values.T)) + 1e-8 * np.eye(size)
    mean, covariance, share = [], [], []
    for number in range(components):
        inside = kind == number
        coefficients = np.zeros((size, covariates))
        coefficients[:, 0] = stars.values[inside].mean(axis=0) if inside.any() else 0.0
        mean.append(coefficients)
        few = inside.sum() < 3 * size
        covariance.append(whole if few else np.atleast_2d(np.cov(stars.values[inside].T)))
        share.append(max(inside.mean(), 0.02))
    shares = np.tile(np.array(share) / np.sum(share), (stars.groups, 1))
    seen = len(np.unique(stars.group))
    return Mixture(shares, np.array(mean), np.array(covariance), -np.inf, len(stars), seen)


def memberships(stars: NoisyStars, mixture: Mixture) -> Array:
    """Probability of each star to belong to each component, [N, K]."""
    log_p = _log_densities(stars, mixture)
    return np.asarray(np.exp(log_p - _log_sum(log_p)[:, None]))


def slope_errors(stars: NoisyStars, mixture: Mixture) -> Array:
    """Standard errors of ``mean``, [K, D, P], all other parameters free as well.

    From the outer product of the gradients of single stars' likelihoods (Berndt, Hall, Hall &
    Hausman 1974), which holds where the number of stars is large.
    """
    flat = _flat(mixture)
    scale = np.maximum(np.abs(flat), 0.05)
    columns = []
    for number in range(len(flat)):
        step = np.zeros(len(flat))
        step[number] = _STEP * scale[number]
        up, down = (
            _log_sum(_log_densities(stars, _unflat(mixture, flat + s))) for s in (step, -step)
        )
        columns.append((up - down) / (2 * step[number]))
    gradient = np.stack(columns, axis=1)
    covariance = np.linalg.pinv(gradient.T @ gradient)
    count = mixture.mean.size
    return np.asarray(np.sqrt(np.diag(covariance)[:count]).reshape(mixture.mean.shape))


def _flat(mixture: Mixture) -> Array:
    """Free parameters: means, lower triangles of covariances, ln of shares over the last one's."""
    rows, columns = np.tril_indices(mixture.covariance.shape[1])
    share = np.log(np.maximum(mixture.share, _LEAST_SHARE))
    return np.concatenate(
        [
            mixture.mean.ravel(),
            mixture.covariance[:, rows, columns].ravel(),
            (share[:, :-1] - share[:, -1:]).ravel(),
        ]
    )


def _unflat(like: Mixture, flat: Array) -> Mixture:
    size = like.covariance.shape[1]
    rows, columns = np.tril_indices(size)
    mean, rest = np.split(flat, [like.mean.size])
    triangles, ratios = np.split(rest, [len(like.mean) * len(rows)])
    covariance = np.zeros_like(like.covariance)
    covariance[:, rows, columns] = triangles.reshape(len(like.mean), -1)
    covariance[:, columns, rows] = covariance[:, rows, columns]
    share = np.exp(np.pad(ratios.reshape(len(like.share), -1), ((0, 0), (0, 1))))
    return replace(
        like,
        mean=mean.reshape(like.mean.shape),
        covariance=covariance,
        share=share / share.sum(axis=1, keepdims=True),
    )


def _climb(stars: NoisyStars, mixture: Mixture) -> Mixture:
    before = -np.inf
    floor = 1e-6 * np.eye(stars.values.shape[1]) * np.var(stars.values, axis=0)
    for _ in range(_ITERATIONS):
        log_p = _log_densities(stars, mixture)
        total = _log_sum(log_p)
        now = float(total.sum())
        if now - before < _TOLERANCE * len(stars):
            break
        before = now
        mixture = _maximised(stars, mixture, np.exp(log_p - total[:, None]), floor)
    return replace(mixture, log_likelihood=float(_log_sum(_log_densities(stars, mixture)).sum()))


def _maximised(stars: NoisyStars, mixture: Mixture, belongs: Array, floor: Array) -> Mixture:
    means, covariances = [], []
    for number, weight in enumerate(belongs.T):
        inverse, residual, _ = _noisy(stars, mixture, number)
        gain = mixture.covariance[number] @ inverse
        # What the star is expected to be without its error, and what remains unknown of it.
        expected = stars.values - residual + np.einsum("nij,nj->ni", gain, residual)
        unknown = mixture.covariance[number] - gain @ mixture.covariance[number]
        weighted = stars.covariates * weight[:, None]
        normal = weighted.T @ stars.covariates + 1e-9 * np.eye(stars.covariates.shape[1])
        mean = np.linalg.solve(normal, weighted.T @ expected).T
        rest = expected - stars.covariates @ mean.T
        spread = np.einsum("n,ni,nj->ij", weight, rest, rest)
        spread += np.einsum("n,nij->ij", weight, unknown)
        means.append(mean)
        covariances.append(spread / max(float(weight.sum()), 1e-9) + floor)
    share = np.stack([np.bincount(stars.group, w, stars.groups) for w in belongs.T], axis=1)
    share = np.maximum(share, _LEAST_SHARE)
    return replace(
        mixture,
        mean=np.array(means),
        covariance=np.array(covariances),
        share=share / share.sum(axis=1, keepdims=True),
    )


def _noisy(stars: NoisyStars, mixture: Mixture, number: int) -> tuple[Array, Array, Array]:
    """Of one component with the stars' errors: inverse covariance, residual, ln determinant."""
    residual = stars.values - stars.covariates @ mixture.mean[number].T
    total = mixture.covariance[number] + stars.covariance
    if stars.covariates.shape[1] > 1:
        slope = mixture.mean[number][:, 1]
        total = total + np.outer(slope, slope) * (stars.covariate_error**2)[:, None, None]
    inverse, determinant = _inverse(total)
    return inverse, residual, np.log(determinant)


def _inverse(matrix: Array) -> tuple[Array, Array]:
    """Inverses and determinants of [N, D, D]; of the usual sizes without a library's loop."""
    if matrix.shape[1] == 1:
        return 1 / matrix, matrix[:, 0, 0]
    if matrix.shape[1] == 2:
        a, b, c = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
        determinant = np.maximum(a * c - b * b, 1e-300)
        inverse = np.array([[c, -b], [-b, a]]).transpose(2, 0, 1) / determinant[:, None, None]
        return inverse, determinant
    return np.linalg.inv(matrix), np.linalg.det(matrix)


def _log_densities(stars: NoisyStars, mixture: Mixture) -> Array:
    """Ln of share times density, [N, K]."""
    columns = []
    for number in range(len(mixture.mean)):
        inverse, residual, log_determinant = _noisy(stars, mixture, number)
        square = np.einsum("ni,nij,nj->n", residual, inverse, residual)
        constant = residual.shape[1] * np.log(2 * np.pi)
        columns.append(-0.5 * (square + log_determinant + constant))
    return np.asarray(np.stack(columns, axis=1) + np.log(mixture.share)[stars.group])


def _log_sum(log_p: Array) -> Array:
    most = log_p.max(axis=1)
    return np.asarray(most + np.log(np.exp(log_p - most[:, None]).sum(axis=1)))
