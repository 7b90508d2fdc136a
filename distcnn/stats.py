"""Statistics: robust widths, bins of S/N, and whether quoted errors hold what they promise."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distcnn.arrays import Array

WITHIN_68, WITHIN_95 = 0.6827, 0.9545
"""Fractions of a Gaussian within 1 and 2 standard deviations of its mean."""
LN_WIDTH_VARIANCE = 0.93
"""Times the number of stars: variance of ln of the 68.3 % width of Gaussian residuals, and nearly
that of the 95.4 % one."""
COVERAGE_SLOPES = {WITHIN_68: 0.484, WITHIN_95: 0.216}
"""How a coverage goes with ln of the width, of a Gaussian."""
STD_PER_MAD = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation: 1 / ndtri(3 / 4)."""


def robust_std(values: Array) -> float:
    """1.4826 times the median absolute deviation from the median: a width that outliers do not
    move; the standard deviation if ``values`` [N] are Gaussian.
    """
    return float(STD_PER_MAD * np.median(np.abs(values - np.median(values))))


def coverage_error(
    expected: float, judged: Array | float, calibration: Array | float | None = None
) -> Array:
    """Sampling error of a coverage that should be ``expected``, 0.683 or 0.954.

    By the number of stars judged, and the effective number of those that the width was fitted to:
    who draws other calibration stars gets other errors. None = the width is not from stars.
    """
    variance = expected * (1 - expected) / np.maximum(judged, 1)
    if calibration is not None:
        slope = COVERAGE_SLOPES[expected]
        variance = variance + slope**2 * LN_WIDTH_VARIANCE / np.maximum(calibration, 1)
    return np.asarray(np.sqrt(variance))


def told_of_width(error: Array, reference_error: Array | float) -> Array:
    """What a star tells of the width of its error, 1 if its reference is exact.

    The less the larger the error of the reference is: (e^2 / (e^2 + r^2))^2.
    """
    return np.asarray(1 / np.square(1 + np.square(reference_error / error)))


def snr_bins(snr: Array, edges: Sequence[float] | Array) -> Array:
    """[N] number of the S/N bin: 0 below the first edge, len(edges) above the last, -1 unknown."""
    bins = np.searchsorted(np.asarray(edges, float), snr, side="right")
    return np.where(np.isfinite(snr) & (snr > 0), bins, -1)


def bin_name(number: int, edges: Sequence[float] | Array) -> str:
    """``"15-25"``, ``"< 15"``, ``">= 100"``, or ``"unknown"``."""
    if number < 0:
        return "unknown"
    if number == 0:
        return f"< {edges[0]:g}"
    if number == len(edges):
        return f">= {edges[-1]:g}"
    return f"{edges[number - 1]:g}-{edges[number]:g}"


def snr_groups(snr: Array, edges: Sequence[float] | Array) -> list[tuple[str, Array]]:
    """Name and mask [N]: all stars, then every bin that has stars, ``unknown`` first of them."""
    bins = snr_bins(snr, edges)
    found = [(bin_name(int(number), edges), bins == number) for number in np.unique(bins)]
    return [("all", np.ones(len(snr), bool)), *found]


def coverage_table(
    residual: Array,
    label_error: Array,
    reference_error: Array,
    snr: Array,
    *,
    edges: Sequence[float],
    names: Sequence[str],
    width_95: Sequence[float] | Array | None = None,
    calibration: Array | None = None,
) -> list[dict[str, Any]]:
    """Achieved coverage and pull widths per label and S/N bin, ready for JSON.

    Parameters
    ----------
    residual, label_error, reference_error : [N, L] in label units; give zeros where truth is known.
    width_95 : [L] total errors that hold 95.4 % of the errors of a label; None = 2, of a Gaussian.
    calibration : [N, L] effective number of calibration stars that a star stands for.

    Returns
    -------
    Rows with label, snr (name of the bin, "all" first), stars, within_68, within_95 (fractions
    inside 1 and ``width_95`` total errors), pull_std, pull_mad (1.48 MAD), bias (mean residual);
    and calibration, the sum of it, where it is known.
    """
    groups = snr_groups(snr, edges)
    noise = np.nan_to_num(reference_error)
    pulls = residual / np.hypot(label_error, noise)
    wide = np.full(len(names), 2.0) if width_95 is None else np.asarray(width_95)
    within_95 = np.abs(residual) <= np.hypot(wide * label_error, 2 * noise)
    rows = []
    for column, name in enumerate(names):
        for text, inside in groups:
            good = inside & np.isfinite(pulls[:, column])
            row: dict[str, Any] = {"label": name, "snr": text}
            row |= _coverage(pulls[good, column], residual[good, column], within_95[good, column])
            if calibration is not None and row["stars"]:
                row["calibration"] = float(calibration[good, column].sum())
            rows.append(row)
    return rows


def _coverage(pull: Array, residual: Array, within_95: Array) -> dict[str, Any]:
    if not pull.size:
        return {"stars": 0}
    return {
        "stars": int(pull.size),
        "within_68": float((np.abs(pull) <= 1).mean()),
        "within_95": float(within_95.mean()),
        "pull_std": float(pull.std()),
        "pull_mad": robust_std(pull),
        "bias": float(residual.mean()),
    }
