"""Spectra as a quadratic polynomial of labels: pixel by pixel, with a scatter of its own.

The model of The Cannon (Ness et al. 2015, ApJ 808, 16). Training is closed: given the scatter of a
pixel its coefficients are those of a weighted linear regression, and the scatter is that of
greatest likelihood among trial values.

Legend: N star, P pixel, K label as a number without unit, T term of the polynomial.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array

ROUNDS = 3
"""Times that coefficients and scatter are fitted in turn."""
SCATTERS = np.concatenate([[0.0], np.geomspace(1e-4, 0.3, 24)])
"""Trial values of a pixel's scatter, in units of the flux."""


@dataclass(frozen=True)
class QuadraticSpectra:
    """``coefficients`` [P, T] of ``quadratic_terms``, and ``variance`` [P] = scatter^2."""

    coefficients: Array
    variance: Array

    @classmethod
    def of(
        cls, flux: Array, weight: Array, labels: Array, *, most: int | None = None
    ) -> "QuadraticSpectra":
        """The model of spectra with labels [N, K].

        Parameters
        ----------
        flux, weight : [N, P], weight = 1 / error^2, both 0 where nothing is known.
        most : stars of which the scatter is found; None = all.
        """
        terms, some = quadratic_terms(labels), slice(0, most)
        variance = np.zeros(flux.shape[1])
        for _ in range(ROUNDS):
            coefficients = regress(terms, flux, weight_with(weight, variance))
            variance = likeliest_variance(flux[some], weight[some], terms[some] @ coefficients.T)
        return cls(coefficients, variance)

    def flux(self, labels: Array) -> Array:
        """[N, P] spectra of labels [N, K]."""
        return np.asarray(quadratic_terms(labels) @ self.coefficients.T)

    def jacobian(self, labels: Array) -> Array:
        """[N, P, K] derivatives by the labels."""
        parts = [slope @ self.coefficients.T for slope in quadratic_slopes(labels)]
        return np.stack(parts, axis=2)


def quadratic_terms(labels: Array) -> Array:
    """[N, T]: 1, every label, and every product of two, squares included."""
    first, second = np.triu_indices(labels.shape[1])
    ones = np.ones((len(labels), 1))
    return np.concatenate([ones, labels, labels[:, first] * labels[:, second]], axis=1)


def quadratic_slopes(labels: Array) -> list[Array]:
    """Derivatives [N, T] of ``quadratic_terms``, by each of the K labels."""
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


def weight_with(weight: Array, variance: Array) -> Array:
    """[N, P] weights with a variance [P] of the model added to that of the noise."""
    return np.asarray(weight / (1 + weight * variance))


def likeliest_variance(flux: Array, weight: Array, model: Array) -> Array:
    """[P] scatter^2 of greatest likelihood, given the model's spectra; all [N, P]."""
    square = np.square(flux - model)
    known = weight > 0
    best, chosen = np.full(model.shape[1], np.inf), np.zeros(model.shape[1])
    for scatter in SCATTERS:
        total = weight_with(weight, scatter**2)
        minus_log = (total * square - np.log(np.where(known, total, 1.0))).sum(axis=0)
        better = minus_log < best
        best[better], chosen[better] = minus_log[better], scatter**2
    return chosen
