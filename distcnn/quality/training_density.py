"""Density of the training labels: stars inside every range, but where no training star is.

Ranges are a box, and most of a box is empty: no star of 7,000 K has log g 1. The density of the
training labels is a mixture of Gaussians in units of their spread, as many as the Bayesian
information criterion asks for; where it is lower than for nearly all calibration stars, the
labels are an extrapolation. A mixture costs a product of small matrices a star, whatever the
number of training stars.

The novelty score asks the same of the principal components of spectra, in place of labels.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distcnn.arrays import Array

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

_COMPONENTS = (1, 2, 4, 8, 12)
"""Numbers of components that are tried."""
_STARS_PER_COMPONENT = 60
_MAX_TRAINING_STARS = 20_000
_FLOOR = 1e-3
"""Least variance of a component, in squared spreads: labels that say the same, such as [Fe/H] and
[M/H], shall not make the density infinite."""


@dataclass(frozen=True)
class TrainingDensity:
    """A mixture of K Gaussians in scaled labels (label - ``centre``) / ``spread``, both [L].

    ``log_weight`` [K] ln of share times the norm of the Gaussian; ``mean`` [K, L]; ``root``
    [K, L, L]: times (label - mean) it has unit variance. ``limit``: least ln density that is
    not sparse.
    """

    centre: Array
    spread: Array
    log_weight: Array
    mean: Array
    root: Array
    limit: float = -math.inf

    @classmethod
    def fit(
        cls,
        label: Array,
        *,
        seed: int = 0,
        components: Sequence[int] = _COMPONENTS,
        stars: int = _MAX_TRAINING_STARS,
    ) -> "TrainingDensity | None":
        """From training labels [N, L], NaN = missing; None of too few stars with all labels.

        ``components``: numbers of them that are tried; ``stars``: most that are fitted.
        """
        whole = label[np.isfinite(label).all(axis=1)].astype(float)
        if len(whole) < 2 * _STARS_PER_COMPONENT:
            return None
        rows = np.random.default_rng(seed).permutation(len(whole))[:stars]
        whole = whole[np.sort(rows)]
        centre, spread = whole.mean(axis=0), np.maximum(whole.std(axis=0), 1e-12)
        found = _best_mixture((whole - centre) / spread, components, seed)
        norm = np.log(np.diagonal(found.precisions_cholesky_, axis1=1, axis2=2)).sum(axis=1)
        norm = norm - 0.5 * whole.shape[1] * np.log(2 * np.pi)
        root = found.precisions_cholesky_.transpose(0, 2, 1)
        return cls(centre, spread, np.log(found.weights_) + norm, found.means_, root)

    def with_limit(self, label: Array, quantile: float) -> "TrainingDensity":
        """The limit that leaves ``quantile`` of these predicted labels [N, L] below."""
        found = self.log_density(label[np.isfinite(label).all(axis=1)])
        return self if not found.size else replace(self, limit=float(np.quantile(found, quantile)))

    def log_density(self, label: Array) -> Array:
        """Ln density of training stars at finite labels [N, L], [N]."""
        scaled = (label - self.centre) / self.spread
        parts = [
            weight - 0.5 * np.square((scaled - mean) @ root.T).sum(axis=1)
            for weight, mean, root in zip(self.log_weight, self.mean, self.root, strict=True)
        ]
        return np.asarray(np.logaddexp.reduce(parts, axis=0))

    @property
    def bound(self) -> float:
        """Ln density that no place exceeds."""
        return float(np.logaddexp.reduce(self.log_weight))

    def sparse(self, label: Array) -> Array:
        """[N] bool: fewer training stars there than around nearly all calibration stars.

        A star without all labels is not judged.
        """
        known = np.asarray(np.isfinite(label).all(axis=1))
        density = self.log_density(np.where(known[:, None], label, self.centre))
        return np.asarray(known & (density < self.limit))

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        names = ("centre", "spread", "log_weight", "mean", "root")
        return {name: getattr(self, name) for name in names} | {"limit": np.array([self.limit])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "TrainingDensity":
        """The density that ``to_arrays`` described."""
        named = {name: values for name, values in arrays.items() if name != "limit"}
        return cls(**named, limit=float(arrays["limit"][0]))


def _best_mixture(scaled: Array, components: Sequence[int], seed: int) -> "GaussianMixture":
    from sklearn.mixture import GaussianMixture

    fitted = [
        GaussianMixture(count, reg_covar=_FLOOR, random_state=seed, max_iter=100, tol=1e-3)
        for count in components
        if count * _STARS_PER_COMPONENT <= len(scaled)
    ]
    with warnings.catch_warnings():
        # One that has not quite converged is judged by its criterion like the others.
        warnings.simplefilter("ignore")
        return min((one.fit(scaled) for one in fitted), key=lambda one: one.bic(scaled))
