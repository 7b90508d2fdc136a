"""Novelty: how unlike every training spectrum a spectrum is, one star at a time.

Training spectra are described by a mean, a few principal components and a floor: the residual
of each pixel that noise does not explain. A star is fitted with the components (maximum a
posteriori, missing pixels left out). Four measures are compared with training stars of the same
noise: what remains in units of its noise, its worst pixel, how far its components lie from the
training stars', and how few training stars have such components together. The largest is the
score: a blend or a carbon star has components that are usual one by one. Probabilistic PCA:
Tipping & Bishop 1999, JRSS B 61.
"""

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.training_density import TrainingDensity

_BLOCK_STARS = 512  # stars at once: keeps the weighted normal equations in cache
_MAX_TRAINING_STARS = 20_000  # training stars that the components are fitted to
_KEPT_FRACTION = 0.97  # of the training stars are kept for the second pass: the rest may be damaged
_DENSITY_COMPONENTS, _MAX_DENSITY_STARS = (1, 3, 6), 6000
"""Mixtures that are tried for the density of components, and most stars they are fitted to."""
_DENSITY = "density."
LEAST_SPARSENESS = 1e-3  # where the density is as high as it can be
# Quantiles of the typical weight: fine at the end where the floor outweighs the noise.
_WEIGHT_QUANTILES = (0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97, 1)


