"""Repeats: do labels of one star from several spectra scatter as their quoted errors say?

Repeats share what is wrong of a star in every spectrum (labels of training, blends, the network's
own errors), so they scatter by less than the whole error; they must not scatter by more.
"""

import math
from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import (
    BEYOND_SIGMA,
    WIDTH_68_ERROR,
    decide,
    label_and_snr,
    sigma_outside,
)
from distcnn.stats import WITHIN_68, robust_std, snr_groups

MAX_RATIO = 1.1
"""Largest scatter, in quoted errors."""
MIN_PAIRS = 30
"""Spectra beyond the first of their star from which on a bin is judged."""


def repeat_deviations(star: Array, label: Array, error: Array) -> tuple[Array, Array]:
    """Deviations of spectra from the weighted mean of their star, and those deviations expected.

    Parameters
    ----------
    star : [N] identifier of the star of each spectrum.
    label, error : [N] one label of each spectrum; NaN = none.

    Returns
    -------
    deviation [N] in units of its expected standard deviation, NaN for stars of one spectrum;
    free [N], the share of a degree of freedom that the spectrum brings: (n - 1) / n.
    """
    good = np.isfinite(label) & np.isfinite(error) & (error > 0)
    _, place = np.unique(star, return_inverse=True)
    weight = np.where(good, 1 / np.where(good, error, 1) ** 2, 0.0)
    total = np.bincount(place, weight)
    count = np.bincount(place, good.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(place, weight * np.where(good, label, 0)) / total
        expected = np.sqrt(error**2 - 1 / total[place])
        repeated = good & (count[place] > 1)
        deviation = np.where(repeated, (label - mean[place]) / expected, np.nan)
        free = np.where(repeated, 1 - 1 / count[place], 0.0)
    return deviation, free


def repeat_rows(
    names: Sequence[str],
    star: Array,
    label: Array,
    label_error: Array,
    *,
    snr: Array,
    edges: Sequence[float],
) -> list[AnswerRow]:
    """Scatter of repeats in quoted errors, per label and S/N bin.

    Parameters
    ----------
    star : [N] identifier of the star of each spectrum.
    label, label_error : [N, L], label units. ``snr`` [N] of each spectrum.
    edges : of the S/N bins.
    """
    rows: list[AnswerRow] = []
    for number, name in enumerate(names):
        error = label_error[:, number].astype(float)
        deviation, free = repeat_deviations(star, label[:, number].astype(float), error)
        for text, inside in snr_groups(snr, edges):
            mine = inside & np.isfinite(deviation)
            if free[mine].sum() < 1:
                continue
            ratio = float(np.quantile(np.abs(deviation[mine]), WITHIN_68))
            quoted = float(np.median(error[mine]))
            sampling = WIDTH_68_ERROR * ratio / math.sqrt(float(free[mine].sum()))
            rows.append(
                {
                    "label": name,
                    "snr": text,
                    "stars": len(np.unique(star[mine])),
                    "spectra": int(mine.sum()),
                    "pairs": float(free[mine].sum()),
                    "scatter": robust_std(deviation[mine]) * quoted,
                    "quoted_error": quoted,
                    "ratio": ratio,
                    "ratio_error": sampling,
                    "sigma_outside": sigma_outside(ratio, MAX_RATIO, sampling),
                }
            )
    return rows


def judge_repeats(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where repeats scatter by more than ``MAX_RATIO`` quoted errors."""
    found = decide(rows, least=MIN_PAIRS, count="pairs")
    if not found.judged:
        return Answer(
            Verdict.UNDECIDED,
            f"no label and S/N bin has {MIN_PAIRS} repeated spectra: give a second survey or "
            "prediction store of the same stars, or a survey of epochs",
            rows,
        )
    worst = max(found.judged, key=lambda row: float(row["ratio"]))
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} labels and S/N bins scatter by more than "
        f"{MAX_RATIO:g} quoted errors ({BEYOND_SIGMA:g} sampling errors beyond); the largest is "
        f"{worst['label']} at S/N {worst['snr']}: {float(worst['ratio']):.2f} +- "
        f"{float(worst['ratio_error']):.2f} of {worst['stars']} stars"
    )
    return Answer(found.verdict, sentence + found.note(label_and_snr), rows)
