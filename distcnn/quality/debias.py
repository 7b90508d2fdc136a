"""Debiasing: how far estimates are pulled to the population, and the estimate without it.

An estimate of least squared error is the mean of what is possible, weighted with how common it
is. With an error t in a population of spread p its slope against truth is 1 - q, q = t^2/p^2,
and that is no fault: undoing it costs scatter. Who compares populations, not stars, may want it
undone all the same:

    debiased = mean + (label - mean) / (1 - q),  q = k t^2 / p^2,  error t / sqrt(1 - q)

with t the total error of the very star, and k fitted per S/N so that the slope against
references becomes one; their own errors are taken out of the slope.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.stats import snr_bins, snr_groups

MAX_SHRINKAGE = 0.75
"""Largest q: beyond, a star tells less than its population, and nothing is there to be freed."""
MAX_STRENGTH = 4.0
"""Largest k that is tried."""
MIN_STARS_FOR_STRENGTH = 200
"""Stars without which an S/N bin takes the k of all stars."""


@dataclass(frozen=True)
class Debiasing:
    """Mean and spread of the population, and strength k.

    Attributes
    ----------
    mean, spread : [L] of the training references, their errors taken out, label units.
    strength : [K + 1, L] k per S/N bin (``bins.snr_bins``).
    overall : [L] k where the S/N is unknown.
    edges : [K] edges of the bins.
    """

    mean: Array
    spread: Array
    strength: Array
    overall: Array
    edges: Array

    @classmethod
    def fit(
        cls,
        label: Array,
        error: Array,
        reference: Array,
        reference_error: Array,
        snr: Array,
        *,
        edges: Sequence[float],
        population: tuple[Array, Array],
    ) -> "Debiasing":
        """Fit on stars outside training.

        Parameters
        ----------
        label, error : [N, L] estimates and their total errors.
        reference, reference_error : [N, L], NaN = unknown.
        snr : [N]; NaN = unknown.
        population : references and their errors [T, L] of the training stars.
        """
        mean, spread = _moments(*population)
        bins = snr_bins(snr, edges)
        arrays = (label, error, reference, np.nan_to_num(reference_error))
        overall = _strengths(arrays, np.ones(len(snr), bool), mean, spread)
        strength = np.tile(overall, (len(edges) + 1, 1))
        for number in range(len(edges) + 1):
            found = _strengths(arrays, bins == number, mean, spread)
            strength[number] = np.where(np.isfinite(found), found, overall)
        whole = np.nan_to_num(np.vstack([strength, overall]), nan=0.0)
        return cls(mean, spread, whole[:-1], whole[-1], np.asarray(edges, float))

    def apply(self, label: Array, error: Array, snr: Array) -> tuple[Array, Array]:
        """(debiased, its standard error), float32 [N, L]."""
        bins = snr_bins(snr, self.edges)
        strength = np.where((bins >= 0)[:, None], self.strength[bins], self.overall)
        debiased, widened = _debias(label, error, strength, self.mean, self.spread)
        return debiased.astype(np.float32), widened.astype(np.float32)

    def table(
        self,
        label: Array,
        error: Array,
        reference: Array,
        reference_error: Array,
        snr: Array,
        *,
        names: Sequence[str],
    ) -> list[dict[str, Any]]:
        """Rows per label and S/N bin ("all" first): slopes, scatter, bias of metal-poor stars.

        ``slope``, ``std``, ``poor_bias`` of the estimate, ``_debiased`` of the other one;
        ``expected`` = 1 - q, the slope of least squares; ``poor_*`` of the lowest 2 % of a label.
        """
        debiased = self.apply(label, error, snr)[0]
        groups = snr_groups(snr, self.edges)
        noise = np.nan_to_num(reference_error)
        rows = []
        for k, name in enumerate(names):
            low = np.nanquantile(reference[:, k], 0.02) if len(reference) else np.nan
            for text, inside in groups:
                good = inside & np.isfinite(label[:, k] + reference[:, k] + error[:, k])
                columns = (label, debiased, error, reference, noise)
                row = _row([array[good, k].astype(float) for array in columns], low)
                rows.append({"label": name, "snr": text} | row)
        return rows

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        return {name: np.asarray(array, float) for name, array in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Debiasing":
        """The debiasing that ``to_arrays`` described."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


def _debias(
    label: Array, error: Array, strength: Array, mean: Array, spread: Array
) -> tuple[Array, Array]:
    q = np.clip(strength * np.square(error / spread, dtype=np.float64), 0.0, MAX_SHRINKAGE)
    return mean + (label - mean) / (1 - q), error / np.sqrt(1 - q)


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


def _strengths(arrays: tuple[Array, ...], inside: Array, mean: Array, spread: Array) -> Array:
    """[L] k that makes the slope one among the stars ``inside``; NaN where they are too few."""
    found = np.full(len(mean), np.nan)
    for k in range(len(mean)):
        label, error, reference, noise = (array[inside, k].astype(float) for array in arrays)
        good = np.isfinite(label + error + reference)
        if good.sum() >= MIN_STARS_FOR_STRENGTH:
            some = [array[good] for array in (label, error, reference, noise)]
            found[k] = _strength(some, mean[k], spread[k])
    return found


def _strength(columns: list[Array], mean: Array, spread: Array) -> float:
    label, error, reference, noise = columns
    low, high = 0.0, MAX_STRENGTH
    for _ in range(40):  # the slope grows with k
        middle = (low + high) / 2
        moved = _debias(label, error, np.asarray(middle), mean, spread)[0]
        low, high = (middle, high) if slope(moved, reference, noise) < 1 else (low, middle)
    return low


def slope(label: Array, reference: Array, noise: Array) -> float:
    """Slope of estimates against truth, when references have errors ``noise``."""
    variance = reference.var() - np.square(noise).mean()
    if not variance > 0:
        return float("nan")
    shared = np.mean((label - label.mean()) * (reference - reference.mean()))
    return float(shared / variance)


def both_estimates(
    label: Array, debiased: Array, reference: Array, noise: Array, poor: Array
) -> dict[str, Any]:
    """``slope``, ``std``, ``poor_bias`` of an estimate, and of the debiased one where it is known.

    ``poor`` : bool [N], the stars of the low end.
    """
    row: dict[str, Any] = {"poor_stars": int(poor.sum())}
    for ending, values in (("", label), ("_debiased", debiased)):
        residual = values - reference
        if np.isfinite(residual).all():
            row[f"slope{ending}"] = slope(values, reference, noise)
            row[f"std{ending}"] = float(residual.std())
            row[f"poor_bias{ending}"] = float(residual[poor].mean()) if poor.any() else np.nan
    return row


def _row(columns: list[Array], low: float) -> dict[str, Any]:
    label, debiased, error, reference, noise = columns
    if len(label) < 3:
        return {"stars": len(label)}
    poor = reference < low
    spread = max(reference.var() - np.square(noise).mean(), 1e-30)
    row = {"stars": len(label), "expected": float(1 - np.square(error).mean() / spread)}
    return row | both_estimates(label, debiased, reference, noise, poor)
