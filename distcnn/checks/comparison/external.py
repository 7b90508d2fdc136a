"""External: labels against a catalogue that training never saw.

A catalogue has errors and a scale of its own: offsets within the known systematics between
surveys are no fault, and scatter counts in units of the errors of both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import (
    BEYOND_SIGMA,
    MEDIAN_ERROR,
    ROBUST_SCATTER_ERROR,
    decide,
    sigma_outside,
    unit_after,
)
from distcnn.labels import label_info
from distcnn.stats import robust_std, snr_groups

SYSTEMATIC = {"K": 100.0, "dex": 0.1}
"""Offsets between good spectroscopic surveys, by unit: Jofre et al. 2019 (ARA&A 57, 571)."""
GRAVITY_SYSTEMATIC_DEX = 0.2
MAX_TREND = 1.5
"""Largest change of the difference over the middle 90 % of the stars, in errors of both."""
MIN_SLOPE, MAX_SLOPE = 0.6, 1.4
"""Slope of the labels against the catalogue, its errors allowed for."""
MAX_PULL = 2.0
"""Largest scatter in units of the errors of both, where the catalogue gives errors."""
MIN_STARS = 20
"""Stars in common from which on a label is judged."""
TREND_AXES = ("teff", "logg", "mh", "feh")
"""Labels along which differences are looked at; of the metallicities the first that there is."""
MIN_SIGNAL, LEAST_SIGNAL = 3.0, 1.0
"""Spread of the catalogue over the errors of both from which a slope is judged, and from which
none at all is a fault."""
NO_SLOPE = 0.3
"""A smaller slope is none at all."""


@dataclass(frozen=True)
class MatchedStars:
    """Stars that a catalogue has too: N stars, the L labels that both have.

    Attributes
    ----------
    names : names of the labels.
    label, label_error : [N, L] of the package. ``snr`` : [N] of the spectra.
    reference, reference_error : [N, L] of the catalogue; NaN = none.
    axes : name -> [N], what differences may depend on.
    """

    names: tuple[str, ...]
    label: Array
    label_error: Array
    reference: Array
    reference_error: Array
    snr: Array
    axes: dict[str, Array]


def external_rows(stars: MatchedStars, edges: Sequence[float]) -> list[AnswerRow]:
    """Bias, scatter, slope and trends per label and S/N bin; ``edges`` of the bins."""
    rows: list[AnswerRow] = []
    for number, name in enumerate(stars.names):
        values = (stars.label, stars.label_error, stars.reference, stars.reference_error)
        label, error, reference, reference_error = (array[:, number] for array in values)
        good = np.isfinite(label) & np.isfinite(error) & np.isfinite(reference)
        for text, inside in snr_groups(stars.snr, edges):
            mine = good & inside
            if mine.any():
                given = label[mine], error[mine], reference[mine], reference_error[mine]
                axes = {axis: value[mine] for axis, value in stars.axes.items()}
                row = {"label": name, "snr": text, **_numbers(*given, axes)}
                rows.append({**row, "sigma_outside": max(_distances(row).values())})
    return rows


def _numbers(
    label: Array, error: Array, reference: Array, reference_error: Array, axes: dict[str, Array]
) -> dict[str, float | int | str]:
    difference = label - reference
    theirs = np.where(np.isfinite(reference_error), reference_error, 0.0)
    total = np.hypot(error, theirs)
    typical = float(np.median(total))
    bias, scatter = float(np.median(difference)), robust_std(difference)
    trends = {axis: trend(values, difference) for axis, values in axes.items()}
    along = max(trends, key=lambda axis: abs(trends[axis]), default="")
    sloped, slope_error = slope(label, reference, theirs)
    return {
        "stars": len(label),
        "bias": bias,
        "bias_error": MEDIAN_ERROR * scatter / math.sqrt(len(label)),
        "scatter": scatter,
        "error": float(np.median(error)),
        "catalogue_error": float(np.median(theirs)),
        "pull": robust_std(difference / total),
        "slope": sloped,
        "slope_error": slope_error,
        "signal": robust_std(reference) / max(typical, 1e-30),
        "trend_along": along,
        "trend": trends.get(along, 0.0),
        "trend_errors": abs(trends.get(along, 0.0)) / max(typical, 1e-30),
        "outliers": float((np.abs(difference - bias) > 5 * max(scatter, 1e-30)).mean()),
    }


def slope(label: Array, reference: Array, reference_error: Array) -> tuple[float, float]:
    """Slope of ``label`` against ``reference`` [N], freed of the catalogue's own errors, and its
    sampling error.

    Least squares within 5 robust standard deviations of the difference; the variance of the
    catalogue's errors is taken off that of its values (Fuller 1987, section 1.2).
    """
    difference = label - reference
    width = robust_std(difference)
    kept = np.abs(difference - np.median(difference)) <= 5 * max(width, 1e-30)
    x, y, noise = reference[kept], label[kept], reference_error[kept]
    variance = float(x.var())
    true = max(variance - float(np.mean(noise**2)), 0.1 * variance)
    if true <= 0:
        return 0.0, 0.0
    found = float(np.mean((x - x.mean()) * (y - y.mean()))) / true
    left = y - y.mean() - found * (x - x.mean())
    return found, float(left.std() * math.sqrt(variance / len(x))) / true


def trend(axis: Array, difference: Array) -> float:
    """Change of the difference from the 5th to the 95th percentile of ``axis`` [N], by a line
    through the medians of ten bins with as many stars each; 0 where there are too few.
    """
    good = np.isfinite(axis) & np.isfinite(difference)
    x, y = axis[good], difference[good]
    if len(x) < MIN_STARS:
        return 0.0
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, max(2, min(10, len(x) // 10)))
    centre = np.array([np.median(x[part]) for part in bins])
    middle = np.array([np.median(y[part]) for part in bins])
    if np.ptp(centre) == 0:
        return 0.0
    low, high = np.quantile(x, (0.05, 0.95))
    return float(np.polyfit(centre, middle, 1)[0] * (high - low))


def systematic(name: str) -> float:
    """Offset of a label between surveys that is no fault, label units; 0 for unknown units."""
    return GRAVITY_SYSTEMATIC_DEX if name == "logg" else SYSTEMATIC.get(label_info(name).unit, 0.0)


def judge_external(rows: Sequence[AnswerRow], catalogue: str) -> Answer:
    """Fails where a label is offset, sloped, drifting or scattered beyond the errors of both."""
    found = decide([row for row in rows if row["snr"] == "all"], least=MIN_STARS)
    if not found.judged:
        most = max((int(row["stars"]) for row in rows), default=0)
        return Answer(
            Verdict.UNDECIDED,
            f"no label has {MIN_STARS} stars in common with {catalogue} (the most is {most})",
            rows,
        )
    if found.failed:
        named = "; ".join(f"{row['label']}: {', '.join(_faults(row))}" for row in found.failed)
        return Answer(Verdict.FAILED, f"against {catalogue} {named}", rows)
    worst = max(found.judged, key=lambda row: float(row["pull"]))
    most = max(int(row["stars"]) for row in found.judged)
    sentence = (
        f"{len(found.held)} labels of up to {most:,} stars agree "
        f"with {catalogue}; the widest is {worst['label']}: {float(worst['bias']):+.3g} +- "
        f"{float(worst['bias_error']):.2g}{unit_after(worst)}, scatter "
        f"{float(worst['scatter']):.3g}{unit_after(worst)}, {float(worst['pull']):.2f} errors of "
        "both"
    )
    return Answer(found.verdict, sentence + found.note(_open_question), rows)


def _distances(row: AnswerRow) -> dict[str, float]:
    """Sampling errors by which each criterion of a row is beyond its limit, by what it says."""
    name = str(row["label"])
    value = {key: float(v) for key, v in row.items() if isinstance(v, int | float)}
    total = math.hypot(value["error"], value["catalogue_error"])
    allowed = max(total, systematic(name))
    found = {
        f"offset {value['bias']:+.3g}{unit_after(row)}, allowed {allowed:.2g}": sigma_outside(
            abs(value["bias"]), allowed, value["bias_error"]
        ),
    }
    words = f"drifts by {value['trend']:+.3g}{unit_after(row)} along {row['trend_along']}, allowed "
    words += f"{MAX_TREND * allowed:.2g}"
    found[words] = sigma_outside(abs(value["trend"]), MAX_TREND * allowed, 2 * value["bias_error"])
    limits = (NO_SLOPE, math.inf)
    if value["signal"] >= MIN_SIGNAL:
        limits = (MIN_SLOPE, MAX_SLOPE)
    if value["signal"] >= LEAST_SIGNAL:
        beyond = max(limits[0] - value["slope"], value["slope"] - limits[1])
        words = f"slope {value['slope']:.2f}, allowed {limits[0]:g} to {limits[1]:g}"
        found[words] = sigma_outside(beyond, 0.0, value["slope_error"])
    if value["catalogue_error"] > 0:
        error = ROBUST_SCATTER_ERROR * value["pull"] / math.sqrt(value["stars"])
        words = f"scatter of {value['pull']:.2f} errors of both, allowed {MAX_PULL:g}"
        found[words] = sigma_outside(value["pull"], MAX_PULL, error)
    return found


def _faults(row: AnswerRow) -> list[str]:
    return [words for words, sigma in _distances(row).items() if sigma > BEYOND_SIGMA]


def _open_question(row: AnswerRow) -> str:
    """The label and the criterion that is nearest to its limit."""
    found = _distances(row)
    return f"{row['label']} ({max(found, key=lambda words: found[words])})"
