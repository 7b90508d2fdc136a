"""Calibration: from what the network believes to what its errors really are.

Total error of label l of a star:  s_l(S/N) c_l(cell) m_l(missing) sqrt(noise^2 + scatter^2).
The scales are fitted on stars that were not trained on, so that 68.3 % of the residuals lie
within the total error and the error of the reference, in quadrature. Few stars in a bin pull it
to the value of all stars (empirical Bayes), so a thin bin can never invent a scale of its own.
m is fitted on the same stars with XP or the parallax hidden. Below and above the label the
interval has half-widths of its own, as far as the residuals of a cell are lopsided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distcnn.quality.bins import snr_bins
from distcnn.quality.coverage import WITHIN_68

Array = np.ndarray[Any, Any]

BELOW_84 = 0.8413
_SMALLEST = 0.05  # below this the quoted reference errors explain every residual
_VARIANCE = 0.92  # n * var(ln s) when s is the 68.3 % quantile of n Gaussian residuals
_SIDE_VARIANCE = 2.28  # the same for the 84.1 % quantile of one side
_PRIOR_SPREAD = 0.10  # of ln s between cells, where the cells are too few to show their own
_FEWEST = 20  # stars without which a label is not calibrated at all
_GIANT_LOGG, _POOR_MH = 3.5, -1.0
CELLS = ("dwarf", "giant", "metal-poor")
HIDDEN = ("no XP", "no parallax", "no XP, no parallax")
"""What a star may lack and still be calibrated; number + 1 stands for it, 0 for nothing."""


@dataclass(frozen=True)
class Calibration:
    """Scales of the total error.

    Attributes
    ----------
    centres : [K] ln S/N at which ``scale`` holds; constant beyond the ends, linear between.
    scale : [K, L] factor on sqrt(noise^2 + scatter^2).
    overall : [L] factor where the S/N is unknown.
    cell : [C, L] further factor per coarse cell of predicted labels (``CELLS``).
    side : [C, L, 2] half-widths of the interval below and above, in total errors.
    hidden : [H, L] further factor for stars that lack something (``HIDDEN``).
    index : (logg, mh) positions among the labels, -1 where absent.
    snr_range : S/N between which stars were seen; NaN, NaN where the survey has no S/N.
    unknown_snr : stars without S/N were seen too.
    counts : [K, L] stars behind each scale.
    """

    centres: Array
    scale: Array
    overall: Array
    cell: Array
    side: Array
    hidden: Array
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
        spread, error = np.hypot(noise, scatter), np.nan_to_num(label_error)
        need = needed(residual, spread, error)
        bins = snr_bins(snr, edges)
        used = np.unique(bins[(bins >= 0) & np.isfinite(need).any(axis=1)])
        inside = [bins == number for number in used]
        counts = np.array([np.isfinite(need[rows]).sum(axis=0) for rows in inside], np.int64)
        counts = counts.reshape(len(used), need.shape[1])
        overall = np.array([_quantile(column) for column in need.T])
        known = snr[np.isfinite(snr) & (snr > 0)]
        fitted = cls(
            centres=_centres(snr, inside),
            scale=_fit_nodes(need, snr, inside, overall, counts),
            overall=overall,
            cell=np.ones((len(CELLS), need.shape[1])),
            side=np.ones((len(CELLS), need.shape[1], 2)),
            hidden=np.ones((len(HIDDEN), need.shape[1])),
            index=_positions(names),
            snr_range=(float(known.min()), float(known.max())) if known.size else (np.nan, np.nan),
            unknown_snr=bool((~(snr > 0)).any()),
            counts=counts,
        )
        if label is None:
            return fitted
        fitted = fitted._with_cells(need / fitted._factor(snr, None, None), label)
        total = fitted.apply(noise, scatter, snr, label)
        return fitted._with_sides(residual, total, error, label)

    def _with_cells(self, left: Array, label: Array) -> "Calibration":
        where = cells(label, self.index)
        factor = [_shrunk_factor(left[where == number]) for number in range(len(CELLS))]
        return replace(self, cell=np.stack(factor))

    def _with_sides(
        self, residual: Array, total: Array, error: Array, label: Array
    ) -> "Calibration":
        where = cells(label, self.index)
        side = np.ones_like(self.side)
        # The truth lies below a label that is too large.
        for way, sign in enumerate((1.0, -1.0)):
            one_sided = np.where(np.isfinite(residual), np.maximum(sign * residual, 0.0), np.nan)
            need = needed(one_sided, total, error)
            for number in range(len(CELLS)):
                inside = need[where == number]
                side[number, :, way] = _shrunk_factor(inside, BELOW_84, _SIDE_VARIANCE)
        return replace(self, side=side)

    def with_hidden(self, number: int, need: Array, snr: Array, label: Array) -> "Calibration":
        """Fit the factor for stars that lack ``HIDDEN[number]`` on predictions without it.

        ``need`` [N, L]: see ``needed``; ``label``: those predictions.
        """
        hidden = self.hidden.copy()
        hidden[number] = _shrunk_factor(need / self._factor(snr, label, None), spread=1.0)
        return replace(self, hidden=hidden)

    def _factor(self, snr: Array, label: Array | None, missing: Array | None) -> Array:
        good = np.isfinite(snr) & (snr > 0)
        factor = np.broadcast_to(self.overall, (len(snr), len(self.overall))).copy()
        if len(self.centres):
            at = np.log(np.where(good, snr, 1.0))
            scale = [np.interp(at, self.centres, column) for column in np.log(self.scale).T]
            factor[good] = np.exp(np.stack(scale, axis=1))[good]
        if label is not None:
            factor *= self.cell[cells(label, self.index)]
        if missing is not None:
            factor *= np.vstack([np.ones(len(self.overall)), self.hidden])[missing]
        return factor

    def apply(
        self,
        noise: Array,
        scatter: Array,
        snr: Array,
        label: Array | None = None,
        missing: Array | None = None,
    ) -> Array:
        """Total standard errors, float32 [N, L], in label units.

        ``label`` selects the cell; ``missing`` [N] is 0, or one more than a place in ``HIDDEN``.
        """
        factor = self._factor(snr, label, missing)
        return np.asarray(factor * np.hypot(noise, scatter), np.float32)

    def interval(self, total: Array, label: Array) -> tuple[Array, Array]:
        """Half-widths [N, L] below and above the label, from total errors."""
        side = self.side[cells(label, self.index)].astype(np.float32)
        return total * side[:, :, 0], total * side[:, :, 1]

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
        plain = ("centres", "scale", "overall", "cell", "side", "hidden")
        return {name: np.ascontiguousarray(getattr(self, name)) for name in plain} | {
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
        special: dict[str, Any] = {
            "index": (logg, mh),
            "snr_range": (low, high),
            "unknown_snr": bool(arrays["unknown_snr"][0]),
        }
        return cls(**{**arrays, **special})


def cells(label: Array, index: tuple[int, int]) -> Array:
    """[N] number in ``CELLS`` of predicted labels; all 0 where neither logg nor mh is a label."""
    where = np.zeros(len(label), np.int64)
    logg, mh = index
    if logg >= 0:
        where[label[:, logg] < _GIANT_LOGG] = 1
    if mh >= 0:
        where[label[:, mh] < _POOR_MH] = 2
    return where


def needed(residual: Array, spread: Array, error: Array) -> Array:
    """[N, L] the factor with which each residual would lie on the edge of its interval."""
    excess = np.maximum(residual**2 - error**2, 0.0)
    return np.asarray(np.sqrt(excess) / spread, float)


def _quantile(need: Array, quantile: float = WITHIN_68) -> float:
    good = need[np.isfinite(need)]
    if good.size < _FEWEST:
        return np.nan
    return max(float(np.quantile(good, quantile)), _SMALLEST)


def _shrunk_factor(
    need: Array,
    quantile: float = WITHIN_68,
    variance: float = _VARIANCE,
    spread: float = _PRIOR_SPREAD,
) -> Array:
    """[L] quantile of what is needed, pulled to one as far as chance explains it."""
    count = np.isfinite(need).sum(axis=0)
    log = np.log([_quantile(column, quantile) for column in need.T])
    weight = count / (count + variance / spread**2)
    return np.where(count >= _FEWEST, np.exp(weight * log), 1.0)


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
