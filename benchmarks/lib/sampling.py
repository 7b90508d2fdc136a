"""Sampling errors: by how much a number of a table would differ with other stars as many.

Standard errors; 1.96 of them make an interval of 95 %.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SIGMA_95 = 1.96
"""Standard errors on either side of an interval of 95 %."""


def std_error(residual: Array) -> float:
    """Of the standard deviation of [N], whatever the tails (by the fourth moment)."""
    centred = residual - residual.mean()
    square = float(np.mean(centred**2))
    if square == 0:
        return 0.0
    kurtosis = float(np.mean(centred**4)) / square**2
    return float(np.sqrt(square * max(kurtosis - 1, 0.0) / len(residual)) / 2)


def mad_error(residual: Array) -> float:
    """Of 1.48 MAD of [N]: the median of so many distances lies within half of the square root of
    their number of places from the middle one.
    """
    distance = np.abs(residual - np.median(residual))
    apart = min(0.5, 0.5 / np.sqrt(len(residual)))
    low, high = np.quantile(distance, (0.5 - apart, 0.5 + apart))
    return float(1.4826 * (high - low) / 2)


def share_error(share: float, stars: int) -> float:
    """Of a share of so many stars (binomial)."""
    return float(np.sqrt(share * (1 - share) / stars))


def slope_error(found: Array, truth: Array) -> float:
    """Of the slope of ``found`` [N] on ``truth`` [N], whatever the scatter (White 1980)."""
    x, y = truth - truth.mean(), found - found.mean()
    square = float((x * x).sum())
    left = y - float((x * y).sum()) / square * x
    return float(np.sqrt(np.square(x * left).sum()) / square)


def interval(row: Mapping[str, Any], key: str) -> tuple[float, float]:
    """Interval of 95 % of a number whose standard error stands beside it as KEY_error."""
    apart = SIGMA_95 * row[f"{key}_error"]
    return row[key] - apart, row[key] + apart
