"""flag_boundary: eight characters that say which limit of the training data a star exceeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.columns import BOUNDARY_TESTS, PUBLISHED_LABELS
from distcnn.schema import Flag

INSIDE, OUTSIDE, NO_TEST = (np.uint8(ord(character)) for character in "01-")


def flag_boundary(
    block: Mapping[str, Array], labels: Sequence[str], limits: Mapping[str, Any] | None
) -> Array:
    """The strings of a block of predictions.

    Parameters
    ----------
    block : ``label`` [N, L], ``novelty``, ``reference_magnitude``, ``parallax``, ``flags`` [N].
    labels : names along L.
    limits : ``label_low``, ``label_high`` [L], ``reference_magnitude``, ``parallax`` [2], where
        None means no limit. Without limits the group's bit in ``flags`` stands for each member.

    Returns
    -------
    [N] of S8, characters in the order of ``columns.BOUNDARY_TESTS``.
    """
    flags = block["flags"]
    text = np.full((len(flags), len(BOUNDARY_TESTS)), NO_TEST, np.uint8)
    for place, test in enumerate(BOUNDARY_TESTS):
        if test in PUBLISHED_LABELS and test not in labels:
            continue
        if test == "spectrum":
            outside = ~(block["novelty"] <= 1)
        elif test in PUBLISHED_LABELS:
            column = list(labels).index(test)
            value = block["label"][:, column]
            outside = _outside(value, _label_range(limits, column), flags, Flag.LABEL_LIMITS)
        else:
            outside = _outside(block[test], _range(limits, test), flags, Flag.INPUT_LIMITS)
        text[:, place] = np.where(outside, OUTSIDE, INSIDE)
    strings: Array = text.view(f"S{len(BOUNDARY_TESTS)}")[:, 0]
    return strings


def _outside(value: Array, bounds: tuple[float, float] | None, flags: Array, bit: Flag) -> Array:
    # Written so that a missing value is never inside.
    inside: Array = np.isfinite(value)
    if bounds is None:
        inside &= (flags & np.uint32(bit)) == 0
    else:
        inside &= (value >= bounds[0]) & (value <= bounds[1])
    return ~inside


def _label_range(limits: Mapping[str, Any] | None, column: int) -> tuple[float, float] | None:
    if not limits:
        return None
    return _open(limits["label_low"][column], limits["label_high"][column])


def _range(limits: Mapping[str, Any] | None, name: str) -> tuple[float, float] | None:
    return _open(*limits[name]) if limits else None


def _open(low: float | None, high: float | None) -> tuple[float, float]:
    return (-np.inf if low is None else low, np.inf if high is None else high)
