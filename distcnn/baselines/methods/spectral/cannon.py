"""The Cannon: every pixel a quadratic polynomial of the labels, with a scatter of its own.

Ness et al. 2015 (ApJ 808, 16). Training is closed: given the scatter of a pixel its coefficients
are those of a weighted linear regression, and the scatter is that of greatest likelihood among
trial values. Inference is Gauss-Newton, damped, all stars of a batch at once.

Legend: N star, P pixel, K label as a number, T term of the polynomial.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import LabelledStars
from distcnn.baselines.methods.spectral.model_fit import FittedModel, spread_starts
from distcnn.baselines.methods.spectral.spectra import Spectra, complete_stars

STARTS = 64
ROUNDS = 3
"""Times that coefficients and scatter are fitted in turn."""
SCATTERS = np.concatenate([[0.0], np.geomspace(1e-4, 0.3, 24)])
"""Trial values of a pixel's scatter, in units of the flux."""


@dataclass(frozen=True)
class Cannon:
    """``coefficients`` [P, T] of the terms of ``design``, and ``variance`` [P] = scatter^2."""

    coefficients: Array
    variance: Array

    @classmethod
    def fit(
        cls, training: LabelledStars, validation: LabelledStars, *, seed: int = 0
    ) -> FittedModel:
        """Fit the stars that have every label; nothing is chosen on the validation split."""
        spectra, labels, axes = complete_stars(training)
        model = cls.of(spectra, labels)
        return FittedModel(model, axes, spread_starts(labels, STARTS, seed))

    @classmethod
    def of(cls, spectra: Spectra, labels: Array) -> "Cannon":
        """The model of spectra [N, P] with labels [N, K] as numbers."""
        terms = design(labels)
        variance = np.zeros(spectra.flux.shape[1])
        for _ in range(ROUNDS):
            coefficients = regress(terms, spectra.flux, spectra.weight_with(variance))
            variance = likeliest_variance(spectra, terms @ coefficients.T)
        return cls(coefficients, variance)

    def flux(self, labels: Array) -> Array:
        """[B, P] spectra of labels [B, K]."""
        return np.asarray(design(labels) @ self.coefficients.T)

    def jacobian(self, labels: Array) -> Array:
        """[B, P, K] derivatives by the labels."""
        parts = [slope @ self.coefficients.T for slope in design_slopes(labels)]
        return np.stack(parts, axis=2)


def design(labels: Array) -> Array:
    """[N, T]: 1, every label, and every product of two, squares included."""
    first, second = np.triu_indices(labels.shape[1])
    ones = np.ones((len(labels), 1))
    return np.concatenate([ones, labels, labels[:, first] * labels[:, second]], axis=1)


def design_slopes(labels: Array) -> list[Array]:
    """Derivatives [N, T] of ``design``, by each of the K labels."""
    count = labels.shape[1]
    first, second = np.triu_indices(count)
    slopes = []
    for column in range(count):
        linear = np.broadcast_to(np.arange(count) == column, labels.shape)
        products = (first == column) * labels[:, second] + (second == column) * labels[:, first]
        parts = [np.zeros((len(labels), 1)), linear, products]
        slopes.append(np.concatenate(parts, axis=1))
    return slopes


def regress(terms: Array, flux: Array, weight: Array) -> Array:
    """[P, T] coefficients of weighted least squares, every pixel by itself."""
    count = terms.shape[1]
    products = (terms[:, :, None] * terms[:, None, :]).reshape(len(terms), -1)
    normal = (weight.T @ products).reshape(-1, count, count)
    right = (weight * flux).T @ terms
    scale = np.einsum("ptt->p", normal)[:, None, None] / count
    # Columns that no star tells apart (too few stars, a label that is constant) get nothing.
    normal = normal + (1e-10 * scale + 1e-30) * np.eye(count)
    return np.linalg.solve(normal, right[..., None])[..., 0]


def likeliest_variance(spectra: Spectra, model: Array) -> Array:
    """[P] scatter^2 of greatest likelihood, given the model's spectra [N, P]."""
    square = np.square(spectra.flux - model)
    known = spectra.weight > 0
    best, chosen = np.full(model.shape[1], np.inf), np.zeros(model.shape[1])
    for scatter in SCATTERS:
        weight = spectra.weight_with(scatter**2)
        minus_log = (weight * square - np.log(np.where(known, weight, 1.0))).sum(axis=0)
        better = minus_log < best
        best[better], chosen[better] = minus_log[better], scatter**2
    return chosen
