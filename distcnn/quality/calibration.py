"""Calibration: from the error that the network predicts to what its errors really are.

Total error of label l of a star:  s_l(S/N) c_l(stratum) m_l(missing) sqrt(noise^2 + scatter^2).
The scales are fitted on stars that were not trained on, so that 68.3 % of the errors lie within
the total error; the errors of the references are taken out (``error_deconvolution``). Few stars
in a bin pull it to the value of all stars (empirical Bayes), so a thin bin can never invent a
scale of its own; and a star whose reference is worse than its prediction counts for less than
one. m is fitted on the same stars with a modality hidden. Below and above the label the interval
has half-widths of its own, as far as the residuals of a stratum are skewed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.modalities import missing_combinations
from distcnn.quality.error_deconvolution import MIN_STARS_FOR_SCALE, ReferenceResiduals
from distcnn.stats import snr_bins

_ONE_SIGMA_QUANTILE = 0.8413
_MIN_SCALE = 0.05  # below this the quoted reference errors explain every residual
_LN_SCALE_VARIANCE = 0.75  # n * var(ln s) of the scale of n residuals with the tails that occur
_LN_SIDE_VARIANCE = 2.28  # the same for the 84.1 % quantile of one side of the residuals
_PRIOR_SPREAD = 0.10  # of ln s between strata, where the strata are too few to show their own
_GIANT_MAX_LOGG, _METAL_POOR_MAX_MH = 3.5, -1.0  # dex
LABEL_STRATA = ("dwarf", "giant", "metal-poor")
"""Coarse groups of predicted labels that are calibrated apart."""
MISSING_MODALITIES = missing_combinations()
"""Inputs that a star may lack and still be calibrated; number + 1 stands for it, 0 for none."""


_ARRAY_NAMES = {
    "centres": "centres",
    "scale": "scale",
    "overall": "overall",
    "degrees": "shapes",
    "stratum": "cell",
    "asymmetry": "side",
    "missing_modality": "hidden",
}
"""Attribute -> name of its array in packages of format 2."""


@dataclass(frozen=True)
class Calibration:
    """Scales of the total error.

    Attributes
    ----------
    centres : [K] ln S/N at which ``scale`` holds; constant beyond the ends, linear between.
    scale : [K, L] factor on sqrt(noise^2 + scatter^2).
    overall : [L] factor where the S/N is unknown.
    degrees : [L] degrees of freedom of the errors' distribution.
    stratum : [C, L] further factor per stratum of predicted labels (``LABEL_STRATA``).
    asymmetry : [C, L, 2] half-widths of the interval below and above, in total errors.
    missing_modality : [H, L] further factor for stars that lack inputs (``MISSING_MODALITIES``).
    index : (logg, mh) positions among the labels, -1 where absent.
    snr_range : S/N between which stars were seen; NaN, NaN where the survey has no S/N.
    unknown_snr : stars without S/N were seen too.
    counts : [K, L] stars behind each scale.
    """

    centres: Array
    scale: Array
    overall: Array
    degrees: Array
    stratum: Array
    asymmetry: Array
    missing_modality: Array
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
        label, names : [N, L] predictions and their names; without them there are no strata.
        """
        found = ReferenceResiduals(residual, np.hypot(noise, scatter), np.nan_to_num(label_error))
        bins = snr_bins(snr, edges)
        used = np.unique(bins[(bins >= 0) & found.known.any(axis=1)])
        inside = [bins == number for number in used]
        counts = np.array([found.known[rows].sum(axis=0) for rows in inside], np.int64)
        degrees = found.degrees_of_freedom()
        overall = found.scales(degrees)
        known = snr[np.isfinite(snr) & (snr > 0)]
        labels = residual.shape[1]
        fitted = cls(
            centres=_centres(snr, inside),
            scale=_fit_nodes(found.rescaled(overall), snr, inside, degrees) * overall,
            overall=overall,
            degrees=degrees,
            stratum=np.ones((len(LABEL_STRATA), labels)),
            asymmetry=np.ones((len(LABEL_STRATA), labels, 2)),
            missing_modality=np.ones((len(MISSING_MODALITIES), labels)),
            index=strata_columns(names),
            snr_range=(float(known.min()), float(known.max())) if known.size else (np.nan, np.nan),
            unknown_snr=bool((~(snr > 0)).any()),
            counts=counts.reshape(len(used), labels),
        )
        if label is None:
            return fitted
        fitted = fitted._with_strata(found.rescaled(fitted._factor(snr, None, None)), label)
        return fitted._with_asymmetry(found.rescaled(fitted._factor(snr, label, None)), label)

    def _with_strata(self, left: ReferenceResiduals, label: Array) -> "Calibration":
        where = label_strata(label, self.index)
        inside = [where == number for number in range(len(LABEL_STRATA))]
        factor = [_shrunk_scale(left.take(rows), self.degrees) for rows in inside]
        return replace(self, stratum=np.stack(factor))

    def _with_asymmetry(self, left: ReferenceResiduals, label: Array) -> "Calibration":
        where = label_strata(label, self.index)
        asymmetry = np.ones_like(self.asymmetry)
        for number in range(len(LABEL_STRATA)):
            some = left.take(where == number)
            # The truth lies below a label that is too large.
            log = np.log([_side_width(some, sign) for sign in (1.0, -1.0)])
            stars = some.effective_stars().sum(axis=0)
            weight = stars / (stars + _LN_SIDE_VARIANCE / _PRIOR_SPREAD**2)
            log_ratio = np.nan_to_num(weight * (log[0] - log[1]) / 2)
            asymmetry[number] = np.exp(np.stack([log_ratio, -log_ratio], axis=1))
        return replace(self, asymmetry=asymmetry)

    def with_missing(
        self, number: int, found: ReferenceResiduals, snr: Array, label: Array
    ) -> "Calibration":
        """Fit the factor for stars that lack ``MISSING_MODALITIES[number]``.

        ``found`` : residuals of predictions without it; ``label`` : those predictions.
        """
        missing_modality = self.missing_modality.copy()
        left = found.rescaled(self._factor(snr, label, None))
        missing_modality[number] = _shrunk_scale(left, self.degrees, prior_spread=1.0)
        return replace(self, missing_modality=missing_modality)

    def _factor(self, snr: Array, label: Array | None, missing: Array | None) -> Array:
        good = np.isfinite(snr) & (snr > 0)
        factor = np.broadcast_to(self.overall, (len(snr), len(self.overall))).copy()
        if len(self.centres):
            at = np.log(np.where(good, snr, 1.0))
            scale = [np.interp(at, self.centres, column) for column in np.log(self.scale).T]
            factor[good] = np.exp(np.stack(scale, axis=1))[good]
        if label is not None:
            factor *= self.stratum[label_strata(label, self.index)]
        if missing is not None:
            factor *= np.vstack([np.ones(len(self.overall)), self.missing_modality])[missing]
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

        ``label`` selects the stratum; ``missing`` [N] is 0, or one more than a position in
        ``MISSING_MODALITIES``.
        """
        factor = self._factor(snr, label, missing)
        return np.asarray(factor * np.hypot(noise, scatter), np.float32)

    def interval(self, total: Array, label: Array) -> tuple[Array, Array]:
        """Half-widths [N, L] below and above the label, from total errors."""
        width = self.asymmetry[label_strata(label, self.index)].astype(np.float32)
        return total * width[:, :, 0], total * width[:, :, 1]

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
        plain = {key: getattr(self, name) for name, key in _ARRAY_NAMES.items()}
        return {key: np.ascontiguousarray(array) for key, array in plain.items()} | {
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
            "counts": arrays["counts"],
        }
        plain: dict[str, Any] = {name: arrays[key] for name, key in _ARRAY_NAMES.items()}
        return cls(**plain, **special)


def label_strata(label: Array, index: tuple[int, int]) -> Array:
    """[N] number in ``LABEL_STRATA`` of predicted labels [N, L]; 0 without logg and mh.

    ``index`` : as ``strata_columns`` gives it.
    """
    where = np.zeros(len(label), np.int64)
    logg, mh = index
    if logg >= 0:
        where[label[:, logg] < _GIANT_MAX_LOGG] = 1
    if mh >= 0:
        where[label[:, mh] < _METAL_POOR_MAX_MH] = 2
    return where


def _side_width(found: ReferenceResiduals, sign: float) -> Array:
    """[L] 84.1 % quantile of what residuals of one sign need, in units of the predicted sigma."""
    excess = np.maximum(found.residual * sign, 0.0) ** 2 - found.reference_error**2
    need = np.where(found.known, np.sqrt(np.maximum(excess, 0.0)) / found.predicted_sigma, np.nan)
    return np.array([_quantile(column) for column in need.T])


def _quantile(need: Array) -> float:
    good = need[np.isfinite(need)]
    if good.size < MIN_STARS_FOR_SCALE:
        return np.nan
    return max(float(np.quantile(good, _ONE_SIGMA_QUANTILE)), _MIN_SCALE)


def _shrunk_scale(
    found: ReferenceResiduals, degrees: Array, prior_spread: float = _PRIOR_SPREAD
) -> Array:
    """[L] scale that is needed, pulled to one as far as chance explains it."""
    stars = found.effective_stars().sum(axis=0)
    log = stars / (stars + _LN_SCALE_VARIANCE / prior_spread**2) * np.log(found.scales(degrees))
    return np.where(np.isfinite(log), np.exp(log), 1.0)


def _centres(snr: Array, inside: list[Array]) -> Array:
    return np.array([np.median(np.log(snr[rows])) for rows in inside])


def _fit_nodes(found: ReferenceResiduals, snr: Array, inside: list[Array], degrees: Array) -> Array:
    """[K, L] scales at the centres, such that interpolating between them covers every bin."""
    stars = np.array([found.take(rows).effective_stars().sum(axis=0) for rows in inside])
    stars = stars.reshape(len(inside), len(degrees))
    log, centres = np.zeros(stars.shape), _centres(snr, inside)
    for _ in range(5):  # interpolation mixes neighbours, so a bin's own scale is not enough
        for number, rows in enumerate(inside):
            at = np.log(snr[rows])
            now = np.stack([np.interp(at, centres, column) for column in log.T], axis=1)
            step = np.log(found.take(rows).rescaled(np.exp(now)).scales(degrees))
            log[number] += 0.8 * np.where(np.isfinite(step), step, 0.0)
    return np.asarray(np.exp(_shrink(log, stars)))


def _shrink(log: Array, stars: Array) -> Array:
    """Pull ln(scale / overall) to zero as far as its scatter is what the stars' number explains."""
    weight = stars / np.maximum(stars.sum(axis=0), 1e-30)
    chance = _LN_SCALE_VARIANCE / np.maximum(stars, 1e-30)
    found = (weight * log**2).sum(axis=0) - (weight * (1 - weight) * chance).sum(axis=0)
    prior = np.maximum(found, 0.25 * _PRIOR_SPREAD**2)
    return np.asarray(log * prior / (prior + chance))


def strata_columns(names: Sequence[str]) -> tuple[int, int]:
    """Positions of logg and of the metallicity among labels, -1 where absent."""
    known = list(names)
    metals = [known.index(name) for name in ("mh", "feh") if name in known]
    return (known.index("logg") if "logg" in known else -1, metals[0] if metals else -1)