@dataclass(frozen=True)
class Novelty:
    """Reference for spectra.

    Attributes
    ----------
    mean, floor : [P] mean spectrum; standard deviation of a pixel beyond the components and noise.
    noise : [P] typical error of a pixel, used where a star has flux but no error.
    components : [k, P] principal components times the standard deviation of training stars.
    grid : [G] ln of the typical weight (1 / variance) of a pixel of ``reference_moments``.
    reference_moments : [G, 2, M] median, spread (axis 1) of the measures (axis 2) in training.
    threshold : raw score that counts as 1.
    density : of the components of training stars; None of few stars, and in packages made before
        it was, which have three measures.
    """

    mean: Array
    floor: Array
    noise: Array
    components: Array
    grid: Array
    reference_moments: Array
    threshold: float = 1.0
    density: TrainingDensity | None = None

    @classmethod
    def fit(
        cls, flux: Array, flux_error: Array | None, components: int, *, seed: int = 0
    ) -> "Novelty":
        """Fit to training spectra [N, P], NaN = missing, in two passes.

        The second pass fills missing pixels from the first fit and leaves out the most
        unusual 3 %, so that damaged spectra in training do not become the norm.
        """
        rows = np.random.default_rng(seed).permutation(len(flux))[:_MAX_TRAINING_STARS]
        rows.sort()
        flux = flux[rows].astype(np.float32)
        error = _rows(flux_error, rows)
        components = max(1, min(components, len(flux) // 8, flux.shape[1] // 2))
        first = _principal(flux, error, first=None, k=components, seed=seed)
        first = _with_reference_moments(first, flux, error)
        score = first.score(flux, error)
        usable = np.isfinite(score)
        kept = usable & (score <= np.quantile(score[usable], _KEPT_FRACTION))
        flux, error = flux[kept], _rows(error, kept)
        second = _principal(flux, error, first=first, k=components, seed=seed)
        fitted = TrainingDensity.fit(
            second.fitted_components(flux, error),
            seed=seed,
            components=_DENSITY_COMPONENTS,
            stars=_MAX_DENSITY_STARS,
        )
        return _with_reference_moments(replace(second, density=fitted), flux, error)

    def measures(self, flux: Array, flux_error: Array | None) -> tuple[Array, Array]:
        """[N, 3] ln of reduced chi2, of worst pixel, of distance per component, and with a density
        a fourth, ln of how far ln density is below its bound per component; [N] ln weight.
        """
        blocks = [
            self._block(
                flux[start : start + _BLOCK_STARS],
                _rows(flux_error, slice(start, start + _BLOCK_STARS)),
            )
            for start in range(0, max(len(flux), 1), _BLOCK_STARS)
        ]
        measures, weight = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return measures, weight

    def _block(self, flux: Array, flux_error: Array | None) -> tuple[Array, Array]:
        weight, residual = self._weights(flux, flux_error)
        fitted = self._fit(weight, residual)
        square = residual - fitted @ self.components
        square *= square
        square *= weight
        valid = (weight > 0).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = (square.sum(axis=1) / valid, square.max(axis=1), (fitted**2).mean(axis=1))
            measures = np.log(np.stack(means, axis=1))
            if self.density is not None:
                below = self.density.bound - self.density.log_density(fitted)
                sparse = np.log(np.maximum(below / fitted.shape[1], LEAST_SPARSENESS))
                measures = np.hstack([measures, sparse[:, None].astype(measures.dtype)])
            typical = np.log(weight.sum(axis=1) / valid)
        measures[valid == 0] = np.nan
        return measures, typical

    def fitted_components(self, flux: Array, flux_error: Array | None) -> Array:
        """[N, k] components of spectra [N, P] in units of their spread."""
        blocks = [
            self._fit(*self._weights(flux[rows], _rows(flux_error, rows)))
            for start in range(0, max(len(flux), 1), _BLOCK_STARS)
            for rows in (slice(start, start + _BLOCK_STARS),)
        ]
        return np.concatenate(blocks)

    def _weights(self, flux: Array, flux_error: Array | None) -> tuple[Array, Array]:
        """Weights (0 = missing) and flux minus mean (0 = missing), float32 [N, P]."""
        floor = self.floor * self.floor
        typical = np.float32(1) / (self.noise * self.noise + floor)
        if flux_error is None:
            weight = np.tile(typical, (len(flux), 1))
        else:
            weight = np.square(flux_error, dtype=np.float32)
            weight += floor
            np.reciprocal(weight, out=weight)
            np.copyto(weight, typical, where=~(flux_error > 0))
        residual = np.subtract(flux, self.mean, dtype=np.float32)
        missing = ~np.isfinite(residual)
        np.copyto(weight, 0, where=missing)
        np.copyto(residual, 0, where=missing)
        return weight, residual

    def _fit(self, weight: Array, residual: Array) -> Array:
        """[N, k] components of each star in units of their spread, given a unit Gaussian prior."""
        k = len(self.components)
        normal = np.empty((k, k, len(weight)), np.float32)
        lower = self._products @ weight.T
        for row in range(k):
            normal[row, : row + 1] = lower[row * (row + 1) // 2 :][: row + 1]
            normal[row, row] += 1
        right = (weight * residual) @ self.components.T
        return np.ascontiguousarray(_solve_cholesky(normal, np.ascontiguousarray(right.T)).T)

    @cached_property
    def _products(self) -> Array:
        """[k (k + 1) / 2, P] products of two components, of the lower triangle row by row."""
        row, column = np.tril_indices(len(self.components))
        return np.asarray(self.components[row] * self.components[column])

    def score(self, flux: Array, flux_error: Array | None) -> Array:
        """Raw score, float32 [N]: spreads from the reference median; NaN without a valid pixel."""
        return self.deviation(*self.measures(flux, flux_error))

    def deviation(self, measures: Array, weight: Array) -> Array:
        """Raw score, float32 [N], from what ``measures`` gave, here or on another device."""
        at = np.nan_to_num(weight)
        middle, spread = (
            np.stack([np.interp(at, self.grid, column) for column in table.T], axis=1)
            for table in (self.reference_moments[:, 0], self.reference_moments[:, 1])
        )
        # A spectrum more usual than most is not novel at all: never below zero.
        deviation = np.maximum(((measures - middle) / spread).max(axis=1), 0.0)
        return np.asarray(deviation, np.float32)

    def with_threshold(self, score: Array, quantile: float) -> "Novelty":
        """The limit from raw scores of stars outside training.

        The smaller of their quantile and of what the body of the distribution leads one to
        expect: a calibration split may itself hold damaged spectra, more than 1 - quantile.
        """
        good = score[np.isfinite(score)]
        if not good.size:
            return self
        from_body = np.median(good) + _upper_spread(good) * _quantile_in_spreads(quantile)
        return replace(self, threshold=float(min(np.quantile(good, quantile), from_body)))

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        names = ("mean", "floor", "noise", "components", "grid")
        own = {} if self.density is None else self.density.to_arrays()
        return {name: getattr(self, name) for name in names} | {
            "usual": self.reference_moments,
            "threshold": np.array([self.threshold]),
            **{f"{_DENSITY}{name}": values for name, values in own.items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Novelty":
        """The reference that ``to_arrays`` described."""
        own = {
            name.removeprefix(_DENSITY): array
            for name, array in arrays.items()
            if name.startswith(_DENSITY)
        }
        values: dict[str, Any] = {
            name: array for name, array in arrays.items() if not name.startswith(_DENSITY)
        }
        values["density"] = TrainingDensity.from_arrays(own) if own else None
        values["reference_moments"] = values.pop("usual")
        return cls(**{**values, "threshold": float(arrays["threshold"][0])})


def _solve_cholesky(normal: Array, right: Array) -> Array:
    """Solutions [k, N] of normal equations [k, k, N] (lower triangles), right sides [k, N].

    Cholesky, for all stars at once: a library's solver takes longer to enter than to solve.
    Single precision will do, as components are orthogonal and no star's weights vary so much
    that they cease to be nearly so. Both arguments are overwritten.
    """
    for j in range(len(right)):
        before = normal[j, :j]
        column = normal[j:, j]
        column -= np.einsum("ikn,kn->in", normal[j:, :j], before)
        column /= np.sqrt(column[0])
        right[j] -= np.einsum("kn,kn->n", before, right[:j])
        right[j] /= normal[j, j]
    for j in reversed(range(len(right))):
        right[j] -= np.einsum("kn,kn->n", normal[j + 1 :, j], right[j + 1 :])
        right[j] /= normal[j, j]
    return right


def _rows(array: Array | None, rows: Array | slice) -> Array | None:
    return None if array is None else array[rows]


def _quantile_in_spreads(quantile: float) -> float:
    """Where a quantile lies in spreads; a quarter more, as real tails are not Gaussian."""
    return 1.25 * max(NormalDist().inv_cdf(quantile), 0.5)


def _upper_spread(values: Array) -> float:
    middle, upper = np.quantile(values, [0.5, 0.8413])
    return max(float(upper - middle), 1e-3)


def _principal(
    flux: Array, error: Array | None, *, first: Novelty | None, k: int, seed: int
) -> Novelty:
    """Mean, components and floor of spectra; the comparison with others is still empty."""
    star_weight, noise = _star_weights(error, flux)
    mean = _mean(flux, star_weight) if first is None else first.mean
    residual = _filled_residual(flux, error, mean, first)
    mean = mean + star_weight @ residual
    residual -= star_weight @ residual
    vectors = _leading_vectors(residual * np.sqrt(star_weight)[:, None], k, seed)
    place = residual @ vectors.T
    variance = star_weight @ place**2
    square = 0.0 if error is None else np.where(np.isfinite(error), error, noise) ** 2
    if error is not None:
        variance = np.maximum(variance - star_weight @ (square @ (vectors**2).T), 0.01 * variance)
    rest = np.where(np.isfinite(flux), (residual - place @ vectors) ** 2 - square, 0.0)
    seen = np.maximum(star_weight @ np.isfinite(flux), 1e-6)
    # No model of flux is believed to better than one part in a thousand.
    least = 1e-3 * max(float(np.median(np.abs(mean))), 1e-30)
    return Novelty(
        mean=mean.astype(np.float32),
        floor=np.sqrt(np.maximum(star_weight @ rest / seen, least**2)).astype(np.float32),
        noise=noise.astype(np.float32),
        components=(vectors * np.sqrt(np.maximum(variance, least**2))[:, None]).astype(np.float32),
        grid=np.zeros(1),
        reference_moments=np.stack([np.zeros((1, 3)), np.ones((1, 3))], axis=1),
    )


def _star_weights(error: Array | None, flux: Array) -> tuple[Array, Array]:
    """[N] weights of stars, summing to one: the less noisy count more; [P] typical errors."""
    if error is None:
        return np.full(len(flux), 1 / len(flux), np.float32), np.zeros(flux.shape[1], np.float32)
    with warnings.catch_warnings():
        # A pixel or star that is always missing has no median; it gets none of the weight below.
        warnings.simplefilter("ignore", RuntimeWarning)
        star, noise = np.nanmedian(error, axis=1), np.nanmedian(error, axis=0)
    typical = float(np.nanmedian(star))
    noise = np.where(np.isfinite(noise), noise, typical)
    star = np.where(np.isfinite(star), star, np.inf)
    weight = 1 / (star**2 + float(np.quantile(star, 0.2)) ** 2)
    return (weight / weight.sum()).astype(np.float32), noise


def _mean(flux: Array, star_weight: Array) -> Array:
    good = np.isfinite(flux)
    seen = star_weight @ good
    total = star_weight @ np.where(good, flux, 0.0)
    known = seen > 0
    fallback = float((total[known] / seen[known]).mean())
    return np.where(known, total / np.maximum(seen, 1e-30), fallback).astype(np.float32)


def _filled_residual(flux: Array, error: Array | None, mean: Array, first: Novelty | None) -> Array:
    """Flux minus mean, with the first fit (or nothing) where a pixel is missing."""
    good = np.isfinite(flux)
    residual = np.where(good, flux - mean, 0.0).astype(np.float32)
    if first is None:
        return residual
    for start in range(0, len(flux), _BLOCK_STARS):
        rows = slice(start, start + _BLOCK_STARS)
        weight, block = first._weights(flux[rows], _rows(error, rows))
        model = first._fit(weight, block) @ first.components
        residual[rows] = np.where(good[rows], residual[rows], model)
    return residual


def _leading_vectors(matrix: Array, k: int, seed: int) -> Array:
    """[k, P] leading right singular vectors, by subspace iteration (Halko et al. 2011)."""
    extra = min(k + 16, *matrix.shape)
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], extra))
    basis = basis.astype(np.float32)
    for _ in range(5):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    _, _, turned = np.linalg.svd(matrix @ basis, full_matrices=False)
    vectors: Array = (turned @ basis.T)[:k]
    return vectors


def _with_reference_moments(novelty: Novelty, flux: Array, error: Array | None) -> Novelty:
    """Median and spread of the measures along the typical weight of training stars."""
    measures, weight = novelty.measures(flux, error)
    good = np.isfinite(measures).all(axis=1)
    measures, weight = measures[good], weight[good]
    edges = np.quantile(weight, _WEIGHT_QUANTILES if len(weight) > 1500 else [0, 0.5, 1])
    if edges[-1] - edges[0] < 0.05:
        edges = edges[[0, -1]]
    grid, moments = [], []
    for low, high in itertools.pairwise(edges):
        inside = (weight >= low) & (weight <= high)
        columns = measures[inside].T
        grid.append(np.median(weight[inside]))
        moments.append([[np.median(c) for c in columns], [_upper_spread(c) for c in columns]])
    return replace(novelty, grid=np.array(grid), reference_moments=np.array(moments))
