"""Quality: everything that says how far a prediction may be trusted, fitted once at training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig
from distcnn.quality.calibration import (
    LABEL_STRATA,
    Calibration,
    label_strata,
)
from distcnn.quality.debias import Debiasing, LabelledEstimates
from distcnn.quality.fitting import (
    as_measured,
    fit_calibration,
    fit_debiasing,
    fit_novelty,
    reference_error_of,
    residual_error_of,
    snr_of,
)
from distcnn.quality.flags import (
    DAMAGED,
    LABELS_CONCERNED,
    InputQuantities,
    PredictionQuantities,
    input_flags,
    prediction_flags,
)
from distcnn.quality.input_summary import NOVELTY_MEASURES, NOVELTY_WEIGHT, InputSummary
from distcnn.quality.limits import Limits
from distcnn.quality.novelty import Novelty
from distcnn.quality.recommendation import recommend
from distcnn.quality.reliable_range import within_reliable_range
from distcnn.quality.training_density import TrainingDensity
from distcnn.stats import coverage_table

Arrays = Mapping[str, Array]


_PARTS = {"limits": "limits", "novelty": "novelty", "calibration": "calibration"} | {
    "debiasing": "attenuation",
    "density": "density",
}
"""Attribute -> prefix of its arrays in packages of format 2."""
MAX_PRIOR_RATIO = 100.0
"""Errors beyond so many spreads of the population all say the same, and float16 holds no more."""


@dataclass(frozen=True)
class Quality:
    """Limits, novelty, calibration, debiasing and member agreement, with their settings.

    Attributes
    ----------
    disagreement : [L] scatter between members over total error, above which members disagree.
    density : of the training labels; None in packages made before it was, which flag no star
        SPARSE_LABELS.
    """

    limits: Limits
    novelty: Novelty | None
    calibration: Calibration
    debiasing: Debiasing
    disagreement: Array
    settings: QualityConfig
    density: TrainingDensity | None = None

    @classmethod
    def fit(
        cls,
        train: Arrays,
        calibration: Arrays,
        settings: QualityConfig,
        *,
        names: Sequence[str] = (),
        seed: int = 0,
        members: int = 1,
        hidden: Mapping[str, Arrays] | None = None,
    ) -> "Quality":
        """Fit limits and novelty on training stars, everything else on the calibration split.

        Calibration stars that trained other members than those that predicted them have a ``fold``
        [N], and ``fewer_members_error`` [N, L]: what their labels err more than those of the whole
        ensemble, for being the mean of fewer members.

        Parameters
        ----------
        train : ``reference``, ``reference_error`` [N, L] and the inputs that the survey has:
            ``flux``, ``flux_error`` [N, P], ``photometry`` [N, K], ``parallax``,
            ``parallax_error`` [N], ``xp`` [N, C].
        calibration : the same inputs, ``snr`` [N], and ``label``, ``noise``, ``scatter``,
            ``reference``, ``reference_error`` [N, L]; ``reference_error`` may be absent.
        names : names of the labels; logg and mh select the strata of the calibration.
        members : of the whole ensemble.
        hidden : ``label``, ``noise``, ``scatter`` of the same stars with inputs hidden, by the
            names of ``calibration.MISSING_MODALITIES`` and ``MISSING_MAGNITUDES``.
        """
        limits = Limits.fit(
            train["reference"],
            train.get("photometry"),
            train.get("parallax"),
            settings.limit_quantile,
        )
        limits = within_reliable_range(limits, calibration["label"], calibration["reference"])
        novelty, score = fit_novelty(train, calibration, settings, seed)
        seen = InputSummary.of(calibration, len(calibration["label"]), novelty)
        damaged = input_flags(InputQuantities(seen, score, limits, settings)) & DAMAGED
        # Errors are calibrated for stars that a careful user would keep.
        clean = dict(calibration) | {
            "reference": np.where((damaged == 0)[:, None], calibration["reference"], np.nan)
        }
        fitted = fit_calibration(clean, settings, names, hidden or {})
        noise, scatter = calibration["noise"], calibration["scatter"]
        label = calibration["label"]
        lacks = seen.missing_magnitudes
        total = fitted.apply(noise, scatter, seen.snr, label, seen.missing, magnitudes=lacks)
        population = train["reference"], reference_error_of(train)
        debiasing = fit_debiasing(
            clean, seen, fitted, hidden or {}, population=population, settings=settings
        )
        if "fold" in calibration:
            scatter = as_measured(scatter, members, seed)
        ratio = np.where((damaged == 0)[:, None], scatter / total, np.nan)
        disagreement = np.array([_limit(c, settings.disagreement_quantile) for c in ratio.T])
        density = TrainingDensity.fit(train["reference"], seed=seed)
        if density is not None:
            inside = (damaged == 0) & ~limits.labels_outside(label).any(axis=1)
            density = density.with_limit(label[inside], settings.density_quantile)
        return cls(limits, novelty, fitted, debiasing, disagreement, settings, density)

    def assess(
        self, inputs: Arrays, label: Array, noise: Array, scatter: Array
    ) -> dict[str, Array]:
        """``assess_summary`` of the inputs [N, ...] themselves."""
        return self.assess_summary(
            InputSummary.of(inputs, len(label), self.novelty), label, noise, scatter
        )

    def assess_summary(
        self, summary: InputSummary, label: Array, noise: Array, scatter: Array
    ) -> dict[str, Array]:
        """Judge a block of predictions.

        Parameters
        ----------
        summary : of the same stars, in the same order.
        label, noise, scatter : [N, L] as the ensemble gave them, label units.

        Returns
        -------
        float32 [N, L], NaN where the star has no finite prediction: ``label_error``,
        ``label_error_low``, ``label_error_high`` (half-widths of the 68 % interval),
        ``label_debiased``, ``label_debiased_error`` (see ``Debiasing``), ``label_prior_ratio``;
        ``novelty`` float32 [N] (1 = limit, NaN without spectrum), ``valid_pixels`` float32 [N]
        (NaN where the survey has no spectra), ``flags`` uint32 [N] (``schema.Flag``);
        ``label_recommendation`` uint8 [N, L] (``schema.Recommendation``).
        """
        snr, novelty = summary.snr, _novelty_score(summary, self.novelty)
        missing, lacks = summary.missing, summary.missing_magnitudes
        total = self.calibration.apply(noise, scatter, snr, label, missing, magnitudes=lacks)
        finite = np.isfinite(np.hstack([label, noise, scatter])).all(axis=1)
        total[~finite] = np.nan
        ratio = self.prior_ratio(total)
        flags = input_flags(InputQuantities(summary, novelty, self.limits, self.settings))
        known = PredictionQuantities(
            label=label,
            scatter=scatter,
            total=total,
            finite=finite,
            calibrated=self.calibration.supported(snr),
            disagreement=self.disagreement,
            limits=self.limits,
            prior_ratio=ratio,
            ratio_limit=self.settings.prior_ratio,
            density=self.density,
        )
        flags |= prediction_flags(known)
        concerned = {flag: labels_of(known) for flag, labels_of in LABELS_CONCERNED.items()}
        valid = summary.get("valid_pixels")
        low, high = self.calibration.interval(total, label)
        debiased, debiased_error = self.debiasing.apply(label, total, snr, summary.missing)
        return {
            "label_error": total,
            "label_error_low": low,
            "label_error_high": high,
            "label_debiased": debiased,
            "label_debiased_error": debiased_error,
            "label_prior_ratio": ratio,
            "label_recommendation": recommend(flags, concerned, label.shape[1]),
            "novelty": novelty,
            "valid_pixels": np.full(len(snr), np.nan, np.float32) if valid is None else valid,
            "flags": flags,
        }

    def prior_ratio(self, total: Array) -> Array:
        """Total errors [N, L] over the spread of the training labels, float32: 0 where a label is
        the star's own, 1 where it is the population's. Of Gaussians, its square is the weight that
        the mean of the population has in the estimate (posterior over prior variance).
        """
        return np.asarray(np.minimum(total / self.debiasing.spread, MAX_PRIOR_RATIO), np.float32)

    def coverage(
        self, held_out: Arrays, names: Sequence[str], *, unflagged: bool = True
    ) -> list[dict[str, Any]]:
        """The published table (see ``coverage_table``) from a split with references.

        ``held_out`` has the keys of ``fit``'s ``calibration``; flagged stars are left out
        unless ``unflagged`` is False. ``cell`` is "all" or one of ``LABEL_STRATA``.
        """
        assessed = self.assess(held_out, held_out["label"], held_out["noise"], held_out["scatter"])
        residual = held_out["label"] - held_out["reference"]
        if unflagged:
            residual = np.where((assessed["flags"] & DAMAGED == 0)[:, None], residual, np.nan)
        where = label_strata(held_out["label"], self.calibration.index)
        groups = {"all": np.ones(len(where), bool)}
        groups |= {name: where == number for number, name in enumerate(LABEL_STRATA)}
        rows = []
        for cell, inside in groups.items():
            table = coverage_table(
                residual[inside],
                assessed["label_error"][inside],
                residual_error_of(held_out)[inside],
                snr_of(held_out)[inside],
                edges=self.settings.snr_edges,
                names=names,
                width_95=self.calibration.width_95,
            )
            rows += [row | {"cell": cell} for row in table if row["stars"]]
        return rows

    def debias_table(self, held_out: Arrays, names: Sequence[str]) -> list[dict[str, Any]]:
        """Slopes, default and debiased, as ``Debiasing.table`` gives them; unflagged stars."""
        assessed = self.assess(held_out, held_out["label"], held_out["noise"], held_out["scatter"])
        good = (assessed["flags"] & DAMAGED == 0)[:, None]
        summary = InputSummary.of(held_out, len(good), None)
        stars = LabelledEstimates(
            held_out["label"],
            assessed["label_error"],
            np.where(good, held_out["reference"], np.nan),
            np.nan_to_num(reference_error_of(held_out)),
            snr_of(held_out),
        )
        return self.debiasing.table(
            stars, names=names, edges=self.settings.snr_edges, missing=summary.missing
        )

    def to_arrays(self) -> dict[str, Array]:
        """Everything as named arrays (for safetensors); undone by ``from_arrays``."""
        settings = np.frombuffer(json.dumps(self.settings.model_dump()).encode(), np.uint8).copy()
        arrays = {"settings": settings, "disagreement": self.disagreement}
        parts = {prefix: getattr(self, name) for name, prefix in _PARTS.items()}
        for part, value in parts.items():
            if value is not None:
                arrays |= {f"{part}.{name}": array for name, array in value.to_arrays().items()}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Quality":
        """The quality that ``to_arrays`` described."""
        settings = QualityConfig.model_validate_json(arrays["settings"].tobytes())
        novelty, density = _part(arrays, "novelty"), _part(arrays, "density")
        return cls(
            Limits.from_arrays(_part(arrays, "limits")),
            Novelty.from_arrays(novelty) if novelty else None,
            Calibration.from_arrays(_part(arrays, "calibration")),
            Debiasing.from_arrays(_part(arrays, "attenuation")),
            arrays["disagreement"],
            settings,
            TrainingDensity.from_arrays(density) if density else None,
        )


def _novelty_score(summary: InputSummary, novelty: Novelty | None) -> Array:
    """Float32 [N], 1 = the limit; NaN without a spectrum or a reference for it."""
    measures, weight = summary.get(NOVELTY_MEASURES), summary.get(NOVELTY_WEIGHT)
    if novelty is None or measures is None or weight is None:
        return np.full(len(summary.snr), np.nan, np.float32)
    deviation = novelty.deviation(measures, weight)
    return np.asarray(deviation / np.float32(novelty.threshold), np.float32)


def _part(arrays: Arrays, part: str) -> dict[str, Array]:
    start = f"{part}."
    return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}


def _limit(ratio: Array, quantile: float) -> float:
    good = ratio[np.isfinite(ratio)]
    return float(np.quantile(good, quantile)) if good.size else np.inf
