"""Limits: the boxes in which training stars were seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array


@dataclass(frozen=True)
class Limits:
    """Boxes of labels [L, 2], reference magnitude [2] (mag) and parallax [2] (mas).

    A NaN side is no limit; a missing value is never outside (it has a flag of its own).
    """

    label: Array
    magnitude: Array
    parallax: Array

    @classmethod
    def fit(
        cls,
        label: Array,
        photometry: Array | None,
        parallax: Array | None,
        quantile: float,
    ) -> "Limits":
        """Boxes that leave ``quantile`` of the training stars outside on each side.

        Parameters
        ----------
        label : [N, L] reference labels.
        photometry : [N, K] magnitudes, the first is the reference band; None = not used.
        parallax : [N] mas; None = not used.
        """
        nothing = np.full(1, np.nan)
        reference = photometry[:, 0] if photometry is not None and photometry.shape[1] else nothing
        return cls(
            np.array([_box(column, quantile) for column in label.T]).reshape(-1, 2),
            _box(reference, quantile),
            _box(nothing if parallax is None else parallax, quantile),
        )

    def labels_outside(self, label: Array) -> Array:
        """[N, L] bool: the labels [N, L] that lie outside their box."""
        return _outside(label, self.label[:, 0], self.label[:, 1])

    def outside_inputs(self, photometry: Array | None, parallax: Array | None) -> Array:
        """[N] bool: reference magnitude or parallax lies outside; at least one must be given."""
        tests = []
        if photometry is not None and photometry.shape[1]:
            tests.append(_outside(photometry[:, 0], *self.magnitude))
        if parallax is not None:
            tests.append(_outside(parallax, *self.parallax))
        if not tests:
            raise ValueError("neither photometry nor parallax given")
        return np.asarray(np.logical_or.reduce(tests))

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        return {"label": self.label, "magnitude": self.magnitude, "parallax": self.parallax}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Limits":
        """The limits that ``to_arrays`` described."""
        return cls(arrays["label"], arrays["magnitude"], arrays["parallax"])


def _box(values: Array, quantile: float) -> Array:
    good = values[np.isfinite(values)].astype(float)
    if not good.size:
        return np.full(2, np.nan)
    return np.asarray(np.quantile(good, [quantile, 1 - quantile]))


def _outside(values: Array, low: Array, high: Array) -> Array:
    # Comparisons with NaN are False: neither a missing value nor a missing limit is "outside".
    return np.asarray((values < low) | (values > high))
