"""Recentring: what a stacked label is wrong by on average, along the label itself.

A weighted mean of shrunken estimates may stay too high in one range of a label and too low in the
next, where its methods saw few stars. That shows on labelled stars that nothing was fitted to: the
mean residual is a random walk over nodes along the label, as steep as the residuals say
(expectation maximisation) and flat where they say nothing. It is taken off.

Legend: N star, L label, T node.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.calibration.smooth_scale import hat_weights, nodes_at
from distcnn.stats import robust_std

NODES = 9
NODE_QUANTILES = np.linspace(0.01, 0.99, NODES)
MIN_STARS = 250
"""With fewer nothing is taken off: weights of other folds, of even fewer stars, may make another
label than those of all."""
HUBER_SIGMA = 2.0
"""Residuals beyond count by their size, not its square (Huber 1964)."""
ROUNDS = 12
_STEP = 0.05
"""Of the mean residual from a node to the next, in units of the scatter, before stars are seen."""


@dataclass(frozen=True)
class MeanResidual:
    """``residual`` [L,T] at ``nodes`` [L,T], ascending; linear between, constant beyond."""

    nodes: Array
    residual: Array

    @classmethod
    def fit(cls, label: Array, target: Array) -> "MeanResidual":
        """Of labels and what they should be [N,L]; NaN = unknown."""
        parts = [_fit(*columns) for columns in zip(label.T, target.T, strict=True)]
        nodes, residual = (np.stack(part) for part in zip(*parts, strict=True))
        return cls(nodes, residual)

    def taken_off(self, label: Array) -> Array:
        """Labels [N,L] without it."""
        columns = zip(label.T, self.nodes, self.residual, strict=True)
        return np.stack([x - np.interp(x, at, mean) for x, at, mean in columns], axis=1)


def recentred(label: Array, target: Array, fold: Array) -> tuple[MeanResidual, Array]:
    """The mean residual of all stars, and labels [N,L] without that of the stars of other folds."""
    out = label.copy()
    for name in np.unique(fold):
        mine = fold == name
        out[mine] = MeanResidual.fit(label[~mine], target[~mine]).taken_off(label[mine])
    return MeanResidual.fit(label, target), out


def _fit(label: Array, target: Array) -> tuple[Array, Array]:
    """Nodes and mean residual [T] of one label."""
    good = np.isfinite(label + target)
    label, residual = label[good], (label - target)[good]
    if len(label) < MIN_STARS or not np.ptp(label):
        return np.arange(NODES, dtype=float), np.zeros(NODES)
    nodes = nodes_at(label, NODE_QUANTILES)
    return nodes, _walk(hat_weights(label, nodes), residual)


def _walk(hats: Array, residual: Array) -> Array:
    """[T] of a random walk through residuals [N], by weights of nodes [N,T]."""
    count = hats.shape[1]
    unit = max(robust_std(residual), 1e-12)
    steps = np.diff(np.eye(count), axis=0)
    square, mean = (_STEP * unit) ** 2, np.zeros(count)
    for _ in range(ROUNDS):
        far = np.abs(residual - hats @ mean) / unit
        weight = np.minimum(1.0, HUBER_SIGMA / np.maximum(far, 1e-9)) / unit**2
        # The walk begins where it may: at most half a scatter away from nothing.
        precision = steps.T @ steps / square + np.eye(count) / (count * (0.5 * unit) ** 2)
        covariance = np.linalg.inv((hats * weight[:, None]).T @ hats + precision)
        mean = covariance @ (hats.T @ (weight * residual))
        told = np.square(steps @ mean).sum() + np.trace(steps @ covariance @ steps.T)
        square = (told + 2 * (_STEP * unit) ** 2) / (count - 1 + 2)
    return np.asarray(mean)
