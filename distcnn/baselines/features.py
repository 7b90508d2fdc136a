"""Inputs of a survey as the columns of a table, for regressions that are not networks."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils.extmath import randomized_svd

from distcnn.arrays import Array
from distcnn.baselines.base import Inputs

FLUX_COMPONENTS, XP_COMPONENTS = 30, 12
"""Principal components that stand for a spectrum and for XP coefficients."""
CLIP_SIGMA = 5.0
"""Bounds what a damaged pixel can do, in standard deviations of training."""


def colours(photometry: Array) -> Array:
    """[N, K]: the reference magnitude, then every later band minus the reference."""
    return np.concatenate([photometry[:, :1], photometry[:, 1:] - photometry[:, :1]], axis=1)


def distances(photometry: Array | None, parallax: Array, parallax_error: Array) -> Array:
    """[N, 2 or 3]: parallax (mas), its S/N, and absolute reference magnitude where there is one.

    A parallax below half its error counts as half its error: a limit, not a distance.
    """
    columns = [parallax, parallax / parallax_error]
    if photometry is not None:
        least = np.maximum(parallax, 0.5 * parallax_error)
        columns.append(photometry[:, 0] + 5 * np.log10(np.where(least > 0, least, np.nan)) - 10)
    return np.stack(columns, axis=1)


def spectral_shape(xp: Array) -> Array:
    """[N, C]: XP coefficients over the first, which itself stands as a magnitude-like logarithm."""
    first = np.where(xp[:, :1] > 0, xp[:, :1], np.nan)
    return np.concatenate([np.log10(first), xp[:, 1:] / first], axis=1)


def photometric_table(inputs: Inputs) -> Array:
    """[N, F] float32: magnitudes, colours and parallax; no spectrum, no XP."""
    photometry = _given(inputs, "photometry")
    parts = [] if photometry is None else [colours(photometry)]
    if _given(inputs, "parallax") is not None:
        parts.append(distances(photometry, *_parallax(inputs)))
    if not parts:
        raise ValueError("neither photometry nor parallax among the inputs")
    return np.concatenate(parts, axis=1).astype(np.float32)


def full_table(inputs: Inputs) -> Array:
    """[N, F] float32: everything that a network is given, side by side; NaN = missing."""
    parts = []
    if _given(inputs, "flux") is not None:
        parts.append(inputs["flux"])
    if _given(inputs, "xp") is not None:
        parts.append(spectral_shape(inputs["xp"]))
    if any(_given(inputs, name) is not None for name in ("photometry", "parallax")):
        parts.append(photometric_table(inputs))
    if not parts:
        raise ValueError("no input that a regression could use")
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


def _given(inputs: Inputs, name: str) -> Array | None:
    return inputs[name] if name in inputs and inputs[name].size else None


def _parallax(inputs: Inputs) -> tuple[Array, Array]:
    parallax = inputs["parallax"].reshape(-1)
    error = _given(inputs, "parallax_error")
    return parallax, np.full_like(parallax, np.nan) if error is None else error.reshape(-1)


@dataclass(frozen=True)
class Components:
    """Principal components of columns: ``mean`` [W], ``width`` [W], ``basis`` [K, W]."""

    mean: Array
    width: Array
    basis: Array

    @classmethod
    def fit(cls, values: Array, count: int, seed: int) -> "Components":
        """The first ``count`` of values [N, W]; NaN = missing counts as the mean."""
        good = np.isfinite(values)
        number = np.maximum(good.sum(axis=0), 1)
        mean = np.where(good, values, 0.0).sum(axis=0) / number
        width = np.sqrt(np.where(good, np.square(values - mean), 0.0).sum(axis=0) / number)
        bare = cls(mean, np.where(width > 0, width, 1.0), np.empty((0, len(mean))))
        scaled = bare.scaled(values)
        count = min(count, *scaled.shape)
        _, _, basis = randomized_svd(scaled, count, random_state=seed)
        return cls(bare.mean, bare.width, basis)

    def __call__(self, values: Array) -> Array:
        """[N, K] components of values [N, W]; NaN for a star of which nothing is known."""
        found = self.scaled(values) @ self.basis.T
        return np.where(np.isfinite(values).any(axis=1, keepdims=True), found, np.nan)

    def scaled(self, values: Array) -> Array:
        """Values without unit, bounded, 0 where missing."""
        scaled = np.nan_to_num((values - self.mean) / self.width, nan=0.0)
        return np.clip(scaled, -CLIP_SIGMA, CLIP_SIGMA)


@dataclass(frozen=True)
class CompressedTable:
    """All inputs as few columns: components of spectrum and XP beside the photometric table."""

    flux: Components | None
    xp: Components | None
    photometric: bool

    @classmethod
    def fit(cls, inputs: Inputs, seed: int = 0) -> "CompressedTable":
        """Of the inputs of training stars.

        Raises
        ------
        ValueError : there is no input that a regression could use.
        """
        flux, xp = _given(inputs, "flux"), _given(inputs, "xp")
        photometric = any(_given(inputs, name) is not None for name in ("photometry", "parallax"))
        if flux is None and xp is None and not photometric:
            raise ValueError("no input that a regression could use")
        return cls(
            None if flux is None else Components.fit(flux, FLUX_COMPONENTS, seed),
            None if xp is None else Components.fit(spectral_shape(xp), XP_COMPONENTS, seed),
            photometric,
        )

    def __call__(self, inputs: Inputs) -> Array:
        """[N, F] float32; NaN = missing."""
        parts = []
        if self.flux is not None:
            parts.append(self.flux(inputs["flux"]))
        if self.xp is not None:
            parts.append(self.xp(spectral_shape(inputs["xp"])))
        if self.photometric:
            parts.append(photometric_table(inputs))
        return np.concatenate(parts, axis=1).astype(np.float32)
