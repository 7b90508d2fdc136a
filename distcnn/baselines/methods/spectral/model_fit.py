"""Fit of a model of spectra to many stars at once: Levenberg-Marquardt, batched.

Legend: B star of a batch, P pixel, K label as a number (``LabelAxes``), T template.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs
from distcnn.baselines.methods.spectral.spectra import LabelAxes, Spectra

BATCH = 128
"""Stars fitted at once: their Jacobians of 800 pixels and 5 labels are then 4 MB."""
MAX_STEPS = 30
SMALL_STEP = 1e-4
"""A step below this, in standard deviations of the labels, ends the search of a star."""
FIRST_DAMPING, LOWER, RAISE, MAX_DAMPING = 1e-2, 0.2, 8.0, 1e6


class SpectralModel(Protocol):
    """Spectra as a function of labels as numbers."""

    @property
    def variance(self) -> Array:
        """[P] scatter^2 of real spectra about the model, noise apart."""
        ...

    def flux(self, labels: Array) -> Array:
        """[B, P] spectra of labels [B, K]."""
        ...

    def jacobian(self, labels: Array) -> Array:
        """[B, P, K] derivatives of the spectra by the labels."""
        ...


@dataclass(frozen=True)
class FittedModel:
    """A model of spectra as a baseline: labels of least chi-square within the range of training.

    Attributes
    ----------
    axes : what its numbers are in labels, and the range that is searched.
    starts : [T, K] labels, of which each star begins its search at the most likely ones.
    """

    model: SpectralModel
    axes: LabelAxes
    starts: Array

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels and errors from the curvature of chi-square, at most those of a flat range."""
        spectra = Spectra.of(inputs)
        templates = self.model.flux(self.starts)
        found = [
            self._fit(spectra.take(slice(start, start + BATCH)), templates)
            for start in range(0, len(spectra), BATCH)
        ]
        numbers, covariance = (np.concatenate(part) for part in zip(*found, strict=True))
        return Estimate(self.axes.labels(numbers), self.axes.errors(covariance))

    def _fit(self, spectra: Spectra, templates: Array) -> tuple[Array, Array]:
        weight = spectra.weight_with(self.model.variance)
        start = self.starts[nearest_template(spectra.flux, weight, templates)]
        low, high = self.axes.low, self.axes.high
        found = least_squares(self.model, spectra.flux, weight, start, (low, high))
        return found, curvature_inverse(self.model.jacobian(found), weight, high - low)


def nearest_template(flux: Array, weight: Array, templates: Array) -> Array:
    """[B] number of the template [T, P] of least chi-square."""
    square = weight @ np.square(templates).T - 2 * (weight * flux) @ templates.T
    return np.asarray(square.argmin(axis=1))


def least_squares(
    model: SpectralModel, flux: Array, weight: Array, start: Array, limits: tuple[Array, Array]
) -> Array:
    """[B, K] labels of least chi-square between limits, from ``start`` [B, K].

    Every star has its own damping, as in Marquardt (1963): less after a step that lowers its
    chi-square, more after one that does not and is taken back.
    """
    found = np.clip(start, *limits)
    residual = flux - model.flux(found)
    chi_square = (weight * np.square(residual)).sum(axis=1)
    damping, active = np.full(len(found), FIRST_DAMPING), np.arange(len(found))
    for _ in range(MAX_STEPS):
        jacobian = model.jacobian(found[active])
        step = damped_step(jacobian, residual[active], weight[active], damping[active])
        trial = np.clip(found[active] + step, *limits)
        left = flux[active] - model.flux(trial)
        square = (weight[active] * np.square(left)).sum(axis=1)
        better = square <= chi_square[active]
        size = np.abs(trial - found[active]).max(axis=1)
        taken = active[better]
        found[taken], residual[taken] = trial[better], left[better]
        chi_square[taken] = square[better]
        damping[active] *= np.where(better, LOWER, RAISE)
        active = active[(size > SMALL_STEP) & (damping[active] < MAX_DAMPING)]
        if not active.size:
            break
    return found


def damped_step(jacobian: Array, residual: Array, weight: Array, damping: Array) -> Array:
    """[B, K] solution of (J' W J (1 + damping)) step = J' W residual; damping on the diagonal."""
    normal = normal_matrix(jacobian, weight)
    gradient = np.einsum("bpk,bp->bk", jacobian, weight * residual, optimize=True)
    diagonal = np.einsum("bkk->bk", normal)
    # Where the spectrum tells nothing of a label its row is empty, and the label stays.
    least = 1e-9 * diagonal.max(axis=1, keepdims=True) + 1e-12
    diagonal += damping[:, None] * diagonal + least
    return np.linalg.solve(normal, gradient[..., None])[..., 0]


def normal_matrix(jacobian: Array, weight: Array) -> Array:
    """J' W J [B, K, K]."""
    return np.asarray(np.swapaxes(jacobian * weight[..., None], 1, 2) @ jacobian)


def curvature_inverse(jacobian: Array, weight: Array, width: Array) -> Array:
    """Covariance [B, K, K] of fitted labels that lie somewhere within ``width`` [K] at all.

    A flat distribution of that width has the variance width^2 / 12: what the spectrum does not
    tell has this error and no larger one.
    """
    prior = np.diag(12 / np.square(width))
    return np.linalg.inv(normal_matrix(jacobian, weight) + prior)


def spread_starts(labels: Array, count: int, seed: int) -> Array:
    """[T, K] labels of training stars, far from each other: each the farthest from all before."""
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(labels)))]
    distance = np.full(len(labels), np.inf)
    for _ in range(min(count, len(labels)) - 1):
        newest = np.square(labels - labels[chosen[-1]]).sum(axis=1)
        distance = np.minimum(distance, newest)
        chosen.append(int(distance.argmax()))
    return labels[chosen]
