"""Coverage: whether quoted errors hold what they promise."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distcnn.quality.bins import snr_groups

Array = np.ndarray[Any, Any]

WITHIN_68, WITHIN_95 = 0.6827, 0.9545


def coverage_table(
    residual: Array,
    label_error: Array,
    reference_error: Array,
    snr: Array,
    *,
    edges: Sequence[float],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Achieved coverage and pull widths per label and S/N bin, ready for JSON.

    Parameters
    ----------
    residual, label_error, reference_error : [N, L] in label units; give zeros where truth is known.

    Returns
    -------
    Rows with label, snr (name of the bin, "all" first), stars, within_68, within_95 (fractions
    inside 1 and 2 total errors), pull_std, pull_mad (1.48 MAD), bias (mean residual).
    """
    groups = snr_groups(snr, edges)
    pulls = residual / np.hypot(label_error, np.nan_to_num(reference_error))
    rows = []
    for column, name in enumerate(names):
        for text, inside in groups:
            good = inside & np.isfinite(pulls[:, column])
            rows.append(
                {"label": name, "snr": text}
                | _coverage(pulls[good, column], residual[good, column])
            )
    return rows


def _coverage(pull: Array, residual: Array) -> dict[str, Any]:
    if not pull.size:
        return {"stars": 0}
    return {
        "stars": int(pull.size),
        "within_68": float((np.abs(pull) <= 1).mean()),
        "within_95": float((np.abs(pull) <= 2).mean()),
        "pull_std": float(pull.std()),
        "pull_mad": float(1.4826 * np.median(np.abs(pull - np.median(pull)))),
        "bias": float(residual.mean()),
    }
