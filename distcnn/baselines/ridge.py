"""Ridge regression on everything the network sees: the linear floor that a network must beat."""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.features import Inputs, full_table

PENALTIES = tuple(10.0**power for power in np.arange(-2.0, 6.5, 0.5))


@dataclass(frozen=True)
class Ridge:
    """Linear in standardised inputs; missing inputs are replaced by their mean.

    Attributes
    ----------
    mean, scale : [F] of the training inputs.
    weights : [F, L]; ``offset`` : [L] in label units.
    penalty : [L] chosen on the validation split.
    """

    mean: Array
    scale: Array
    weights: Array
    offset: Array
    penalty: Array

    @classmethod
    def fit(
        cls,
        inputs: Inputs,
        label: Array,
        validation_inputs: Inputs,
        validation_label: Array,
        *,
        penalties: tuple[float, ...] = PENALTIES,
    ) -> "Ridge":
        """Fit labels [N, L] (NaN = none); the penalty with the least validation error is kept."""
        table = full_table(inputs)
        mean, scale = _standard(table)
        table = _scaled(table, mean, scale)
        judge = _scaled(full_table(validation_inputs), mean, scale)
        columns = [
            _column(table, label[:, number], judge, validation_label[:, number], penalties)
            for number in range(label.shape[1])
        ]
        weights, offset, penalty = (np.array(part) for part in zip(*columns, strict=True))
        return cls(mean, scale, weights.T, offset, penalty)

    def predict(self, inputs: Inputs) -> Array:
        """Labels, float32 [N, L], in label units."""
        table = _scaled(full_table(inputs), self.mean, self.scale)
        return np.asarray(table @ self.weights + self.offset, np.float32)


def _standard(table: Array) -> tuple[Array, Array]:
    good = np.isfinite(table)
    count = np.maximum(good.sum(axis=0), 1)
    mean = np.where(good, table, 0).sum(axis=0) / count
    scale = np.sqrt(np.where(good, (table - mean) ** 2, 0).sum(axis=0) / count)
    return mean, np.where(scale > 0, scale, 1.0)


def _scaled(table: Array, mean: Array, scale: Array) -> Array:
    # Five standard deviations bound what a damaged input can do to a linear model.
    scaled = np.clip((table - mean) / scale, -5, 5)
    return np.where(np.isfinite(scaled), scaled, 0.0)


def _column(
    table: Array, label: Array, judge: Array, judge_label: Array, penalties: tuple[float, ...]
) -> tuple[Array, float, float]:
    """Weights, offset and penalty of one label."""
    good, judged = np.isfinite(label), np.isfinite(judge_label)
    if good.sum() < 2:
        return np.full(table.shape[1], np.nan), np.nan, np.nan
    known = table[good]
    centre, middle = known.mean(axis=0), float(label[good].mean())
    known = known - centre
    values, vectors = np.linalg.eigh(known.T @ known)
    along = vectors.T @ (known.T @ (label[good] - middle))
    choices = vectors @ (along[:, None] / (np.maximum(values, 0)[:, None] + np.array(penalties)))
    guess = (judge[judged] - centre) @ choices + middle
    best = _best(guess, judge_label[judged])
    weights = choices[:, best]
    return weights, middle - float(centre @ weights), penalties[best]


def _best(guess: Array, truth: Array) -> int:
    if not len(truth):
        return int(guess.shape[1]) // 2
    loss: Array = np.mean((guess - truth[:, None]) ** 2, axis=0)
    return int(loss.argmin())
