"""Projection on vectors in the manner of MATISSE (Recio-Blanco et al. 2006, MNRAS 370, 141).

A label is a scalar product of the spectrum with a vector B(wavelength), found by regression among
the spectra near a node in the space of labels. The first vectors are of all training stars, the
next ones of the node nearest to the labels found so far, until the node stays. MATISSE regularises
the fainter a star is the more: here the penalty is the variance that a spectrum of that noise
would add to the training spectra, times one factor chosen on the validation split.

Legend: N star, P pixel, A label as a number, D node, G group of stars of like noise.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.methods.spectral.spectra import (
    LabelAxes,
    Spectra,
    complete_stars,
    mean_spectrum,
)
from distcnn.baselines.steps import UNTOLD, Steps
from distcnn.stats import robust_std

STARS_PER_NODE, MIN_LOCAL_STARS, MAX_NODES = 80, 300, 40
NOISE_GROUPS = 4
FACTORS = np.geomspace(0.03, 30.0, 7)
MAX_ROUNDS = 10


@dataclass(frozen=True)
class Projection:
    """Vectors of one node for every group of noise.

    ``mean`` [P], ``centre`` [A], ``vector`` [G, P, A]; ``intrinsic`` [G, A, A], covariance of the
    residuals of the node's stars, each left out once, less what their noise has in it.
    """

    mean: Array
    centre: Array
    vector: Array
    intrinsic: Array

    @classmethod
    def of(cls, spectra: Spectra, labels: Array, variances: Array, factor: float) -> "Projection":
        """Regression among spectra [N, P] with labels [N, A]; ``variances`` [G] of the groups."""
        mean, centre = mean_spectrum(spectra), labels.mean(axis=0)
        flux = spectra.filled(mean) - mean
        left, size, right = np.linalg.svd(flux, full_matrices=False)
        known = spectra.weight > 0
        noise = (known / np.where(known, spectra.weight, 1.0)).mean(axis=0)
        parts = []
        for variance in variances:
            penalty = len(flux) * factor * variance
            shrink = size**2 / (size**2 + penalty)
            solved = left.T @ (labels - centre)
            vector = right.T @ ((shrink / np.maximum(size, 1e-300))[:, None] * solved)
            leverage = np.square(left) @ shrink + 1 / len(flux)
            residual = labels - centre - left @ (shrink[:, None] * solved)
            alone = residual / np.maximum(1 - leverage, 0.05)[:, None]
            noisy = (vector.T * noise) @ vector
            parts.append((vector, _positive(np.atleast_2d(np.cov(alone.T)) - noisy)))
        return cls(mean, centre, *(np.stack(part) for part in zip(*parts, strict=True)))

    def labels(self, spectra: Spectra, group: Array) -> Array:
        """[N, A] labels of stars whose groups of noise are ``group`` [N]."""
        flux = spectra.filled(self.mean) - self.mean
        return self.centre + _by_group(flux, self.vector, group)

    def covariance(self, spectra: Spectra, group: Array) -> Array:
        """[N, A, A] of the labels: of the star's noise, and of the node's own stars."""
        known = spectra.weight > 0
        variance = known / np.where(known, spectra.weight, 1.0)
        out = self.intrinsic[group]
        for number in np.unique(group):
            rows, vector = group == number, self.vector[number]
            products = (vector[:, :, None] * vector[:, None, :]).reshape(len(vector), -1)
            out[rows] += (variance[rows] @ products).reshape(-1, *self.intrinsic.shape[1:])
        return out


def _positive(matrix: Array) -> Array:
    """The matrix without what is negative of it, which no covariance has."""
    size, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * np.maximum(size, 1e-8)) @ axes.T)


@dataclass(frozen=True)
class Matisse:
    """Projections: the first of all stars, the others of the stars near ``nodes`` [D, A]."""

    axes: LabelAxes
    edges: Array
    nodes: Array
    projections: tuple[Projection, ...]
    factor: float

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> "Matisse":
        """Fit stars that have every label; the factor is that of least validation error."""
        spectra, labels, axes = complete_stars(training)
        level = noise_variance(spectra)
        edges = np.quantile(level, np.linspace(0, 1, NOISE_GROUPS + 1)[1:-1])
        group = np.searchsorted(edges, level)
        usual = np.median(level)
        variances = np.array(
            [
                np.median(level[group == g]) if (group == g).any() else usual
                for g in range(len(edges) + 1)
            ]
        )
        factor = _best_factor((spectra, labels), validation, axes, edges, variances, steps=steps)
        nodes = place_nodes(labels, STARS_PER_NODE, MAX_NODES, seed)
        near = [np.arange(len(labels))] + [
            nearest_stars(labels, node, MIN_LOCAL_STARS) for node in nodes
        ]
        projections = [
            Projection.of(spectra.take(rows), labels[rows], variances, factor)
            for rows in steps.over("vectors", near, "nodes")
        ]
        return cls(axes, edges, nodes, tuple(projections), factor)

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels and errors of stars."""
        numbers, covariance = self.project(Spectra.of(inputs))
        return Estimate(self.axes.labels(numbers), self.axes.errors(covariance))

    def project(self, spectra: Spectra) -> tuple[Array, Array]:
        """Labels as numbers [N, A] and their covariance [N, A, A]."""
        group = np.searchsorted(self.edges, noise_variance(spectra))
        labels = self.projections[0].labels(spectra, group)
        covariance = self.projections[0].covariance(spectra, group)
        node = np.full(len(labels), -1)
        active = np.arange(len(labels))
        for _ in range(MAX_ROUNDS):
            labels = np.clip(labels, self.axes.low, self.axes.high)
            new = nearest_node(labels[active], self.nodes)
            active, new = active[new != node[active]], new[new != node[active]]
            if not active.size:
                break
            node[active] = new
            for number in np.unique(new):
                rows = active[new == number]
                some, projection = spectra.take(rows), self.projections[1 + number]
                labels[rows] = projection.labels(some, group[rows])
                covariance[rows] = projection.covariance(some, group[rows])
        return np.clip(labels, self.axes.low, self.axes.high), covariance


