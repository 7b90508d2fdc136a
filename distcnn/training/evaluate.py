"""Evaluate: residuals in numbers, per label and S/N bin; and what fewer members would cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig
from distcnn.modalities import MODALITIES
from distcnn.model import Network, StarInputs, predict_each
from distcnn.quality import MISSING_MODALITIES, Calibration, snr_groups
from distcnn.stats import robust_std
from distcnn.training.data.labelled import Labelled


def results_table(
    residual: Array, snr: Array, *, edges: Sequence[float], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows with label, snr (``all`` first), stars, bias (median), std, mad (1.48 MAD).

    Parameters
    ----------
    residual : [N,L] prediction minus reference in label units, NaN = no reference.
    """
    groups = snr_groups(snr, edges)
    return [
        {"label": name, "snr": text} | _residual_statistics(residual[inside, column])
        for column, name in enumerate(names)
        for text, inside in groups
    ]


def _residual_statistics(residual: Array) -> dict[str, Any]:
    good = residual[np.isfinite(residual)].astype(np.float64)
    if not good.size:
        return {"stars": 0}
    bias = float(np.median(good))
    return {
        "stars": int(good.size),
        "bias": bias,
        "std": float(good.std()),
        "mad": robust_std(good),
    }


def without_modalities(stars: StarInputs) -> dict[str, StarInputs]:
    """The same stars with modalities hidden, by ``quality.MISSING_MODALITIES``."""
    calibrated = [row.name for row in MODALITIES if row.lack]
    out = {}
    for number, text in enumerate(MISSING_MODALITIES, start=1):
        hidden = [name for bit, name in enumerate(calibrated) if number >> bit & 1]
        if all(name in stars.arrays and stars[name].shape[1] for name in hidden):
            out[text] = stars.without(*hidden)
    return out


def ensemble_sizes(
    networks: Sequence[Network], stars: Labelled, settings: QualityConfig, names: Sequence[str]
) -> list[dict[str, Any]]:
    """What the first 1, 2, 4, ... members alone come to, calibrated each time anew.

    Every other star of the calibration split fits the calibration, the others are judged.

    Returns
    -------
    Rows with members, label, snr, stars, std, mad, within_68, error (median calibrated one).
    """
    mean, sigma = predict_each(networks, stars.inputs)
    counts = sorted({min(2**k, len(networks)) for k in range(len(networks).bit_length() + 1)})
    rows = []
    for count in counts:
        label = mean[:count].mean(axis=0)
        noise = np.sqrt(np.square(sigma[:count]).mean(axis=0))
        scatter = mean[:count].std(axis=0, ddof=1) if count > 1 else np.zeros_like(label)
        rows += [
            {"members": count} | row
            for row in _calibrated_rows(stars, (label, noise, scatter), settings.snr_edges, names)
        ]
    return rows


def _calibrated_rows(
    stars: Labelled,
    predicted: tuple[Array, Array, Array],
    edges: Sequence[float],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    label, noise, scatter = predicted
    snr, residual = stars.inputs["snr"][:, 0], label - stars.label
    fit, rest = slice(0, None, 2), slice(1, None, 2)
    fitted = Calibration.fit(
        residual[fit], noise[fit], scatter[fit], stars.label_error[fit], snr[fit], edges=edges
    )
    total = fitted.apply(noise[rest], scatter[rest], snr[rest])
    pull = np.abs(residual[rest]) / np.hypot(total, np.nan_to_num(stars.label_error[rest]))
    rows = results_table(residual[rest], snr[rest], edges=edges, names=names)
    groups = dict(snr_groups(snr[rest], edges))
    for row in (row for row in rows if row["stars"]):
        column = list(names).index(row["label"])
        inside = groups[row["snr"]] & np.isfinite(pull[:, column])
        row["within_68"] = float((pull[inside, column] <= 1).mean()) if inside.any() else None
        row["error"] = float(np.median(total[inside, column])) if inside.any() else None
    return rows
