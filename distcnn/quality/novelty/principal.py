"""Principal components of spectra with noise and missing pixels, and what they leave.

Probabilistic PCA: Tipping & Bishop 1999, JRSS B 61. Legend: N star, P pixel, k component.
"""

import warnings
from typing import NamedTuple

import numpy as np

from distcnn.arrays import Array


class Principal(NamedTuple):
    """``mean``, ``floor``, ``noise`` [P] and ``components`` [k, P], float32; see ``Novelty``."""

    mean: Array
    floor: Array
    noise: Array
    components: Array


def fit_principal(
    flux: Array,
    error: Array | None,
    k: int,
    *,
    model: Array | None = None,
    mean: Array | None = None,
    seed: int = 0,
) -> Principal:
    """Mean, components and floor of spectra [N, P], NaN = missing.

    Parameters
    ----------
    model, mean : [N, P] and [P] of an earlier fit: flux minus mean, for missing pixels.
    """
    star_weight, noise = _star_weights(error, flux)
    mean = _mean(flux, star_weight) if mean is None else mean
    good = np.isfinite(flux)
    residual = np.where(good, flux - mean, 0.0 if model is None else model).astype(np.float32)
    mean = mean + star_weight @ residual
    residual -= star_weight @ residual
    vectors = leading_vectors(residual * np.sqrt(star_weight)[:, None], k, seed)
    place = residual @ vectors.T
    variance = star_weight @ place**2
    square = 0.0 if error is None else np.where(np.isfinite(error), error, noise) ** 2
    if error is not None:
        variance = np.maximum(variance - star_weight @ (square @ (vectors**2).T), 0.01 * variance)
    rest = np.where(good, (residual - place @ vectors) ** 2 - square, 0.0)
    seen = np.maximum(star_weight @ good, 1e-6)
    # No model of flux is believed to better than one part in a thousand.
    least = 1e-3 * max(float(np.median(np.abs(mean))), 1e-30)
    return Principal(
        mean=mean.astype(np.float32),
        floor=np.sqrt(np.maximum(star_weight @ rest / seen, least**2)).astype(np.float32),
        noise=noise.astype(np.float32),
        components=(vectors * np.sqrt(np.maximum(variance, least**2))[:, None]).astype(np.float32),
    )


def leading_vectors(matrix: Array, k: int, seed: int) -> Array:
    """[k, P] leading right singular vectors, by subspace iteration (Halko et al. 2011)."""
    extra = min(k + 16, *matrix.shape)
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], extra))
    basis = basis.astype(np.float32)
    for _ in range(5):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    _, _, turned = np.linalg.svd(matrix @ basis, full_matrices=False)
    vectors: Array = (turned @ basis.T)[:k]
    return vectors


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