def _best_factor(
    training: tuple[Spectra, Array],
    validation: LabelledStars,
    axes: LabelAxes,
    edges: Array,
    variances: Array,
    *,
    steps: Steps,
) -> float:
    """The factor on the penalty whose vectors of all stars do best on the validation split."""
    numbers = axes.numbers(validation.label)
    rows = np.flatnonzero(np.isfinite(numbers).all(axis=1))
    if not rows.size:
        return 1.0
    spectra = Spectra.of(validation.inputs).take(rows)
    group = np.searchsorted(edges, noise_variance(spectra))
    widths = []
    for factor in steps.over("choice of the penalty", FACTORS, "penalties"):
        found = Projection.of(*training, variances, float(factor)).labels(spectra, group)
        widths.append(sum(robust_std(column) for column in (found - numbers[rows]).T))
    return float(FACTORS[int(np.argmin(widths))])


def place_nodes(labels: Array, stars_per_node: int, most: int, seed: int) -> Array:
    """[D, A] centres of groups of training stars that are near each other."""
    count = int(np.clip(len(labels) // stars_per_node, 1, most))
    fitted = KMeans(count, n_init=1, max_iter=50, random_state=seed).fit(labels)
    return np.asarray(fitted.cluster_centers_, float)


def nearest_stars(labels: Array, node: Array, count: int) -> Array:
    """Numbers of the ``count`` stars nearest to a node."""
    order = np.argsort(np.square(labels - node).sum(axis=1), kind="stable")
    return np.asarray(order[:count])


def nearest_node(labels: Array, nodes: Array) -> Array:
    """[N] number of the node nearest to each star's labels [N, A]."""
    square = np.square(labels[:, None, :] - nodes).sum(axis=2)
    return np.asarray(square.argmin(axis=1))


def noise_variance(spectra: Spectra) -> Array:
    """[N] mean variance of a star's pixels; infinite for a star without any."""
    known = spectra.weight > 0
    variance = known / np.where(known, spectra.weight, 1.0)
    count = known.sum(axis=1)
    return np.where(count > 0, variance.sum(axis=1) / np.maximum(count, 1), np.inf)


def _by_group(values: Array, vectors: Array, group: Array) -> Array:
    """[N, A]: rows of values [N, P] times the matrix [P, A] of their group."""
    out = np.empty((len(values), vectors.shape[2]))
    for number in np.unique(group):
        rows = group == number
        out[rows] = values[rows] @ vectors[number]
    return out
