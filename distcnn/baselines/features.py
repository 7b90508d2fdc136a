"""Inputs of a survey as the columns of a table, for regressions that are not networks."""

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Inputs


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
