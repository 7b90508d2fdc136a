"""Calibration: from what the network believes to what its errors really are.

Total error of label l of a star:  s_l(S/N) c_l(cell) m_l(missing) sqrt(noise^2 + scatter^2).
The scales are fitted on stars that were not trained on, so that 68.3 % of the errors lie within
the total error; the errors of the references are taken out (``deconvolve``). Few stars in a bin
pull it to the value of all stars (empirical Bayes), so a thin bin can never invent a scale of
its own; and a star whose reference is worse than its prediction counts for less than one.
m is fitted on the same stars with XP or the parallax hidden. Below and above the label the
interval has half-widths of its own, as far as the residuals of a cell are lopsided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distcnn.quality.error_deconvolution import FEWEST, Residuals
from distcnn.stats import snr_bins

Array = np.ndarray[Any, Any]

BELOW_84 = 0.8413
_SMALLEST = 0.05  # below this the quoted reference errors explain every residual
_VARIANCE = 0.75  # n * var(ln s) of the scale of n residuals with the tails that occur
_SIDE_VARIANCE = 2.28  # the same for the 84.1 % quantile of one side
_PRIOR_SPREAD = 0.10  # of ln s between cells, where the cells are too few to show their own
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
    shapes : [L] degrees of freedom of the errors' distribution.
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
    shapes: Array
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
        found = Residuals(residual, np.hypot(noise, scatter), np.nan_to_num(label_error))
        bins = snr_bins(snr, edges)
        used = np.unique(bins[(bins >= 0) & found.known.any(axis=1)])
        inside = [bins == number for number in used]
        counts = np.array([found.known[rows].sum(axis=0) for rows in inside], np.int64)
        shapes = found.shapes()
        overall = found.scales(shapes)
        known = snr[np.isfinite(snr) & (snr > 0)]
        labels = residual.shape[1]
        fitted = cls(
            centres=_centres(snr, inside),
            scale=_fit_nodes(found.over(overall), snr, inside, shapes) * overall,
            overall=overall,
            shapes=shapes,
            cell=np.ones((len(CELLS), labels)),
            side=np.ones((len(CELLS), labels, 2)),
            hidden=np.ones((len(HIDDEN), labels)),
            index=positions(names),
            snr_range=(float(known.min()), float(known.max())) if known.size else (np.nan, np.nan),
            unknown_snr=bool((~(snr > 0)).any()),
            counts=counts.reshape(len(used), labels),
        )
        if label is None:
            return fitted
        fitted = fitted._with_cells(found.over(fitted._factor(snr, None, None)), label)
        return fitted._with_sides(found.over(fitted._factor(snr, label, None)), label)

    def _with_cells(self, left: Residuals, label: Array) -> "Calibration":
        where = cells(label, self.index)
        inside = [where == number for number in range(len(CELLS))]
        factor = [_shrunk_scale(left.take(rows), self.shapes) for rows in inside]
        return replace(self, cell=np.stack(factor))

    def _with_sides(self, left: Residuals, label: Array) -> "Calibration":
        where = cells(label, self.index)
        side = np.ones_like(self.side)
        for number in range(len(CELLS)):
            some = left.take(where == number)
            # The truth lies below a label that is too large.
            log = np.log([_side(some, sign) for sign in (1.0, -1.0)])
            stars = some.worth().sum(axis=0)
            weight = stars / (stars + _SIDE_VARIANCE / _PRIOR_SPREAD**2)
            lopsided = np.nan_to_num(weight * (log[0] - log[1]) / 2)
            side[number] = np.exp(np.stack([lopsided, -lopsided], axis=1))
        return replace(self, side=side)

    def with_hidden(self, number: int, found: Residuals, snr: Array, label: Array) -> "Calibration":
        """Fit the factor for stars that lack ``HIDDEN[number]`` on predictions without it.

        ``found`` : their residuals; ``label`` : those predictions.
        """
        hidden = self.hidden.copy()
        left = found.over(self._factor(snr, label, None))
        hidden[number] = _shrunk_scale(left, self.shapes, spread=1.0)
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
        plain = ("centres", "scale", "overall", "shapes", "cell", "side", "hidden")
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


def _side(found: Residuals, sign: float) -> Array:
    """[L] 84.1 % quantile of what one side needs, in units of the beliefs."""
    excess = np.maximum(found.residual * sign, 0.0) ** 2 - found.error**2
    need = np.where(found.known, np.sqrt(np.maximum(excess, 0.0)) / found.spread, np.nan)
    return np.array([_quantile(column) for column in need.T])


def _quantile(need: Array) -> float:
    good = need[np.isfinite(need)]
    if good.size < FEWEST:
        return np.nan
    return max(float(np.quantile(good, BELOW_84)), _SMALLEST)


def _shrunk_scale(found: Residuals, shapes: Array, spread: float = _PRIOR_SPREAD) -> Array:
    """[L] scale that is needed, pulled to one as far as chance explains it."""
    stars = found.worth().sum(axis=0)
    log = stars / (stars + _VARIANCE / spread**2) * np.log(found.scales(shapes))
    return np.where(np.isfinite(log), np.exp(log), 1.0)


def _centres(snr: Array, inside: list[Array]) -> Array:
    return np.array([np.median(np.log(snr[rows])) for rows in inside])


def _fit_nodes(found: Residuals, snr: Array, inside: list[Array], shapes: Array) -> Array:
    """[K, L] scales at the centres, such that interpolating between them covers every bin."""
    stars = np.array([found.take(rows).worth().sum(axis=0) for rows in inside])
    stars = stars.reshape(len(inside), len(shapes))
    log, centres = np.zeros(stars.shape), _centres(snr, inside)
    for _ in range(5):  # interpolation mixes neighbours, so a bin's own scale is not enough
        for number, rows in enumerate(inside):
            at = np.log(snr[rows])
            now = np.stack([np.interp(at, centres, column) for column in log.T], axis=1)
            step = np.log(found.take(rows).over(np.exp(now)).scales(shapes))
            log[number] += 0.8 * np.where(np.isfinite(step), step, 0.0)
    return np.asarray(np.exp(_shrink(log, stars)))


def _shrink(log: Array, stars: Array) -> Array:
    """Pull ln(scale / overall) to zero as far as its scatter is what the stars' number explains."""
    weight = stars / np.maximum(stars.sum(axis=0), 1e-30)
    chance = _VARIANCE / np.maximum(stars, 1e-30)
    found = (weight * log**2).sum(axis=0) - (weight * (1 - weight) * chance).sum(axis=0)
    spread = np.maximum(found, 0.25 * _PRIOR_SPREAD**2)
    return np.asarray(log * spread / (spread + chance))


def positions(names: Sequence[str]) -> tuple[int, int]:
    """Places of logg and of the metallicity that ``cells`` takes, -1 where absent."""
    known = list(names)
    metals = [known.index(name) for name in ("mh", "feh") if name in known]
    return (known.index("logg") if "logg" in known else -1, metals[0] if metals else -1)
