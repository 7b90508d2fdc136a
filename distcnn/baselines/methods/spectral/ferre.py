"""Grid search and interpolation in the manner of FERRE (Allende Prieto et al. 2006, ApJ 636, 804).

FERRE searches the least chi-square in a regular grid of synthetic spectra, kept as principal
components, between whose nodes it interpolates. Here the spectrum of a node is made of training
stars: the quadratic polynomial of all of them, and what those near the node differ from it. The
search begins at the best node and goes on between the nodes with quadratic interpolation.

Legend: B star of a batch, P pixel, A axis of the grid, C component, Q corner: 3^A of them.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import LabelledStars
from distcnn.baselines.methods.spectral.model_fit import FittedModel
from distcnn.baselines.methods.spectral.spectra import LabelAxes, Spectra, complete_stars
from distcnn.baselines.steps import UNTOLD, Steps
from distcnn.model.quadratic_spectra import QuadraticSpectra, likeliest_variance

MAX_AXES = 4
NODES = {1: 17, 2: 13, 3: 9, 4: 7}
"""Nodes along every axis of a grid of so many axes."""
COMPONENTS = 40
KERNEL_WIDTH = 0.7
"""Distance from a node at which a star counts 0.6, in distances between nodes."""
LEAST_STARS = 3.0
"""Stars at which a node is drawn halfway from the polynomial to what they differ from it."""
FITTED_STARS = 4000
"""Training stars of which the scatter about the grid is measured."""


@dataclass(frozen=True)
class Ferre:
    """``nodes`` [A] ascending positions per axis, ``table`` [nodes..., C], ``basis`` [C, P]."""

    nodes: tuple[Array, ...]
    table: Array
    basis: Array
    mean: Array
    variance: Array

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> FittedModel:
        """Make the grid of stars that have every label; at most ``MAX_AXES`` axes of labels."""
        spectra, labels, axes = complete_stars(training, MAX_AXES)
        with steps.step("grid", len(labels), "stars") as advance:
            bare = cls.of(spectra, labels, axes)
            advance(len(labels))
        some = slice(0, FITTED_STARS)
        variance = likeliest_variance(
            spectra.flux[some], spectra.weight[some], bare.flux(labels[some])
        )
        model = cls(bare.nodes, bare.table, bare.basis, bare.mean, variance)
        return FittedModel(model, axes, _positions(model.nodes))

    @classmethod
    def of(cls, spectra: Spectra, labels: Array, axes: LabelAxes) -> "Ferre":
        """The grid of spectra [N, P] with labels [N, A] as numbers, without scatter."""
        count = labels.shape[1]
        nodes = tuple(
            np.linspace(low, high, NODES[count])
            for low, high in zip(axes.low, axes.high, strict=True)
        )
        smooth = QuadraticSpectra.of(spectra.flux, spectra.weight, labels)
        where = _positions(nodes)
        step = np.array([line[1] - line[0] for line in nodes])
        flux = smooth.flux(where) + _differences(spectra, labels, smooth, where, step)
        mean = flux.mean(axis=0)
        _, _, basis = np.linalg.svd(flux - mean, full_matrices=False)
        basis = basis[:COMPONENTS]
        table = ((flux - mean) @ basis.T).reshape(*(len(line) for line in nodes), -1)
        return cls(nodes, table, basis, mean, np.zeros(flux.shape[1]))

    def flux(self, labels: Array) -> Array:
        """[B, P] spectra of labels [B, A] as numbers."""
        first, weight, _ = self._weights(labels)
        whole = np.ones((len(labels), 1))
        for axis in range(weight.shape[1]):
            whole = (whole[:, :, None] * weight[:, axis, None, :]).reshape(len(labels), -1)
        coefficients = np.einsum("bq,bqc->bc", whole, self._corners(first), optimize=True)
        return np.asarray(coefficients @ self.basis + self.mean)

    def jacobian(self, labels: Array) -> Array:
        """[B, P, A] derivatives by the labels."""
        first, weight, slope = self._weights(labels)
        corners = self._corners(first)
        parts = []
        for number in range(weight.shape[1]):
            whole = np.ones((len(labels), 1))
            for axis in range(weight.shape[1]):
                each = slope[:, axis] if axis == number else weight[:, axis]
                whole = (whole[:, :, None] * each[:, None, :]).reshape(len(labels), -1)
            found = np.einsum("bq,bqc->bc", whole, corners, optimize=True)
            parts.append(found @ self.basis)
        return np.stack(parts, axis=2)

    def _weights(self, labels: Array) -> tuple[Array, Array, Array]:
        """First of three nodes [B, A], their weights and these weights' derivatives [B, A, 3]."""
        columns = zip(labels.T, self.nodes, strict=True)
        parts = [interpolation_weights(column, line) for column, line in columns]
        first, weight, slope = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
        return first, weight, slope

    def _corners(self, first: Array) -> Array:
        """[B, Q, C] components at the nodes around each star."""
        shape = self.table.shape[:-1]
        stride = np.cumprod((1, *shape[:0:-1]))[::-1]
        place = (first * stride).sum(axis=1)[:, None] + self._offsets @ stride
        return np.asarray(self.table.reshape(-1, self.table.shape[-1])[place])

    @cached_property
    def _offsets(self) -> Array:
        return np.array(list(product(range(3), repeat=len(self.nodes))))


def interpolation_weights(values: Array, nodes: Array) -> tuple[Array, Array, Array]:
    """Quadratic interpolation among equidistant nodes: the three nodes about each value.

    Returns
    -------
    first [B], number of the first node; weights [B, 3]; derivatives of the weights [B, 3].
    """
    step = nodes[1] - nodes[0]
    first = np.clip(np.rint((values - nodes[0]) / step).astype(int) - 1, 0, len(nodes) - 3)
    t = (values - nodes[first + 1]) / step
    weight = np.stack([t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2], axis=1)
    slope = np.stack([t - 0.5, -2 * t, t + 0.5], axis=1) / step
    return first, weight, slope


def _positions(nodes: tuple[Array, ...]) -> Array:
    """[T, A] labels of all nodes, the last axis fastest."""
    return np.stack([part.ravel() for part in np.meshgrid(*nodes, indexing="ij")], axis=1)


def _differences(
    spectra: Spectra, labels: Array, smooth: QuadraticSpectra, where: Array, step: Array
) -> Array:
    """[T, P] mean difference from the polynomial of stars near nodes, drawn to 0 where few are."""
    residual = np.where(spectra.weight > 0, spectra.flux - smooth.flux(labels), 0.0)
    scaled, at = labels / (step * KERNEL_WIDTH), where / (step * KERNEL_WIDTH)
    square = (at**2).sum(axis=1)[:, None] + (scaled**2).sum(axis=1) - 2 * at @ scaled.T
    kernel = np.exp(-0.5 * np.maximum(square, 0.0))
    return np.asarray(kernel @ residual / (kernel.sum(axis=1, keepdims=True) + LEAST_STARS))
