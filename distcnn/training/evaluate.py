"""Evaluate: residuals in numbers, per label and S/N bin."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distcnn.quality import bin_name, snr_bins

Array = np.ndarray[Any, Any]


def results_table(
    residual: Array, snr: Array, *, edges: Sequence[float], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows with label, snr (``all`` first), stars, bias (median), std, mad (1.48 MAD).

    Parameters
    ----------
    residual : [N,L] prediction minus reference in label units, NaN = no reference.
    """
    bins = snr_bins(snr, edges)
    groups = [("all", np.ones(len(snr), bool))]
    groups += [(bin_name(int(n), edges), bins == n) for n in np.unique(bins)]
    return [
        {"label": name, "snr": text} | _spread(residual[inside, column])
        for column, name in enumerate(names)
        for text, inside in groups
    ]


def _spread(residual: Array) -> dict[str, Any]:
    good = residual[np.isfinite(residual)].astype(np.float64)
    if not good.size:
        return {"stars": 0}
    bias = float(np.median(good))
    return {
        "stars": int(good.size),
        "bias": bias,
        "std": float(good.std()),
        "mad": float(1.4826 * np.median(np.abs(good - bias))),
    }
