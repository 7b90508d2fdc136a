"""Debiasing: how far estimates are pulled to the population, and the estimate without it.

An estimate of least squared error is the mean of what is possible, weighted with how common it
is. With an error t in a population of spread p its slope against truth is 1 - q, q = t^2/p^2,
and that is no fault: undoing it costs scatter. Who compares populations, not stars, may want it
undone all the same:

    debiased = mean + (label - mean) / (1 - q),  q = k t^2 / p^2,  error t / sqrt(1 - q)

with t the total error of the very star. k would be 1 of an ideal estimate; it is fitted so that
the slope against references becomes one, whose own errors are taken out of the slope. It varies
smoothly with ln S/N, and has a curve of its own for stars that lack inputs. The slope of few stars
is uncertain, and so is k: then it stays near 1, and its standard error is part of the error of the
debiased label. Where the slope is known to no better than ``MAX_SLOPE_ERROR``, or q is above
``MAX_SHRINKAGE``, nobody can tell what the label would be without its population: NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.calibration import MISSING_MODALITIES
from distcnn.quality.calibration.smooth_scale import differences
from distcnn.stats import snr_bins, snr_groups

MAX_SHRINKAGE = 0.75
"""Largest q: beyond, a star tells less than its population, and nothing is there to be freed."""
MAX_SLOPE_ERROR = 0.25
"""Largest error of the slope, from that of k, with which a debiased label is given."""
MAX_STRENGTH = 4.0
"""Largest k that is tried, and with its sign changed the smallest."""
MIN_STARS_FOR_STRENGTH = 20
"""Stars without which an S/N bin tells nothing of k."""
_PRIOR_SPREAD = 0.7  # of k around 1, its value for an ideal estimate
_MISSING_SPREAD = 0.5  # of k of stars that lack inputs around that of the others
_WALK_SPREAD = 0.5  # of k along ln S/N, per factor e
_STEP = 0.05  # of k, over which the growth of the slope is taken
_LEAST_Q = -0.5  # slopes above 1 are taken back no further


@dataclass(frozen=True)
class Debiasing:
    """Mean and spread of the population, and strength k.

    Attributes
    ----------
    mean, spread : [L] of the training references, their errors taken out, label units.
    centres : [K] ln S/N at which ``strength`` holds; constant beyond the ends, linear between.
    strength, strength_error : [H + 1, K + 1, L] k and its standard error; first of stars that lack
        nothing, then of those that lack ``MISSING_MODALITIES``; last node: S/N unknown.
    """

    mean: Array
    spread: Array
    centres: Array
    strength: Array
    strength_error: Array

    @classmethod
    def fit(
        cls,
        stars: "LabelledEstimates",
        *,
        edges: Sequence[float],
        population: tuple[Array, Array],
    ) -> "Debiasing":
        """Fit on stars outside training.

        ``population`` : references and their errors [T, L] of the training stars.
        """
        snr = stars.snr
        mean, spread = _moments(*population)
        bins = snr_bins(snr, edges)
        inside = [bins == number for number in np.unique(bins[bins >= 0])]
        centres = np.array([np.median(np.log(snr[rows])) for rows in inside])
        shape = (len(MISSING_MODALITIES) + 1, len(centres) + 1, len(mean))
        bare = cls(mean, spread, centres, np.ones(shape), np.full(shape, _PRIOR_SPREAD))
        strength, known = bare._curve(stars, np.ones(shape[1:]), _PRIOR_SPREAD)
        # Whoever lacks something goes with the others until its own stars are asked.
        wider = np.hypot(known, _MISSING_SPREAD)
        errors = np.stack([known, *[wider] * len(MISSING_MODALITIES)])
        return cls(mean, spread, centres, np.tile(strength, (shape[0], 1, 1)), errors)

    def with_missing(self, number: int, stars: "LabelledEstimates") -> "Debiasing":
        """Fit k of stars that lack ``MISSING_MODALITIES[number]`` to estimates without it."""
        found, known = self._curve(stars, self.strength[0], _MISSING_SPREAD)
        strength, errors = self.strength.copy(), self.strength_error.copy()
        strength[number + 1], errors[number + 1] = found, known
        return Debiasing(self.mean, self.spread, self.centres, strength, errors)

    def _curve(
        self, stars: "LabelledEstimates", around: Array, width: float
    ) -> tuple[Array, Array]:
        """K [K + 1, L] and its error: at the nodes, and of all stars.

        ``around``, ``width`` : where k lies before the stars are asked, and how surely.
        """
        good = np.isfinite(stars.snr) & (stars.snr > 0)
        at = np.where(good, np.log(np.where(good, stars.snr, 1.0)), np.nan)
        # Every star belongs to the node that is nearest.
        node = _nearest(at, self.centres)
        groups = [*(node == number for number in range(len(self.centres))), np.ones(len(at), bool)]
        strength, error = np.empty_like(around), np.empty_like(around)
        for k in range(len(self.mean)):
            found = np.array(
                [_strength(stars.column(k, rows), self.mean[k], self.spread[k]) for rows in groups]
            )
            prior = around[:, k]
            strength[:-1, k], error[:-1, k] = _smoothed(found[:-1], self.centres, prior[:-1], width)
            strength[-1:, k], error[-1:, k] = _smoothed(found[-1:], np.zeros(1), prior[-1:], width)
        return strength, error

    def apply(
        self, label: Array, error: Array, snr: Array, missing: Array | None = None
    ) -> tuple[Array, Array]:
        """(debiased, its standard error), float32 [N, L]; NaN where it cannot be told.

        ``missing`` [N] : 0, or one more than a position in ``MISSING_MODALITIES``.
        """
        strength, uncertain = (
            self._at(table, snr, missing) for table in (self.strength, self.strength_error)
        )
        ratio = np.square(error / self.spread, dtype=np.float64)
        free = 1 - np.maximum(strength * ratio, _LEAST_Q)
        slope_error = uncertain * ratio / np.maximum(free, 1e-6)
        told = (free >= 1 - MAX_SHRINKAGE) & (slope_error <= MAX_SLOPE_ERROR)
        free = np.where(told, free, np.nan)
        debiased = self.mean + (label - self.mean) / free
        widened = np.hypot(error / np.sqrt(free), (debiased - self.mean) * slope_error)
        return debiased.astype(np.float32), widened.astype(np.float32)

    def _at(self, table: Array, snr: Array, missing: Array | None) -> Array:
        """[N, L] of values [H + 1, K + 1, L]."""
        good = np.isfinite(snr) & (snr > 0)
        at = np.log(np.where(good, snr, 1.0))
        lack = np.zeros(len(snr), np.int64) if missing is None else missing
        found = np.empty((len(snr), table.shape[2]))
        for number in np.unique(lack):
            rows = lack == number
            found[rows] = table[number, -1]
            mine = rows & good
            if len(self.centres) and mine.any():
                columns = table[number, :-1].T
                along = [np.interp(at[mine], self.centres, column) for column in columns]
                found[mine] = np.stack(along, axis=1)
        return found

    def table(
        self,
        stars: "LabelledEstimates",
        *,
        names: Sequence[str],
        edges: Sequence[float],
        missing: Array | None = None,
    ) -> list[dict[str, Any]]:
        """Rows per label and S/N bin ("all" first): slopes, scatter, bias of metal-poor stars.

        ``slope``, ``std``, ``poor_bias`` of the estimate, ``_debiased`` of the other one, of the
        stars where it can be told (``debiased_stars``); ``slope_error``: of both together, sampling
        and k; ``expected`` = 1 - q, the slope of least squares; ``poor_*`` of the lowest 2 % of a
        label.
        """
        debiased = self.apply(stars.label, stars.error, stars.snr, missing)[0]
        uncertain = self._at(self.strength_error, stars.snr, missing)
        groups = snr_groups(stars.snr, edges)
        rows = []
        for k, name in enumerate(names):
            known = len(stars.reference) > 0
            low = np.nanquantile(stars.reference[:, k], 0.02) if known else np.nan
            for text, inside in groups:
                columns = stars.column(k, inside)
                good = inside & stars.known[:, k]
                row = _row(columns, debiased[good, k].astype(float), low)
                if "slope_debiased" in row:
                    ratio = np.square(columns.error / self.spread[k])
                    own = row.pop("sampling_error")
                    row["slope_error"] = float(np.hypot(own, (uncertain[good, k] * ratio).mean()))
                rows.append({"label": name, "snr": text} | row)
        return rows

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        return {name: np.asarray(array, float) for name, array in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Debiasing":
        """The debiasing that ``to_arrays`` described."""
        found = dict(arrays)
        if "edges" in found:
            found = _of_bins(found)
        return cls(**{name: found[name] for name in cls.__dataclass_fields__})


def _of_bins(found: dict[str, Array]) -> dict[str, Array]:
    """What packages say in which k was a step per S/N bin: its values stand where bins meet."""
    edges, strength = found.pop("edges"), found.pop("strength")
    inner = np.log(edges)
    steps = np.repeat(strength, 2, axis=0)[1:-1]
    centres = np.stack([inner - 1e-6, inner + 1e-6], axis=1).ravel()
    curve = np.concatenate([steps, found.pop("overall")[None]])
    many = len(MISSING_MODALITIES) + 1
    whole = np.tile(curve, (many, 1, 1))
    return found | {"centres": centres, "strength": whole, "strength_error": np.zeros_like(whole)}


@dataclass(frozen=True)
class Columns:
    """Estimate, its error, reference and its error of the stars [n] that have one label."""

    label: Array
    error: Array
    reference: Array
    noise: Array


@dataclass(frozen=True)
class LabelledEstimates:
    """Estimates [N, L] with total errors, references [N, L] with theirs (0 = none), S/N [N]."""

    label: Array
    error: Array
    reference: Array
    noise: Array
    snr: Array

    @property
    def known(self) -> Array:
        """[N, L] bool."""
        return np.asarray(np.isfinite(self.label + self.reference + self.error))

    def column(self, k: int, inside: Array) -> Columns:
        """Label k of the known stars ``inside`` [N]."""
        good = inside & np.isfinite(self.label[:, k] + self.reference[:, k] + self.error[:, k])
        arrays = (self.label, self.error, self.reference, self.noise)
        return Columns(*(array[good, k].astype(float) for array in arrays))


def _nearest(at: Array, centres: Array) -> Array:
    """[N] number of the nearest centre, -1 for NaN."""
    if not len(centres):
        return np.full(len(at), -1)
    middle = (centres[1:] + centres[:-1]) / 2
    return np.where(np.isfinite(at), np.searchsorted(middle, np.nan_to_num(at)), -1)


def _moments(reference: Array, error: Array) -> tuple[Array, Array]:
    """Mean and spread [L] of references without their errors."""
    known = np.isfinite(reference)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, reference, 0).sum(axis=0, dtype=np.float64) / count
    around = np.where(known, reference - mean, 0.0)
    noise = np.where(known, np.nan_to_num(error), 0.0)
    variance = (around**2).sum(axis=0) / count
    left = variance - (noise**2).sum(axis=0, dtype=np.float64) / count
    return mean, np.sqrt(np.maximum(np.maximum(left, 0.1 * variance), 1e-12))


def _strength(stars: Columns, mean: float, spread: float) -> tuple[float, float]:
    """K that makes the slope one, and its standard error; (NaN, inf) for too few stars."""
    if len(stars.label) < MIN_STARS_FOR_STRENGTH:
        return np.nan, np.inf
    ratio = np.square(stars.error / spread)
    most = max(MAX_SHRINKAGE / max(float(np.median(ratio)), 1e-12), 1e-3)
    low, high = -min(MAX_STRENGTH, most), min(MAX_STRENGTH, most)

    def slope_at(k: float) -> tuple[float, float]:
        # Of the stars that are given a debiased label: what is thrown far would count most.
        free = 1 - np.maximum(k * ratio, _LEAST_Q)
        told = free >= 1 - MAX_SHRINKAGE
        if told.sum() < MIN_STARS_FOR_STRENGTH:
            return np.inf, np.inf
        label = mean + (stars.label - mean)[told] / free[told]
        return slope_and_error(label, stars.reference[told], stars.noise[told])

    # The smallest k will do: a larger one leaves fewer stars that have a debiased label.
    tried = np.linspace(low, high, 41)
    enough = np.flatnonzero([slope_at(k)[0] >= 1 for k in tried])
    if enough.size:
        low, high = tried[max(enough[0] - 1, 0)], tried[enough[0]]
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if slope_at(middle)[0] < 1 else (low, middle)
    found, error = slope_at(low)
    if abs(found - 1) > max(2 * error, 0.02):  # no k makes it one: nothing is known of it
        return np.nan, np.inf
    up, down = (slope_at(low + sign * _STEP)[0] for sign in (1, -1))
    growth = (up - down) / (2 * _STEP)
    return low, error / growth if np.isfinite(growth) and growth > 1e-9 else np.inf


def _smoothed(found: Array, places: Array, prior: Array, width: float) -> tuple[Array, Array]:
    """K at neighbouring nodes and its standard errors, from the k of each and their errors [K, 2].

    Around ``prior`` [K] k is Gaussian with that width as a whole, and a random walk along
    ``places``; the nodes' own values are measurements.
    """
    if not len(found):
        return np.empty(0), np.empty(0)
    value, error = found.T
    weight = np.where(np.isfinite(value), 1 / np.square(np.maximum(error, 1e-6)), 0.0)
    walk = differences(places, len(places)) / _WALK_SPREAD
    level = np.ones((1, len(places))) / len(places) / width
    precision = walk.T @ walk + level.T @ level + np.diag(weight)
    covariance = np.linalg.inv(precision)
    right = weight * (np.nan_to_num(value) - prior)
    return prior + covariance @ right, np.sqrt(np.diag(covariance))


def slope(label: Array, reference: Array, noise: Array) -> float:
    """Slope of estimates against truth, when references have errors ``noise``."""
    return slope_and_error(label, reference, noise)[0]


def slope_and_error(label: Array, reference: Array, noise: Array) -> tuple[float, float]:
    """Slope of estimates against truth, when references have errors ``noise``; sampling error."""
    variance = reference.var() - np.square(noise).mean()
    if not variance > 0:
        return float("nan"), float("inf")
    around = reference - reference.mean()
    shared = (label - label.mean()) * around
    found = float(np.mean(shared) / variance)
    influence = shared - found * (np.square(around) - np.square(noise))
    return found, float(influence.std() / variance / np.sqrt(len(label)))


def both_estimates(
    label: Array, debiased: Array, reference: Array, noise: Array, poor: Array
) -> dict[str, Any]:
    """``slope``, ``std``, ``poor_bias`` of an estimate, and of the debiased one where it is known.

    ``poor`` : bool [N], the stars of the low end. Beside the debiased ones ``debiased_stars``, and
    ``sampling_error`` of their slope.
    """
    row: dict[str, Any] = {"poor_stars": int(poor.sum())}
    for ending, values in (("", label), ("_debiased", debiased)):
        good = np.isfinite(values - reference)
        if good.sum() < 3:
            continue
        found, error = slope_and_error(values[good], reference[good], noise[good])
        residual, low = (values - reference)[good], poor[good]
        row[f"slope{ending}"] = found
        row[f"std{ending}"] = float(residual.std())
        row[f"poor_bias{ending}"] = float(residual[low].mean()) if low.any() else np.nan
        if ending:
            row |= {"debiased_stars": int(good.sum()), "sampling_error": error}
    return row


def _row(stars: Columns, debiased: Array, low: float) -> dict[str, Any]:
    if len(stars.label) < 3:
        return {"stars": len(stars.label)}
    poor = stars.reference < low
    spread = max(stars.reference.var() - np.square(stars.noise).mean(), 1e-30)
    expected = float(1 - np.square(stars.error).mean() / spread)
    row = {"stars": len(stars.label), "expected": expected}
    return row | both_estimates(stars.label, debiased, stars.reference, stars.noise, poor)
