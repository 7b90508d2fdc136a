"""Photometry and parallax alone: what a spectrum must improve upon."""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.features import photometric_table

MIN_STARS_PER_LABEL = 50


@dataclass(frozen=True)
class PhotometryOnly:
    """Gradient-boosted trees per label; None where a label had too few stars.

    ``used`` [F] tells which columns of the table have at least two values in training.
    """

    used: Array
    trees: tuple[HistGradientBoostingRegressor | None, ...]

    @classmethod
    def fit(
        cls, training: LabelledStars, validation: LabelledStars | None = None, *, seed: int = 0
    ) -> "PhotometryOnly":
        """Fit on magnitudes, colours and parallax; no XP. The trees stop on a part of training."""
        table = photometric_table(training.inputs)
        used = np.array([len(np.unique(c[np.isfinite(c)])) > 1 for c in table.T])
        trees = tuple(_trees(table[:, used], column, seed) for column in training.label.T)
        return cls(used, trees)

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels of stars; no errors."""
        table = photometric_table(inputs)[:, self.used]
        nothing = np.full(len(table), np.nan)
        columns = [nothing if trees is None else trees.predict(table) for trees in self.trees]
        return Estimate(np.stack(columns, axis=1).astype(np.float32))


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
