"""Least squares with a penalty, for all stars but those of a fold, for every fold at once.

Sums over a fold are taken once; those of all others are differences. So predictions of stars that
a fit has not seen, for every star and many penalties, cost little more than the fit itself.

Legend: N star, F column, L label, K fold, R penalty.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.stats import robust_std

CONSTANT = 30.0
"""Value of the column for the offset: so large that no penalty holds it back."""
OUTLIER_SIGMA = 4.0
"""Residuals count at most this much where penalties are compared."""


@dataclass(frozen=True)
class FoldRegression:
    """Labels as a linear function of columns.

    ``weights`` [F,L], ``offset`` [L], ``penalty`` [L]; ``out_of_fold`` [N,L] what fits to the other
    folds say. NaN where a label has too few stars.
    """

    weights: Array
    offset: Array
    penalty: Array
    out_of_fold: Array


def fit_folds(
    columns: Array, target: Array, fold: Array, penalties: Array, scale: Array | None = None
) -> FoldRegression:
    """Fit every label; of the penalties that with the least error on left-out folds stays.

    Parameters
    ----------
    columns : [N,F] of order one.
    target : [N,L], NaN = unknown.
    fold : int [N].
    penalties : [R], of squared weights over the variance of a label's residual.
    scale : [F] typical size of the weight of a column; None = all alike.
    """
    size = np.ones(columns.shape[1]) if scale is None else scale
    table = np.concatenate([columns * size, np.full((len(columns), 1), CONSTANT)], axis=1)
    known = np.isfinite(target)
    weights = np.full((table.shape[1], target.shape[1]), np.nan)
    penalty = np.full(target.shape[1], np.nan)
    out_of_fold = np.full(target.shape, np.nan)
    # Labels that the same stars have share their sums.
    for mask in np.unique(known, axis=1).T:
        alike = (known == mask[:, None]).all(axis=0)
        if mask.sum() > 2:
            sums = _Sums.of(table[mask], target[mask][:, alike], fold[mask])
            found = sums.out_of_fold(table, fold, penalties)
            errors = _errors(found[:, mask], target[mask][:, alike])
            best = errors.argmin(axis=0)
            weights[:, alike] = sums.solve(penalties[best])
            penalty[alike] = penalties[best]
            out_of_fold[:, alike] = np.take_along_axis(found, best[None, None], axis=0)[0]
    return FoldRegression(
        weights[:-1] * size[:, None], weights[-1] * CONSTANT, penalty, out_of_fold
    )


@dataclass(frozen=True)
class _Sums:
    """``names`` [K] of the folds; squares of columns [K,F,F] and their products with labels."""

    names: Array
    squares: Array
    products: Array

    @classmethod
    def of(cls, table: Array, target: Array, fold: Array) -> "_Sums":
        names = np.unique(fold)
        parts = [(table[fold == name], target[fold == name]) for name in names]
        return cls(
            names,
            np.stack([x.T @ x for x, _ in parts]),
            np.stack([x.T @ y for x, y in parts]),
        )

    def out_of_fold(self, table: Array, fold: Array, penalties: Array) -> Array:
        """[R,N,L]: stars by the fit without their fold, those of other folds by the whole one."""
        labels = self.products.shape[2]
        found = np.empty((len(penalties), len(table), labels))
        whole = self.squares.sum(axis=0), self.products.sum(axis=0)
        for number in (*range(len(self.names)), None):
            if number is None:
                mine = ~np.isin(fold, self.names)
                squares, products = whole
            else:
                mine = fold == self.names[number]
                squares = whole[0] - self.squares[number]
                products = whole[1] - self.products[number]
            if mine.any():
                values, vectors = np.linalg.eigh(squares)
                seen, moments = table[mine] @ vectors, vectors.T @ products
                for place, penalty in enumerate(penalties):
                    shrunk = moments / (np.maximum(values, 0) + penalty)[:, None]
                    found[place, mine] = seen @ shrunk
        return found

    def solve(self, penalties: Array) -> Array:
        """[F,L] weights by all folds, each label with its penalty [L]."""
        values, vectors = np.linalg.eigh(self.squares.sum(axis=0))
        moments = vectors.T @ self.products.sum(axis=0)
        return np.asarray(vectors @ (moments / (np.maximum(values, 0)[:, None] + penalties)))


def _errors(found: Array, target: Array) -> Array:
    """[R,L] mean squared residual; outliers count as little more than others."""
    residual = np.abs(found - target)
    limit = OUTLIER_SIGMA * np.apply_along_axis(robust_std, 1, found - target)
    return np.asarray(np.square(np.minimum(residual, limit[:, None])).mean(axis=1))
