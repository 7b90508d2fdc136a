"""Reliable range: where labels of stars that no part of a fit has seen still come out right.

Training labels may reach far beyond where there are enough of them to learn from (a few hot stars
among many cool ones). There errors are not larger by a little but of another kind, and no scale
fits both. Seen from the predicted label, which is all that is known of a new star: beyond the first
``WINDOW_STARS`` neighbours whose residuals are ``MAX_RATIO`` times what is usual, labels count as
outside the limits.

Legend: N star, L label.
"""

from dataclasses import replace

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.limits import Limits
from distcnn.stats import STD_PER_MAD, robust_std

WINDOW_STARS = 15
"""Neighbours in the predicted label whose residuals are taken together."""
MAX_RATIO = 8.0
"""Robust standard deviation of their residuals, in units of that of all."""
MIN_STARS = 100


def within_reliable_range(limits: Limits, label: Array, reference: Array) -> Limits:
    """Limits whose boxes of labels end where labels cease to be reliable.

    Parameters
    ----------
    label, reference : [N, L] of stars that the label was not fitted to; NaN = unknown.
    """
    ranges = [reliable_range(*pair) for pair in zip(label.T, reference.T, strict=True)]
    low, high = np.array(ranges).reshape(-1, 2).T
    box = np.stack([np.fmax(limits.label[:, 0], low), np.fmin(limits.label[:, 1], high)], axis=1)
    return replace(limits, label=box)


def reliable_range(label: Array, reference: Array) -> tuple[float, float]:
    """Lowest and highest label [N] that is reliable; NaN where there is no end."""
    good = np.isfinite(label) & np.isfinite(reference)
    if good.sum() < MIN_STARS:
        return np.nan, np.nan
    order = np.argsort(label[good], kind="stable")
    values = label[good][order].astype(np.float64)
    residual = values - reference[good][order]
    usual = robust_std(residual)
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(residual), WINDOW_STARS)
    bad = STD_PER_MAD * np.median(windows, axis=1) > MAX_RATIO * usual
    # Ends lie in the outer halves: wild stars in the midst of others limit nothing.
    middle = len(bad) // 2
    above = np.flatnonzero(bad[middle:])
    below = np.flatnonzero(bad[:middle])
    high = values[middle + above[0] + WINDOW_STARS // 2] if above.size else np.nan
    low = values[below[-1] + WINDOW_STARS // 2] if below.size else np.nan
    return float(low), float(high)
