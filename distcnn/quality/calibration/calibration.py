"""Calibration: from the error that the network predicts to what its errors really are.

Total error of label l of a star:  s_l(S/N) c_l(labels) m_l(missing, S/N) sqrt(noise^2 + scatter^2).
c is a product of factors along Teff, logg and metallicity and of one per stratum.
The scales are fitted together on stars that were not trained on, so that 68.3 % of the errors lie
within the total error; the errors of the references are taken out (``error_deconvolution``). They
are smooth: s is a random walk along ln S/N, c goes over from one stratum of labels to the next
within a tenth of a dex, and both are flat unless the residuals say otherwise (``smooth_scale``).

How well a scale is known counts: the interval holds 68.3 % on average over what the scale may be,
so few stars make it wider (Student's predictive interval instead of a plug-in). Errors have tails;
``width_95`` says how many total errors hold 95.4 %, which would be 2 of a Gaussian. Below and above
the label the interval has half-widths of its own, as far as the residuals of a stratum are skewed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.modalities import missing_combinations
from distcnn.quality.calibration.error_deconvolution import (
    ReferenceResiduals,
)
from distcnn.quality.calibration.label_nodes import LabelNodes
from distcnn.quality.calibration.label_scales import Cells, fit_label, fit_missing
from distcnn.quality.calibration.residual_quantiles import (
    needed_factor,
    side_width,
    weighted_quantiles,
)
from distcnn.quality.calibration.strata import (
    LABEL_STRATA,
    TRANSITION_DEX,
    label_strata,
    strata_columns,
    strata_weights,
)
from distcnn.stats import WITHIN_68, WITHIN_95, snr_bins

_LN_SIDE_VARIANCE = 2.28  # n * var(ln) of the 84.1 % quantile of one side of the residuals
_MODEL_ERROR_SHORT = 0.015  # the same for a 95 % width below that of a Gaussian
_GAUSSIAN_WIDTH_95 = 2.0
_LN_QUANTILE_VARIANCE = 0.93  # the same for the 68.3 % quantile of all; of a Gaussian
_MODEL_ERROR = 0.1, 0.15  # of ln of the 68 and 95 % widths: how far errors may be from Student's t
_SKEW_SPREAD = 0.10  # of ln of a side's half-width, where stars are too few to show their own
MISSING_MODALITIES = missing_combinations()
"""Inputs that a star may lack and still be calibrated; number + 1 stands for it, 0 for none."""
MISSING_MAGNITUDES = (
    "a magnitude is missing",
    "magnitudes are missing",
    "the reference magnitude is missing",
)
"""What a star may lack besides, of magnitudes; number + 1 stands for it, 0 for none."""


_ARRAY_NAMES = {
    "centres": "centres",
    "scale": "scale",
    "overall": "overall",
    "degrees": "shapes",
    "stratum": "cell",
    "along_labels": "along_labels",
    "asymmetry": "side",
    "missing_modality": "hidden",
    "missing_magnitude": "magnitudes",
    "width_95": "width_95",
    "transition": "transition",
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
    nodes, along_labels : nodes along predicted labels, and further factor [A * J, L] at them.
    asymmetry : [C, L, 2] half-widths of the interval below and above, in total errors.
    missing_modality : [H, K + 1, L] further factor for stars that lack inputs
        (``MISSING_MODALITIES``), at ``centres`` and where the S/N is unknown.
    missing_magnitude : [3, K + 1, L] the same of ``MISSING_MAGNITUDES``; 1 where networks learned
        from stars that lack some, and in packages of before.
    width_95 : [L] total errors within which 95.4 % of the errors lie.
    transition : [2] width in logg and metallicity of the transition between strata, dex.
    index : (logg, mh) positions among the labels, -1 where absent.
    snr_range : S/N between which stars were seen; NaN, NaN where the survey has no S/N.
    unknown_snr : stars without S/N were seen too.
    counts : [K + 1, L] stars behind each scale, and those without S/N (older packages: [K, L]).
    """

    centres: Array
    scale: Array
    overall: Array
    degrees: Array
    stratum: Array
    nodes: LabelNodes
    along_labels: Array
    asymmetry: Array
    missing_modality: Array
    missing_magnitude: Array
    width_95: Array
    transition: Array
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
        edges : increasing S/N edges; in every bin between them that has stars stands a node.
        label, names : [N, L] predictions and their names; without them there are no strata.
        """
        found = ReferenceResiduals(residual, np.hypot(noise, scatter), np.nan_to_num(label_error))
        bins = snr_bins(snr, edges)
        used = np.unique(bins[(bins >= 0) & found.known.any(axis=1)])
        inside = [bins == number for number in used]
        counts = [found.known[rows].sum(axis=0) for rows in (*inside, bins < 0)]
        known = snr[np.isfinite(snr) & (snr > 0)]
        centres, index = _centres(snr, inside), strata_columns(names)
        cells = _cells(label, names, index, len(snr))
        parts = [fit_label(found, k, snr, centres, cells) for k in range(residual.shape[1])]
        overall = np.array([part.overall for part in parts])
        fitted = cls(
            centres=centres,
            scale=np.stack([part.scale for part in parts], axis=1),
            overall=overall,
            degrees=np.array([part.degrees for part in parts]),
            stratum=np.stack([part.stratum for part in parts], axis=1),
            nodes=cells.nodes,
            along_labels=np.stack([part.along_labels for part in parts], axis=1),
            asymmetry=np.ones((len(LABEL_STRATA), len(overall), 2)),
            missing_modality=np.ones((len(MISSING_MODALITIES), len(centres) + 1, len(overall))),
            missing_magnitude=np.ones((len(MISSING_MAGNITUDES), len(centres) + 1, len(overall))),
            width_95=np.array([part.width_95 for part in parts]),
            transition=TRANSITION_DEX,
            index=index,
            snr_range=(float(known.min()), float(known.max())) if known.size else (np.nan, np.nan),
            unknown_snr=bool((~(snr > 0)).any()),
            counts=np.array(counts, np.int64),
        )
        widening = np.array([part.widening for part in parts])
        fitted = fitted._with_quantiles(found.rescaled(fitted._factor(snr, label, None)), widening)
        if label is None:
            return fitted
        return fitted._with_asymmetry(found.rescaled(fitted._factor(snr, label, None)), label)

    def _with_quantiles(self, left: ReferenceResiduals, widening: Array) -> "Calibration":
        """Put right what no t distribution has: the quantiles of all residuals together.

        ``widening`` : [L] by how much errors are wider for few stars, which stays.
        """
        weight = left.effective_stars()
        stars = np.maximum(weight.sum(axis=0), 1e-9)
        parts = enumerate((WITHIN_68, WITHIN_95), start=1)
        one, two = (weighted_quantiles(needed_factor(left, n), weight, part) for n, part in parts)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(one * widening), np.log(two / one / self.width_95)
        level, width = (
            np.exp(np.where(np.isfinite(log), _trust(error, stars) * log, 0.0))
            for log, error in zip(logs, _MODEL_ERROR, strict=True)
        )
        # Few stars do not show that errors have less tails than a Gaussian: they seldom have.
        width_95 = self.width_95 * width
        short = np.minimum(np.log(width_95 / _GAUSSIAN_WIDTH_95), 0.0)
        width_95 *= np.exp((_trust(_MODEL_ERROR_SHORT, stars) - 1) * short)
        scale, overall = self.scale * level, self.overall * level
        return replace(self, scale=scale, overall=overall, width_95=np.maximum(width_95, 1.0))

    def _with_asymmetry(self, left: ReferenceResiduals, label: Array) -> "Calibration":
        where = label_strata(label, self.index)
        asymmetry = np.ones_like(self.asymmetry)
        for number in range(len(LABEL_STRATA)):
            some = left.take(where == number)
            # The truth lies below a label that is too large.
            log = np.log([side_width(some, sign) for sign in (1.0, -1.0)])
            stars = some.effective_stars().sum(axis=0)
            weight = stars / (stars + _LN_SIDE_VARIANCE / _SKEW_SPREAD**2)
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
        missing_modality[number] = self._further(found, snr, label)
        return replace(self, missing_modality=missing_modality)

    def with_missing_magnitude(
        self, number: int, found: ReferenceResiduals, snr: Array, label: Array
    ) -> "Calibration":
        """Fit the factor for stars that lack ``MISSING_MAGNITUDES[number]``, and nothing else."""
        first = self._further(found, snr, label)
        # Networks never learned without it: errors may be ten times those of other stars, and a
        # fit takes residuals of many errors for wrong references. So it is told, and asked again.
        told = found.rescaled(self._along_snr(snr, first[:-1], first[-1]))
        missing_magnitude = self.missing_magnitude.copy()
        missing_magnitude[number] = first * self._further(told, snr, label)
        return replace(self, missing_magnitude=missing_magnitude)

    def _further(self, found: ReferenceResiduals, snr: Array, label: Array) -> Array:
        """[K + 1, L] factors on the errors that stars would have which lack nothing."""
        left, labels = found.rescaled(self._factor(snr, label)), range(len(self.overall))
        found_of = [fit_missing(left, k, snr, self.centres, self.degrees[k]) for k in labels]
        return np.stack(found_of, axis=1)

    def _factor(
        self,
        snr: Array,
        label: Array | None,
        missing: Array | None = None,
        magnitudes: Array | None = None,
    ) -> Array:
        factor = self._along_snr(snr, self.scale, self.overall)
        if label is not None:
            weight = strata_weights(label, self.index, self.transition)
            log = weight @ np.log(self.stratum)
            factor *= np.exp(log + self.nodes.log_factor(label, np.log(self.along_labels)))
        lacks = (missing, self.missing_modality), (magnitudes, self.missing_magnitude)
        for lack, tables in lacks:
            for number in () if lack is None else np.unique(lack[lack > 0]):
                rows, table = lack == number, tables[number - 1]
                factor[rows] *= self._along_snr(snr[rows], table[:-1], table[-1])
        return factor

    def _along_snr(self, snr: Array, scale: Array, overall: Array) -> Array:
        """[N, L] of factors [K, L] at ``centres``; ``overall`` [L] where the S/N is unknown."""
        good = np.isfinite(snr) & (snr > 0)
        factor = np.broadcast_to(overall, (len(snr), len(overall))).copy()
        if len(self.centres):
            at = np.log(np.where(good, snr, 1.0))
            along = [np.interp(at, self.centres, column) for column in np.log(scale).T]
            factor[good] = np.exp(np.stack(along, axis=1))[good]
        return factor

    def apply(
        self,
        noise: Array,
        scatter: Array,
        snr: Array,
        label: Array | None = None,
        missing: Array | None = None,
        *,
        magnitudes: Array | None = None,
    ) -> Array:
        """Total standard errors, float32 [N, L], in label units.

        ``label`` selects the stratum; ``missing`` [N] is 0, or one more than a position in
        ``MISSING_MODALITIES``; ``magnitudes`` [N] in ``MISSING_MAGNITUDES``.
        """
        factor = self._factor(snr, label, missing, magnitudes)
        return np.asarray(factor * np.hypot(noise, scatter), np.float32)

    def interval(self, total: Array, label: Array) -> tuple[Array, Array]:
        """Half-widths [N, L] below and above the label, from total errors."""
        weight = strata_weights(label, self.index, self.transition)
        log = np.log(self.asymmetry)
        low, high = (np.exp(weight @ log[:, :, side]).astype(np.float32) for side in (0, 1))
        return total * low, total * high

    def supported(self, snr: Array) -> Array:
        """[N, L] bool: the label was calibrated, on stars of such S/N."""
        low, high = self.snr_range
        known = np.isfinite(snr) & (snr > 0)
        # A tenth beyond the extreme stars costs nothing: the scale is constant there.
        inside = known & (snr >= low / 1.1) & (snr <= high * 1.1)
        seen = inside | (~known & self.unknown_snr)
        return np.asarray(seen[:, None] & np.isfinite(self.overall))

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        plain = {key: getattr(self, name) for name, key in _ARRAY_NAMES.items()}
        return {key: np.ascontiguousarray(array) for key, array in plain.items()} | {
            "counts": self.counts.astype(np.int64),
            "label_columns": self.nodes.columns.astype(np.int64),
            "label_nodes": self.nodes.places.astype(np.float64),
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
            "nodes": _nodes(arrays),
        }
        plain: dict[str, Any] = {
            name: arrays[key] for name, key in _ARRAY_NAMES.items() if key in arrays
        }
        return cls(**_completed(plain), **special)


def _cells(label: Array | None, names: Sequence[str], index: tuple[int, int], stars: int) -> Cells:
    """Without labels there are none."""
    if label is None:
        return Cells(np.zeros((stars, 0)), LabelNodes.none(), np.zeros((stars, 0)))
    nodes = LabelNodes.of(label, names)
    return Cells(strata_weights(label, index, TRANSITION_DEX), nodes, nodes.weights(label))


def _nodes(arrays: Mapping[str, Array]) -> LabelNodes:
    if "label_nodes" not in arrays:
        return LabelNodes.none()
    return LabelNodes(arrays["label_columns"], arrays["label_nodes"])


def _completed(plain: dict[str, Any]) -> dict[str, Any]:
    """What packages say that were written before scales were smooth."""
    centres, labels = len(plain["centres"]), len(plain["overall"])
    plain.setdefault("width_95", np.full(labels, 2.0))
    plain.setdefault("transition", np.zeros(2))
    plain.setdefault("along_labels", np.ones((0, labels)))
    whole = np.ones((len(MISSING_MAGNITUDES), centres + 1, labels))
    plain.setdefault("missing_magnitude", whole)
    missing = plain["missing_modality"]
    if missing.ndim == 2:
        plain["missing_modality"] = np.repeat(missing[:, None], centres + 1, axis=1)
    return plain


def _trust(model_error: float, stars: Array) -> Array:
    """[L] weight of a quantile of so many stars against that of the fitted distribution."""
    return np.asarray(model_error**2 / (model_error**2 + _LN_QUANTILE_VARIANCE / stars))


def _centres(snr: Array, inside: list[Array]) -> Array:
    return np.array([np.median(np.log(snr[rows])) for rows in inside])
