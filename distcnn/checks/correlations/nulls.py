"""Nulls: labels of stars from which something was taken that they should need.

Legend: N star, L label, P pixel.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import AnswerRow
from distcnn.checks.decision import (
    BEYOND_SIGMA,
    MIN_STARS,
    sigma_outside,
)
from distcnn.checks.predictor import PredictedStars
from distcnn.schema import Flag
from distcnn.stats import WITHIN_68, robust_std

UNJUDGED = Flag.NON_FINITE | Flag.UNCALIBRATED
"""Flags of stars whose errors are not known: they say nothing about errors."""
WARNED = Flag.NO_SPECTRUM | Flag.NO_PHOTOMETRY
"""Flags of stars that lack what every package is trained with: their errors are told, not judged.
XP and parallax are hidden in training, and errors must hold without them."""
SCATTER, COVERAGE = "scatter ratio,", "share within 68 % error,"
SHUFFLED, MASKED, WITHOUT = "shuffled spectra", "masked lines", "without"
RESAMPLES, LEAST_ERROR = 100, 1e-6
"""Samples of the stars, and the least sampling error: without one a value counts as unknown."""
MIN_GROWTH = 1.2
"""A label that is taken from the spectrum scatters at least so many times more with another's."""
MIN_WITHIN = 0.5
"""Least share of stars within the 68 % error where an input is missing and no flag warns."""
MAX_WARNED = 0.5
"""Share of stars with such flags from which on the others decide nothing."""
TOLD_ONLY = 0.0
"""Least value of what is told and never fails."""

LINE_DEPTH = 0.03
"""Pixels count as lines where the mean spectrum is deeper, as a share of its continuum."""
CONTINUUM_QUANTILE = 0.9


@dataclass(frozen=True)
class Null:
    """What was done (``SHUFFLED``, ``MASKED``, ``WITHOUT`` an input), and the labels then."""

    name: str
    found: PredictedStars


def null_rows(
    names: Sequence[str],
    base: PredictedStars,
    nulls: Sequence[Null],
    reference: Array,
    reference_error: Array,
) -> list[AnswerRow]:
    """Scatter about the reference [N, L] with and without, and what it says, per null and label.

    ``reference_error`` [N, L] counts with the quoted errors.
    """
    known = np.nan_to_num(reference_error)
    return [
        row
        for null in nulls
        for number, name in enumerate(names)
        for row in _row(name, null, base, (reference[:, number], known[:, number]), number)
    ]


def _row(
    name: str, null: Null, base: PredictedStars, known_truth: tuple[Array, Array], number: int
) -> Iterator[AnswerRow]:
    truth, truth_error = known_truth
    judged = (null.found.flags & int(UNJUDGED)) == 0
    error = null.found.label_error[:, number]
    residual = null.found.label[:, number] - truth
    before = base.label[:, number] - truth
    quoted = bool(null.found.quoted[number])
    known = judged & np.isfinite(residual) & np.isfinite(before) & ((error > 0) | (not quoted))
    stars = int(known.sum())
    least = MIN_GROWTH if null.name == SHUFFLED else TOLD_ONLY
    if stars < MIN_STARS:
        yield row_of_test(f"{SCATTER} {null.name}", name, stars, 0.0, error=0.0, least=least)
        return
    growth, sampling = _growth(residual[known], before[known])

    yield row_of_test(f"{SCATTER} {null.name}", name, stars, growth, error=sampling, least=least)
    if null.name.startswith(WITHOUT) and quoted:
        both = np.hypot(error, truth_error)
        within = float((np.abs(residual[known]) <= both[known]).mean())
        share = math.sqrt(WITHIN_68 * (1 - WITHIN_68) / stars)
        warned = float(((null.found.flags[known] & int(WARNED)) > 0).mean())
        least = MIN_WITHIN if warned < MAX_WARNED else TOLD_ONLY
        yield row_of_test(f"{COVERAGE} {null.name}", name, stars, within, error=share, least=least)


def _growth(after: Array, before: Array) -> tuple[float, float]:
    """Robust scatter of residuals [n] over that of the same stars before, and its sampling error.

    By samples of the stars (bootstrap): both scatters are of the same ones.
    """
    chosen = np.random.default_rng(0).integers(0, len(after), (RESAMPLES, len(after)))
    ratios = [robust_std(after[each]) / max(robust_std(before[each]), 1e-30) for each in chosen]
    whole = robust_std(after) / max(robust_std(before), 1e-30)
    return whole, max(float(np.std(ratios)), LEAST_ERROR)


def row_of_test(
    test: str, label: str, stars: int, value: float, *, error: float, least: float
) -> AnswerRow:
    """A value and its sampling error; it fails if it is below ``least`` beyond that error.

    Of too few stars to tell, ``error`` is 0.
    """
    outside = sigma_outside(least, value, error) if error > 0 else 0.0
    return {
        "test": test,
        "label": label,
        "stars": stars,
        "value": value,
        "value_error": error,
        "least": least,
        "fails": int(outside > BEYOND_SIGMA),
        "sigma_outside": outside,
    }


def shuffled_spectra(arrays: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Every star with the spectrum of another and all else its own."""
    count = len(arrays["flux"])
    # One cycle through a random order: no star keeps its own.
    order = rng.permutation(count)
    other = np.empty(count, int)
    other[order] = np.roll(order, 1)
    own = ("flux", "flux_error", "snr")
    return arrays | {name: arrays[name][other] for name in own if name in arrays}


def masked_lines(arrays: dict[str, Array]) -> dict[str, Array]:
    """Every star without the pixels in which the mean spectrum has a line."""
    flux = arrays["flux"].astype(float)
    count = np.isfinite(flux).sum(axis=0)
    mean = np.nansum(flux, axis=0) / np.maximum(count, 1)
    line = mean < (1 - LINE_DEPTH) * np.quantile(mean[count > 0], CONTINUUM_QUANTILE)
    return arrays | {"flux": np.where(line, np.nan, arrays["flux"]).astype(arrays["flux"].dtype)}
