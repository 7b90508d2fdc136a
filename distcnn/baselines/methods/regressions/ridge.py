"""Ridge regression on everything the network sees: the linear floor that a network must beat."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.features import full_table
from distcnn.baselines.methods.residual_error import ResidualError
from distcnn.baselines.steps import UNTOLD, Steps

PENALTIES = 10.0 ** np.arange(-2.0, 6.5, 0.5)
"""Penalties that are tried, in units of squared standardised inputs."""
CLIP_SIGMA = 5.0
"""Bounds what a damaged input can do to a linear model, in standard deviations of training."""


@dataclass(frozen=True)
class LinearRidge:
    """Linear in standardised inputs; missing inputs are replaced by their mean.

    Attributes
    ----------
    scaling : table of features [N, F] -> standardised, clipped, without gaps.
    weights : [F, L]; ``offset`` : [L] in label units.
    penalty : [L] chosen on the validation split; NaN where a label could not be learned.
    error : from the residuals of the validation split, which are slightly too small for that.
    """

    scaling: Pipeline
    weights: Array
    offset: Array
    penalty: Array
    error: ResidualError

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
        penalties: Array = PENALTIES,
    ) -> "LinearRidge":
        """Fit every label; of two and more penalties that with the least validation error stays."""
        scaling = make_pipeline(
            StandardScaler(),
            FunctionTransformer(partial(np.clip, a_min=-CLIP_SIGMA, a_max=CLIP_SIGMA)),
            SimpleImputer(strategy="constant", fill_value=0.0),
        )
        table = scaling.fit_transform(_features(training.inputs))
        other = scaling.transform(_features(validation.inputs))
        both = list(zip(training.label.T, validation.label.T, strict=True))
        columns = [
            _fit_label((table, label), (other, known), penalties)
            for label, known in steps.over("regressions", both, "labels")
        ]
        weights, offset, penalty = (np.array(part) for part in zip(*columns, strict=True))
        residual = other @ weights.T + offset - validation.label
        error = ResidualError.fit(residual, validation.inputs)
        return cls(scaling, weights.T, offset, penalty, error)

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels and errors of stars."""
        table = self.scaling.transform(_features(inputs))
        label = np.asarray(table @ self.weights + self.offset, np.float32)
        return Estimate(label, self.error.predict(inputs, len(label)))


def _features(inputs: Inputs) -> Array:
    table = full_table(inputs).astype(float)
    # scikit-learn takes NaN as missing, but refuses infinities.
    return np.where(np.isfinite(table), table, np.nan)


def _fit_label(
    training: tuple[Array, Array], validation: tuple[Array, Array], penalties: Array
) -> tuple[Array, float, float]:
    """Weights [F], offset and penalty of one label."""
    (table, label), (other, truth) = training, validation
    good, known = np.isfinite(label), np.isfinite(truth)
    if good.sum() < 2:
        return np.full(table.shape[1], np.nan), np.nan, np.nan
    # All penalties at once, as so many labels: the normal equations are set up only once.
    repeated = np.repeat(label[good, None], len(penalties), axis=1)
    ridge = Ridge(alpha=penalties, solver="cholesky").fit(table[good], repeated)
    best = len(penalties) // 2
    if known.any():
        residual = ridge.predict(other[known]) - truth[known, None]
        best = int(np.square(residual).mean(axis=0).argmin())
    return ridge.coef_[best], float(ridge.intercept_[best]), float(penalties[best])
