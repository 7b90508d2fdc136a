"""Halo: are the labels of metal-poor stars right at low S/N, where the publication needs them?

Guiglion et al. 2024 (A&A 682, A9) state labels that are precise and accurate down to
[M/H] = -2.4 at 15 < S/N < 25; most training sets thin out long before.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import (
    BEYOND_SIGMA,
    decide,
    sigma_outside,
    small_sample,
    unit_after,
)
from distcnn.stats import robust_std

SNR = (15.0, 25.0)
"""S/N per pixel of the stars that are asked about."""
METALLICITY_EDGES_DEX = (-2.4, -2.0, -1.5, -1.0, -0.5, 0.5)
"""Bins of the reference metallicity, from the published limit up."""
HALO_DEX = -1.0
"""Metallicity below which stars count as halo."""
METALLICITIES = ("mh", "feh")
"""Labels that tell the metallicity, the first that there is."""
MIN_STARS = 5
"""Stars from which on a bin is judged; that their scatter is little known counts."""
MAX_BIAS_ERRORS = 1.0
"""Largest bias, in median quoted errors."""


def halo_rows(
    names: Sequence[str],
    label: Array,
    label_error: Array,
    reference: Array,
    snr: Array,
) -> list[AnswerRow]:
    """Bias, scatter and pull per label and bin of reference metallicity.

    Parameters
    ----------
    label, label_error, reference : [N, L] of stars outside training, label units.
    snr : [N] per pixel; those outside ``SNR`` are left out.
    """
    column = metallicity_column(names)
    if column is None:
        return []
    metallicity, faint = reference[:, column], (snr >= SNR[0]) & (snr < SNR[1])
    rows: list[AnswerRow] = []
    for low, high in pairwise(METALLICITY_EDGES_DEX):
        inside = faint & (metallicity >= low) & (metallicity < high)
        for number, name in enumerate(names):
            if not np.isfinite(reference[faint, number]).any():
                continue  # of which nothing is known nothing is asked
            if not np.isfinite(label_error[:, number]).any():
                continue  # a label without quoted errors
            values = (a[inside, number] for a in (label, label_error, reference))
            rows += _row(name, (low, high), *values)
    return rows


def metallicity_column(names: Sequence[str]) -> int | None:
    """Column of the label that tells the metallicity; None without."""
    return next((list(names).index(name) for name in METALLICITIES if name in names), None)


def _row(
    name: str, edges: tuple[float, float], label: Array, error: Array, reference: Array
) -> list[AnswerRow]:
    good = np.isfinite(label) & np.isfinite(error) & np.isfinite(reference)
    place: AnswerRow = {"label": name, "low": edges[0], "high": edges[1], "stars": int(good.sum())}
    if good.sum() < 2:
        # A bin below HALO_DEX that is empty is no answer either.
        return [{**place, **dict.fromkeys(_NUMBERS, 0.0)}] if edges[1] <= HALO_DEX else []
    residual = (label - reference)[good]
    quoted = float(np.median(error[good]))
    sampling = float(residual.std(ddof=1)) / math.sqrt(len(residual))
    bias = float(residual.mean())
    outside = sigma_outside(abs(bias), MAX_BIAS_ERRORS * quoted, sampling)
    return [
        {
            **place,
            "bias": bias,
            "bias_error": sampling,
            "scatter": robust_std(residual),
            "quoted_error": quoted,
            "pull": robust_std(residual / error[good]),
            "sigma_outside": small_sample(outside, len(residual)),
        }
    ]


_NUMBERS = ("bias", "bias_error", "scatter", "quoted_error", "pull", "sigma_outside")


def judge_halo(names: Sequence[str], rows: Sequence[AnswerRow]) -> Answer:
    """Fails where a label is biased by more than its quoted error in a bin below ``HALO_DEX``."""
    column = metallicity_column(names)
    if column is None:
        return Answer(Verdict.UNDECIDED, f"no label {' or '.join(METALLICITIES)}", rows)
    poor = [row for row in rows if float(row["high"]) <= HALO_DEX]
    found = decide(poor, least=MIN_STARS, min_share=0.0)
    if not found.judged:
        most = max((int(row["stars"]) for row in poor), default=0)
        return Answer(
            Verdict.UNDECIDED,
            f"no bin below [M/H] = {HALO_DEX:g} has {MIN_STARS} stars outside training with a "
            f"reference at {SNR[0]:g} < S/N < {SNR[1]:g} (the fullest has {most})",
            rows,
        )
    lowest = min(float(row["low"]) for row in found.judged)
    worst = max(found.judged, key=_bias_in_errors)
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} labels and bins are biased by more than "
        f"{MAX_BIAS_ERRORS:g} quoted error ({BEYOND_SIGMA:g} standard errors beyond), down to "
        f"[M/H] = {lowest:g}; the largest is {worst['label']} at {worst['low']:g} to "
        f"{worst['high']:g}: {float(worst['bias']):+.3g} +- "
        f"{float(worst['bias_error']):.2g}{unit_after(worst)}, "
        f"{_bias_in_errors(worst):.2f} errors"
    )
    return Answer(found.verdict, sentence + found.note(_place), rows)


def _place(row: AnswerRow) -> str:
    return f"{row['label']} at {row['low']:g} to {row['high']:g}"


def _bias_in_errors(row: AnswerRow) -> float:
    return abs(float(row["bias"])) / max(float(row["quoted_error"]), 1e-30)
