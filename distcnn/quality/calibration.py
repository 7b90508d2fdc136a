"""Calibration: from what the network believes to what its errors really are.

Total error^2 of label l of a star:  s_l(S/N)^2 c_l(cell)^2 (noise^2 + scatter^2) - g_l e_l^2.
s and c are fitted on stars that were not trained on, so that 68.3 % of the residuals lie within
the total error and the error e of the reference, in quadrature. Few stars in a bin pull it to the
value of all stars (empirical Bayes), so a thin bin can never invent a scale of its own.
g is the part of the reference's own variance that the network learned as noise of its own
(0 if its loss knew the errors of the references, 1 if not): what explains the residuals best
with the most even s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WITHIN_68, WITHIN_95 = 0.6827, 0.9545
_SMALLEST = 0.05  # below this the quoted reference errors explain every residual
_VARIANCE = 0.92  # n * var(ln s) when s is the 68.3 % quantile of n Gaussian residuals
_PRIOR_SPREAD = 0.10  # of ln s between cells, where the cells are too few to show their own
_FEWEST = 20  # stars without which a label is not calibrated at all
_LEAST = 0.15  # the total error is never below this part of its first term
_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_GIANT_LOGG, _POOR_MH = 3.5, -1.0
CELLS = ("dwarf", "giant", "metal-poor")


@dataclass(frozen=True)
class Calibration:
    """Scales of the total error.

    Attributes
    ----------
    centres : [K] ln S/N at which ``scale`` holds; constant beyond the ends, linear between.
    scale : [K, L] factor on sqrt(noise^2 + scatter^2).
    overall : [L] factor where the S/N is unknown.
    learned : [L] standard deviation of reference noise that is taken out of the total error.
    cell : [C, L] further factor per coarse cell of predicted labels (``CELLS``).
    index : (logg, mh) positions among the labels, -1 where absent.
    snr_range : S/N between which stars were seen; NaN, NaN where the survey has no S/N.
    unknown_snr : stars without S/N were seen too.
    counts : [K, L] stars behind each scale.
    """

    centres: Array
    scale: Array
    overall: Array
    learned: Array
    cell: Array
    index: tuple[int, int]
    snr_range: tuple[float, float]
    unknown_snr: bool
    counts: Array

    @classmethod
    def fit(
        cls,
        residual: Array,
        noise: Array,
        scatter: Array,
        label_error: Array,
        snr: Array,
        *,
        edges: Sequence[float],
        label: Array | None = None,
        names: Sequence[str] = (),
    ) -> "Calibration":
        """Fit on stars outside training.

        Parameters
        ----------
        residual, noise, scatter, label_error : [N, L] prediction minus reference, learned noise,
            scatter between members, error of the reference; in label units, NaN = unknown.
        snr : [N] signal to noise; NaN = unknown.
        edges : increasing S/N edges; stars beyond the ends form bins of their own.
        label, names : [N, L] predictions and their names; without them there are no cells.
        """
        stars = _Residuals(residual, np.hypot(noise, scatter), np.nan_to_num(label_error), snr)
        losses = [cls._of_part(stars, part, edges)._loss(stars) for part in _PARTS]
        part = np.array(_PARTS)[np.argmin(losses, axis=0)]
        fitted = replace(cls._of_part(stars, part, edges), index=_positions(names))
        return fitted if label is None else fitted._with_cells(stars.needed(part), snr, label)

    @classmethod
    def _of_part(
        cls, stars: "_Residuals", part: Array | float, edges: Sequence[float]
    ) -> "Calibration":
        """With a given part of the references' variance in the learned noise; no cells."""
        need, snr = stars.needed(part), stars.snr
        bins = snr_bins(snr, edges)
        used = np.unique(bins[(bins >= 0) & np.isfinite(need).any(axis=1)])
        inside = [bins == number for number in used]
        counts = np.array([np.isfinite(need[rows]).sum(axis=0) for rows in inside], np.int64)
        counts = counts.reshape(len(used), need.shape[1])
        overall = np.array([_quantile(column) for column in need.T])
        known = snr[np.isfinite(snr) & (snr > 0)]
        return cls(
            centres=_centres(snr, inside),
            scale=_fit_nodes(need, snr, inside, overall, counts),
            overall=overall,
            learned=np.sqrt(part) * stars.typical_error(),
            cell=np.ones((len(CELLS), need.shape[1])),
            index=(-1, -1),
            snr_range=(float(known.min()), float(known.max())) if known.size else (np.nan, np.nan),
            unknown_snr=bool((~(snr > 0)).any()),
            counts=counts,
        )

    def _loss(self, stars: "_Residuals") -> Array:
        """[L] minus the log probability of the residuals, and of scales that differ with S/N."""
        variance = self._total(stars.spread, stars.snr, None) ** 2 + stars.error**2
        # Student t with 5 degrees of freedom: outliers must not decide.
        loss = np.log(variance) / 2 + 3 * np.log1p(stars.residual**2 / variance / 5)
        uneven = (np.log(self.scale / self.overall) ** 2).sum(axis=0) / (2 * _PRIOR_SPREAD**2)
        return np.asarray(np.where(np.isfinite(loss), loss, 0.0).sum(axis=0) + uneven)

    def _with_cells(self, need: Array, snr: Array, label: Array) -> "Calibration":
        left = need / self._factor(snr, None)
        where = cells(label, self.index)
        factor = np.ones_like(self.cell)
        for number in range(len(CELLS)):
            inside = left[where == number]
            count = np.isfinite(inside).sum(axis=0)
            log = np.log([_quantile(column) for column in inside.T])
            weight = count / (count + _VARIANCE / _PRIOR_SPREAD**2)
            factor[number] = np.where(count >= _FEWEST, np.exp(weight * log), 1.0)
        return replace(self, cell=factor)

    def _factor(self, snr: Array, label: Array | None) -> Array:
        good = np.isfinite(snr) & (snr > 0)
        factor = np.broadcast_to(self.overall, (len(snr), len(self.overall))).copy()
        if len(self.centres):
            at = np.log(np.where(good, snr, 1.0))
            scale = [np.interp(at, self.centres, column) for column in np.log(self.scale).T]
            factor[good] = np.exp(np.stack(scale, axis=1))[good]
        if label is not None:
            factor *= self.cell[cells(label, self.index)]
        return factor

    def apply(self, noise: Array, scatter: Array, snr: Array, label: Array | None = None) -> Array:
        """Total standard errors, float32 [N, L], in label units; ``label`` selects the cell."""
        return np.asarray(self._total(np.hypot(noise, scatter), snr, label), np.float32)

    def _total(self, spread: Array, snr: Array, label: Array | None) -> Array:
        first = (self._factor(snr, label) * spread) ** 2
        return np.asarray(np.sqrt(np.maximum(first - self.learned**2, _LEAST**2 * first)))

    def supported(self, snr: Array) -> Array:
        """[N] bool: S/N within the range that was calibrated, every label calibrated."""
        if not np.isfinite(self.overall).all():
            return np.zeros(len(snr), bool)
        low, high = self.snr_range
        known = np.isfinite(snr) & (snr > 0)
        # A tenth beyond the extreme stars costs nothing: the scale is constant there.
        inside = known & (snr >= low / 1.1) & (snr <= high * 1.1)
        return inside | (~known & self.unknown_snr)

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        return {
            "centres": self.centres,
            "scale": self.scale,
            "overall": self.overall,
            "learned": self.learned,
            "cell": self.cell,
            "counts": self.counts.astype(np.int64),
            "index": np.array(self.index, np.int64),
            "snr_range": np.array(self.snr_range),
            "unknown_snr": np.array([self.unknown_snr], np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Calibration":
        """The calibration that ``to_arrays`` described."""
        logg, mh = (int(value) for value in arrays["index"])
        low, high = (float(value) for value in arrays["snr_range"])
        return cls(
            arrays["centres"],
            arrays["scale"],
            arrays["overall"],
            arrays["learned"],
            arrays["cell"],
            (logg, mh),
            (low, high),
            bool(arrays["unknown_snr"][0]),
            arrays["counts"],
        )


def snr_bins(snr: Array, edges: Sequence[float]) -> Array:
    """[N] number of the S/N bin: 0 below the first edge, len(edges) above the last, -1 unknown."""
    bins = np.searchsorted(np.asarray(edges, float), snr, side="right")
    return np.where(np.isfinite(snr) & (snr > 0), bins, -1)


def bin_name(number: int, edges: Sequence[float]) -> str:
    """``"15-25"``, ``"< 15"``, ``">= 100"``, or ``"unknown"``."""
    if number < 0:
        return "unknown"
    if number == 0:
        return f"< {edges[0]:g}"
    if number == len(edges):
        return f">= {edges[-1]:g}"
    return f"{edges[number - 1]:g}-{edges[number]:g}"


def cells(label: Array, index: tuple[int, int]) -> Array:
    """[N] number in ``CELLS`` of predicted labels; all 0 where neither logg nor mh is a label."""
    where = np.zeros(len(label), np.int64)
    logg, mh = index
    if logg >= 0:
        where[label[:, logg] < _GIANT_LOGG] = 1
    if mh >= 0:
        where[label[:, mh] < _POOR_MH] = 2
    return where


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
    bins = snr_bins(snr, edges)
    groups = [("all", np.ones(len(snr), bool))]
    groups += [(bin_name(int(n), edges), bins == n) for n in np.unique(bins)]
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


@dataclass(frozen=True)
class _Residuals:
    """Stars to calibrate with: [N, L] residual, uncalibrated error, reference error; [N] S/N."""

    residual: Array
    spread: Array
    error: Array
    snr: Array

    def needed(self, part: Array | float) -> Array:
        """[N, L] the factor with which each residual would lie on the edge of its interval."""
        excess = np.maximum(self.residual**2 - (1 - part) * self.error**2, 0.0)
        return np.asarray(np.sqrt(excess) / self.spread, float)

    def typical_error(self) -> Array:
        """[L] median error of the references; 0 where there are none."""
        known = np.isfinite(self.residual)
        columns = zip(self.error.T, known.T, strict=True)
        return np.array([np.median(error[good]) if good.any() else 0.0 for error, good in columns])


def _quantile(need: Array) -> float:
    good = need[np.isfinite(need)]
    if good.size < _FEWEST:
        return np.nan
    return max(float(np.quantile(good, WITHIN_68)), _SMALLEST)


def _centres(snr: Array, inside: list[Array]) -> Array:
    return np.array([np.median(np.log(snr[rows])) for rows in inside])


def _fit_nodes(
    need: Array, snr: Array, inside: list[Array], overall: Array, counts: Array
) -> Array:
    """[K, L] scales at the centres, such that interpolating between them covers every bin."""
    log, centres = np.zeros(counts.shape), _centres(snr, inside)
    for _ in range(8):  # interpolation mixes neighbours, so a bin's own scale is not enough
        for number, rows in enumerate(inside):
            at = np.log(snr[rows])
            now = np.stack([np.interp(at, centres, column) for column in log.T], axis=1)
            left = need[rows] / (np.exp(now) * overall)
            step = np.log([_quantile(column) for column in left.T])
            log[number] += 0.8 * np.where(np.isfinite(step), step, 0.0)
    scale: Array = overall * np.exp(_shrink(log, counts))
    return scale


def _shrink(log: Array, counts: Array) -> Array:
    """Pull ln(scale / overall) to zero as far as its scatter is what the counts explain."""
    weight = counts / np.maximum(counts.sum(axis=0), 1)
    chance = _VARIANCE / np.maximum(counts, 1)
    found = (weight * log**2).sum(axis=0) - (weight * (1 - weight) * chance).sum(axis=0)
    spread = np.maximum(found, 0.25 * _PRIOR_SPREAD**2)
    shrunk: Array = np.where(counts >= _FEWEST, log * spread / (spread + chance), 0.0)
    return shrunk


def _positions(names: Sequence[str]) -> tuple[int, int]:
    known = list(names)
    metals = [known.index(name) for name in ("mh", "feh") if name in known]
    return (known.index("logg") if "logg" in known else -1, metals[0] if metals else -1)
