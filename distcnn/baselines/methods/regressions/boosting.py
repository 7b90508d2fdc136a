"""Gradient-boosted trees: on all inputs, and on photometry and parallax alone.

Photometry alone is what a spectrum must improve upon.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.features import CompressedTable, photometric_table
from distcnn.baselines.methods.residual_error import ResidualError
from distcnn.baselines.steps import UNTOLD, Steps

MIN_STARS_PER_LABEL = 50
Table = Callable[[Inputs], Array]


@dataclass(frozen=True)
class BoostedTrees:
    """Trees per label; None where a label had too few stars.

    ``table`` makes the columns [N, F] of inputs, ``used`` [F] tells which of them have at least
    two values in training, ``error`` is of the residuals of the validation split.
    """

    table: Table
    used: Array
    trees: tuple[HistGradientBoostingRegressor | None, ...]
    error: ResidualError

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> "BoostedTrees":
        """Fit on photometry, parallax, and principal components of spectrum and XP."""
        table = CompressedTable.fit(training.inputs, seed)
        return cls.of_table(table, training, validation, seed, steps)

    @classmethod
    def of_table(
        cls,
        table: Table,
        training: LabelledStars,
        validation: LabelledStars,
        seed: int,
        steps: Steps = UNTOLD,
    ) -> "BoostedTrees":
        """Fit on the columns that ``table`` makes. The trees stop on a part of training."""
        columns = table(training.inputs)
        used = np.array([len(np.unique(c[np.isfinite(c)])) > 1 for c in columns.T])
        each = steps.over("trees", training.label.T, "labels")
        trees = tuple(_trees(columns[:, used], label, seed) for label in each)
        label = _answer(trees, table(validation.inputs)[:, used])
        error = ResidualError.fit(label - validation.label, validation.inputs)
        return cls(table, used, trees, error)

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels and errors of stars."""
        label = _answer(self.trees, self.table(inputs)[:, self.used])
        return Estimate(label, self.error.predict(inputs, len(label)))


class PhotometryOnly:
    """Gradient-boosted trees on magnitudes, colours and parallax; no XP, no spectrum."""

    @staticmethod
    def fit(
        training: LabelledStars, validation: LabelledStars, *, seed: int = 0, steps: Steps = UNTOLD
    ) -> BoostedTrees:
        """The trees; see ``BoostedTrees``."""
        return BoostedTrees.of_table(photometric_table, training, validation, seed, steps)


def _answer(trees: tuple[HistGradientBoostingRegressor | None, ...], table: Array) -> Array:
    """Float32 [N, L]."""
    nothing = np.full(len(table), np.nan)
    columns = [nothing if one is None else one.predict(table) for one in trees]
    return np.stack(columns, axis=1).astype(np.float32)


def _trees(table: Array, label: Array, seed: int) -> HistGradientBoostingRegressor | None:
    good = np.isfinite(label)
    if good.sum() < MIN_STARS_PER_LABEL or not table.shape[1]:
        return None
    trees = HistGradientBoostingRegressor(
        max_iter=400,
        learning_rate=0.06,
        max_leaf_nodes=15,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=20,
        random_state=seed,
    )
    return trees.fit(table[good], label[good])
