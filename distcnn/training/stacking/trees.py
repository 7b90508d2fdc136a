"""Fit of boosted oblivious trees: every level of a tree asks one question of all its stars.

Gradient boosting (Friedman 2001, Annals of Statistics 29, 1189) of all labels together, with
random stars and columns for each tree (Friedman 2002, CSDA 38, 367). Oblivious trees (Kohavi 1994,
ECML; Prokhorenkova et al. 2018, NeurIPS) are weaker each, and evaluated without a branch.

Legend: N star, F column, L label, T tree, D level, Q quantile bin.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from distcnn.arrays import Array

LEVELS = 6
BINS = 32
RATE = 0.1
"""Share of a tree's answer that is taken."""
LEAF_STARS = 3.0
"""Stars' worth of belief that a leaf says nothing."""
COLUMN_SHARE, STAR_SHARE = 0.6, 0.8
MAX_TREE_STARS, MAX_TREE_COLUMNS = 4000, 30
"""Most stars and columns that a tree is grown on."""


@dataclass(frozen=True)
class Trees:
    """``columns``, ``thresholds`` [T,D]: a star goes right at a level where its column is larger;
    ``values`` [T,2^D,L] of the leaves, the first level counting most; ``offset`` [L].
    """

    columns: Array
    thresholds: Array
    values: Array
    offset: Array

    @classmethod
    def fit(cls, table: Array, target: Array, trees: int, seed: int) -> Self:
        """Grow trees on columns [N,F] and labels [N,L], NaN = unknown, one after the other."""
        rng = np.random.default_rng(seed)
        known = np.isfinite(target)
        count = np.maximum(known.sum(axis=0), 1)
        offset = np.where(known, target, 0).sum(axis=0) / count
        residual = np.where(known, target - offset, 0.0)
        spread = np.sqrt(np.square(residual).sum(axis=0) / count)
        residual /= np.where(spread > 0, spread, 1.0)
        questions = _Questions.of(table)
        grown = [_grow(questions, residual, known, rng) for _ in range(trees)]
        columns, bins, values = (np.array(part) for part in zip(*grown, strict=True))
        return cls(columns, questions.edges[columns, bins], values * spread, offset)

    def predict(self, table: Array) -> Array:
        """Labels [N,L]."""
        out = np.tile(self.offset, (len(table), 1))
        for columns, thresholds, values in zip(
            self.columns, self.thresholds, self.values, strict=True
        ):
            out += values[_leaf(table[:, columns] > thresholds)]
        return out


@dataclass(frozen=True)
class _Questions:
    """``bins`` [N,F]: the star is larger than that many of the ``edges`` [F,Q-1] of a column."""

    bins: Array
    edges: Array

    @classmethod
    def of(cls, table: Array) -> "_Questions":
        shares = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.quantile(table, shares, axis=0).T
        pairs = zip(edges, table.T, strict=True)
        bins = np.stack([np.searchsorted(e, values, side="left") for e, values in pairs], axis=1)
        return cls(bins, edges)


def _grow(
    questions: _Questions, residual: Array, known: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Columns and bins [D] and values of the leaves [2^D,L]; takes them out of ``residual``."""
    stars, width = questions.bins.shape
    columns = rng.choice(
        width, min(MAX_TREE_COLUMNS, max(1, round(COLUMN_SHARE * width))), replace=False
    )
    rows = rng.choice(stars, min(MAX_TREE_STARS, max(1, round(STAR_SHARE * stars))), replace=False)
    bins, some = questions.bins[np.ix_(rows, columns)], residual[rows]
    leaf = np.zeros(len(rows), np.int64)
    asked: list[tuple[int, int]] = []
    for level in range(LEVELS):
        gain = _gain(bins, some, leaf, 1 << level)
        for question in asked:
            gain[question] = -np.inf
        column, place = np.unravel_index(int(gain.argmax()), gain.shape)
        asked.append((int(column), int(place)))
        leaf = 2 * leaf + (bins[:, column] > place)
    chosen, places = (np.array(part) for part in zip(*asked, strict=True))
    values = _values(leaf, some, known[rows])
    whole = questions.bins[:, columns[chosen]] > places
    residual -= np.where(known, values[_leaf(whole)], 0.0)
    return columns[chosen], places, values


def _gain(bins: Array, residual: Array, leaf: Array, leaves: int) -> Array:
    """[F,Q-1] squares that a question explains, of all leaves and labels."""
    width = bins.shape[1]
    cells = ((np.arange(width) * leaves + leaf[:, None]) * BINS + bins).ravel()
    shape = (width, leaves, BINS)
    counts = np.bincount(cells, minlength=width * leaves * BINS).reshape(shape)
    left = counts.cumsum(axis=2)
    right = left[:, :, -1:] - left
    gain = np.zeros((width, BINS))
    for column in residual.T:
        sums = np.bincount(cells, np.repeat(column, width), minlength=width * leaves * BINS)
        below = sums.reshape(shape).cumsum(axis=2)
        above = below[:, :, -1:] - below
        gain += (below**2 / (left + LEAF_STARS) + above**2 / (right + LEAF_STARS)).sum(axis=1)
    return gain[:, :-1]


def _values(leaf: Array, residual: Array, known: Array) -> Array:
    """[2^D,L] what each leaf adds."""
    leaves = 1 << LEVELS
    columns = [
        np.bincount(leaf, column, minlength=leaves)
        / (np.bincount(leaf, there, minlength=leaves) + LEAF_STARS)
        for column, there in zip(residual.T, known.T, strict=True)
    ]
    return np.asarray(RATE * np.stack(columns, axis=1))


def _leaf(right: Array) -> Array:
    """[N] number of the leaf from answers [N,D]."""
    return np.asarray(right @ (1 << np.arange(right.shape[1])[::-1]))
