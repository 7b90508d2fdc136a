"""Peers on the same split: what the network is compared with, each given plain arrays.

``inputs`` are named arrays as a survey stores them (``flux``, ``xp``, ``photometry``,
``parallax``, ``parallax_error``; NaN = missing, an absent modality is an absent key), labels
are [N, L] with NaN where a star has none.
"""

from distcnn.arrays import Array
from distcnn.baselines.features import Inputs
from distcnn.baselines.photometry import PhotometryOnly
from distcnn.baselines.ridge import Ridge
from distcnn.baselines.run import Answer, compare

__all__ = ["Answer", "PhotometryOnly", "Ridge", "compare", "photometry_only", "ridge"]


def ridge(
    train_inputs: Inputs,
    train_labels: Array,
    validation_inputs: Inputs,
    validation_labels: Array,
    inputs: Inputs,
) -> Array:
    """Labels [N, L] of the stars in ``inputs`` by ridge regression on everything."""
    fitted = Ridge.fit(train_inputs, train_labels, validation_inputs, validation_labels)
    return fitted.predict(inputs)


def photometry_only(
    train_inputs: Inputs, train_labels: Array, inputs: Inputs, *, seed: int = 0
) -> Array:
    """Labels [N, L] of the stars in ``inputs`` from magnitudes and parallax alone."""
    return PhotometryOnly.fit(train_inputs, train_labels, seed=seed).predict(inputs)
