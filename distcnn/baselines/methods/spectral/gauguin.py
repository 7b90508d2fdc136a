"""Gauss-Newton steps in the manner of GAUGUIN (Bijaoui et al. 2012; Recio-Blanco et al. 2016).

Near a node the spectrum is linear in the labels, so that chi-square is least after one step,
``(J' W J)^-1 J' W (observed - model)``. GAUGUIN takes node and slopes from a grid of synthetic
spectra; here both are a linear regression among the training stars near the node. As in the
pipeline of Gaia (Recio-Blanco et al. 2023, A&A 674, A29) the labels to begin with are MATISSE's.

Legend: N star, P pixel, A label as a number, D node.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.methods.spectral.matisse import (
    Matisse,
    nearest_node,
    nearest_stars,
    place_nodes,
)
from distcnn.baselines.methods.spectral.model_fit import curvature_inverse, damped_step
from distcnn.baselines.methods.spectral.spectra import Spectra, complete_stars
from distcnn.baselines.steps import UNTOLD, Steps
from distcnn.model.quadratic_spectra import likeliest_variance, regress

STARS_PER_NODE, MAX_NODES, MIN_LOCAL_STARS = 40, 80, 120
MAX_STEPS = 5
BATCH = 256


@dataclass(frozen=True)
class LocalLinear:
    """``flux`` [D, P] at ``nodes`` [D, A] and slopes ``jacobian`` [D, P, A]; ``variance`` [P]."""

    nodes: Array
    flux: Array
    jacobian: Array
    variance: Array

    @classmethod
    def of(cls, spectra: Spectra, labels: Array, seed: int, steps: Steps = UNTOLD) -> "LocalLinear":
        """Linear regressions among spectra [N, P] with labels [N, A], node by node."""
        nodes = place_nodes(labels, STARS_PER_NODE, MAX_NODES, seed)
        parts = []
        for node in steps.over("local linear models", nodes, "nodes"):
            rows = nearest_stars(labels, node, MIN_LOCAL_STARS)
            ones = np.ones((len(rows), 1))
            terms = np.concatenate([ones, labels[rows] - node], axis=1)
            some = spectra.take(rows)
            parts.append(regress(terms, some.flux, some.weight))
        found = np.stack(parts)
        bare = cls(nodes, found[:, :, 0], found[:, :, 1:], np.zeros(spectra.flux.shape[1]))
        model = bare.spectrum(labels, nearest_node(labels, nodes))
        return cls(
            nodes, bare.flux, bare.jacobian, likeliest_variance(spectra.flux, spectra.weight, model)
        )

    def spectrum(self, labels: Array, node: Array) -> Array:
        """[N, P] spectra of labels [N, A], each by the slopes of its node [N]."""
        out = np.empty((len(labels), self.flux.shape[1]))
        for number in np.unique(node):
            rows = node == number
            slope = self.jacobian[number]
            out[rows] = self.flux[number] + (labels[rows] - self.nodes[number]) @ slope.T
        return out


@dataclass(frozen=True)
class Gauguin:
    """Steps from MATISSE's labels to those of least chi-square in local linear models."""

    first: Matisse
    model: LocalLinear

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> "Gauguin":
        """Fit stars that have every label."""
        spectra, labels, _ = complete_stars(training)
        first = Matisse.fit(training, validation, seed=seed, steps=steps)
        return cls(first, LocalLinear.of(spectra, labels, seed, steps))

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels, and errors from the curvature of chi-square."""
        spectra = Spectra.of(inputs)
        start, _ = self.first.project(spectra)
        batches = [slice(begin, begin + BATCH) for begin in range(0, len(spectra), BATCH)]
        found = [self._fit(spectra.take(rows), start[rows]) for rows in batches]
        numbers, covariance = (np.concatenate(part) for part in zip(*found, strict=True))
        axes = self.first.axes
        return Estimate(axes.labels(numbers), axes.errors(covariance))

    def _fit(self, spectra: Spectra, labels: Array) -> tuple[Array, Array]:
        """Labels [B, A] and their covariance; ends when no star changes its node."""
        axes, model = self.first.axes, self.model
        weight = spectra.weight_with(model.variance)
        node = nearest_node(labels, model.nodes)
        for _ in range(MAX_STEPS):
            residual = spectra.flux - model.spectrum(labels, node)
            step = gauss_newton_step(model.jacobian[node], residual, weight)
            labels = np.clip(labels + step, axes.low, axes.high)
            before, node = node, nearest_node(labels, model.nodes)
            if (node == before).all():
                break
        width = axes.high - axes.low
        return labels, curvature_inverse(model.jacobian[node], weight, width)


def gauss_newton_step(jacobian: Array, residual: Array, weight: Array) -> Array:
    """[B, A] step to least chi-square of a linear model [B, P, A]."""
    return damped_step(jacobian, residual, weight, np.zeros(len(residual)))
