"""Bins of stars by the typical weight of their pixels: what is usual depends on noise."""

import itertools
from collections.abc import Iterator

import numpy as np

from distcnn.arrays import Array

# Quantiles of the typical weight: fine at the end where the floor outweighs the noise.
_QUANTILES = (0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97, 1)
_MANY_STARS = 1500
_LEAST_RANGE = 0.05
"""Of ln weight: stars more alike than this are one bin."""


def weight_bins(weight: Array) -> Iterator[tuple[float, Array]]:
    """Median of ln weight [N] and members [N] bool of each bin, the noisiest first."""
    edges = np.quantile(weight, _QUANTILES if len(weight) > _MANY_STARS else [0, 0.5, 1])
    if edges[-1] - edges[0] < _LEAST_RANGE:
        edges = edges[[0, -1]]
    for low, high in itertools.pairwise(edges):
        inside = (weight >= low) & (weight <= high)
        yield float(np.median(weight[inside])), inside


def along_weight(weight: Array, grid: Array, table: Array) -> Array:
    """Values [N, M] of a table [G, M] at ln weights [N], linear between those of ``grid`` [G]."""
    return np.stack([np.interp(weight, grid, column) for column in table.T], axis=1)
