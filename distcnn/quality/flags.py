"""Quality: everything that says how far a prediction may be trusted, fitted once at training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.config import QualityConfig
from distcnn.quality.calibration import Calibration, coverage_table
from distcnn.quality.limits import Limits
from distcnn.quality.novelty import Novelty
from distcnn.schema import Flag

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

_DAMAGED = (
    Flag.NOVEL_SPECTRUM | Flag.NO_SPECTRUM | Flag.FEW_PIXELS | Flag.INPUT_LIMITS | Flag.NON_FINITE
)


@dataclass(frozen=True)
class Quality:
    """Limits, novelty, calibration and member agreement, with the settings they came from.

    Attributes
    ----------
    disagreement : [L] scatter between members over total error, above which members disagree.
    """

    limits: Limits
    novelty: Novelty | None
    calibration: Calibration
    disagreement: Array
    settings: QualityConfig

    @classmethod
    def fit(
        cls,
        train: Arrays,
        calibration: Arrays,
        settings: QualityConfig,
        *,
        names: Sequence[str] = (),
        seed: int = 0,
    ) -> "Quality":
        """Fit limits and novelty on training stars, everything else on the calibration split.

        Parameters
        ----------
        train : ``reference`` [N, L] and the inputs that the survey has: ``flux``, ``flux_error``
            [N, P], ``photometry`` [N, K], ``parallax`` [N], ``xp`` [N, C].
        calibration : the same inputs, ``snr`` [N], and ``label``, ``noise``, ``scatter``,
            ``reference``, ``reference_error`` [N, L]; ``reference_error`` may be absent.
        names : names of the labels; logg and mh select the cells of the calibration.
        """
        limits = Limits.fit(
            train["reference"],
            train.get("photometry"),
            train.get("parallax"),
            settings.limit_quantile,
        )
        novelty = _fit_novelty(train, calibration, settings, seed)
        label, noise, scatter = (calibration[name] for name in ("label", "noise", "scatter"))
        snr = calibration.get("snr", np.full(len(label), np.nan))
        spoilt = _input_flags(calibration, limits, novelty, settings)[0] & _DAMAGED
        # Errors are calibrated for stars that a careful user would keep.
        clean = (spoilt == 0)[:, None]
        reference = np.where(clean, calibration["reference"], np.nan)
        error = calibration.get("reference_error", np.zeros_like(reference))
        fitted = Calibration.fit(
            label - reference,
            noise,
            scatter,
            error,
            snr,
            edges=settings.snr_edges,
            label=label if names else None,
            names=names,
        )
        ratio = scatter / fitted.apply(noise, scatter, snr, label)
        ratio[~clean[:, 0]] = np.nan
        disagreement = np.array([_limit(c, settings.disagreement_quantile) for c in ratio.T])
        return cls(limits, novelty, fitted, disagreement, settings)

    def assess(
        self, inputs: Arrays, label: Array, noise: Array, scatter: Array
    ) -> dict[str, Array]:
        """Judge a block of predictions.

        Parameters
        ----------
        inputs : as for ``fit``; a modality that the survey lacks is absent.
        label, noise, scatter : [N, L] as the ensemble gave them, label units.

        Returns
        -------
        ``label_error`` float32 [N, L] (NaN where the star has no finite prediction),
        ``novelty`` float32 [N] (1 = limit, NaN without spectrum), ``valid_pixels`` float32 [N]
        (NaN where the survey has no spectra), ``flags`` uint32 [N] (``schema.Flag``).
        """
        snr = _flat(inputs.get("snr", np.full(len(label), np.nan)))
        flags, novelty, valid = _input_flags(inputs, self.limits, self.novelty, self.settings)
        total = self.calibration.apply(noise, scatter, snr, label)
        finite = np.isfinite(label).all(axis=1) & np.isfinite(noise).all(axis=1)
        finite &= np.isfinite(scatter).all(axis=1)
        total[~finite] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            disagree = (scatter > self.disagreement * total).any(axis=1)
        flags |= _where(self.limits.outside_labels(label), Flag.LABEL_LIMITS)
        flags |= _where(disagree, Flag.MEMBERS_DISAGREE)
        flags |= _where(~finite, Flag.NON_FINITE)
        flags |= _where(~self.calibration.supported(snr), Flag.UNCALIBRATED)
        return {"label_error": total, "novelty": novelty, "valid_pixels": valid, "flags": flags}

    def coverage(
        self, held_out: Arrays, names: Sequence[str], *, unflagged: bool = True
    ) -> list[dict[str, Any]]:
        """The published table (see ``coverage_table``) from a split with references.

        ``held_out`` has the keys of ``fit``'s ``calibration``; flagged stars are left out
        unless ``unflagged`` is False.
        """
        judged = self.assess(held_out, held_out["label"], held_out["noise"], held_out["scatter"])
        reference = held_out["reference"]
        error = held_out.get("reference_error", np.zeros_like(reference))
        residual = held_out["label"] - reference
        if unflagged:
            residual = np.where((judged["flags"] & _DAMAGED == 0)[:, None], residual, np.nan)
        snr = _flat(held_out.get("snr", np.full(len(reference), np.nan)))
        return coverage_table(
            residual,
            judged["label_error"],
            error,
            snr,
            edges=self.settings.snr_edges,
            names=names,
        )

    def to_arrays(self) -> dict[str, Array]:
        """Everything as named arrays (for safetensors); undone by ``from_arrays``."""
        settings = np.frombuffer(json.dumps(self.settings.model_dump()).encode(), np.uint8).copy()
        arrays = {"settings": settings, "disagreement": self.disagreement}
        parts = {"limits": self.limits, "novelty": self.novelty, "calibration": self.calibration}
        for part, value in parts.items():
            if value is not None:
                arrays |= {f"{part}.{name}": array for name, array in value.to_arrays().items()}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Quality":
        """The quality that ``to_arrays`` described."""
        settings = QualityConfig.model_validate_json(arrays["settings"].tobytes())
        novelty = _part(arrays, "novelty")
        return cls(
            Limits.from_arrays(_part(arrays, "limits")),
            Novelty.from_arrays(novelty) if novelty else None,
            Calibration.from_arrays(_part(arrays, "calibration")),
            arrays["disagreement"],
            settings,
        )


def _fit_novelty(
    train: Arrays, calibration: Arrays, settings: QualityConfig, seed: int
) -> Novelty | None:
    if not _has(train, "flux"):
        return None
    fitted = Novelty.fit(
        train["flux"], train.get("flux_error"), settings.novelty_components, seed=seed
    )
    score = fitted.score(calibration["flux"], calibration.get("flux_error"))
    return fitted.with_threshold(score, settings.novelty_quantile)


def _input_flags(
    inputs: Arrays, limits: Limits, novelty: Novelty | None, settings: QualityConfig
) -> tuple[Array, Array, Array]:
    """Flags that depend on the inputs alone, with novelty (1 = limit) and valid fraction."""
    stars = len(next(iter(inputs.values())))
    flags = np.zeros(stars, np.uint32)
    score, valid = np.full(stars, np.nan, np.float32), np.full(stars, np.nan, np.float32)
    if _has(inputs, "flux"):
        valid = np.isfinite(inputs["flux"]).mean(axis=1, dtype=np.float32)
        few = (valid > 0) & (valid < settings.minimum_valid_pixels)
        flags |= _where(valid == 0, Flag.NO_SPECTRUM) | _where(few, Flag.FEW_PIXELS)
        if novelty is not None:
            raw = novelty.score(inputs["flux"], inputs.get("flux_error"))
            score = (raw / np.float32(novelty.threshold)).astype(np.float32)
            flags |= _where(score > 1, Flag.NOVEL_SPECTRUM)
    missing = {"xp": Flag.NO_XP, "photometry": Flag.NO_PHOTOMETRY, "parallax": Flag.NO_PARALLAX}
    for name, flag in missing.items():
        if _has(inputs, name):
            values = inputs[name].reshape(stars, -1)
            gone = np.isfinite(values)
            # One missing magnitude matters; XP series are truncated by design.
            none = ~gone.any(axis=1) if name == "xp" else ~gone.all(axis=1)
            flags |= _where(none, flag)
    photometry = inputs["photometry"] if _has(inputs, "photometry") else None
    parallax = _flat(inputs["parallax"]) if _has(inputs, "parallax") else None
    if photometry is not None or parallax is not None:
        flags |= _where(limits.outside_inputs(photometry, parallax), Flag.INPUT_LIMITS)
    return flags, score, valid


def _has(inputs: Arrays, name: str) -> bool:
    return name in inputs and inputs[name].size > 0


def _flat(values: Array) -> Array:
    return values.reshape(-1)


def _where(condition: Array | np.bool, flag: Flag) -> Array:
    return np.where(condition, np.uint32(flag), np.uint32(0))


def _part(arrays: Arrays, part: str) -> dict[str, Array]:
    start = f"{part}."
    return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}


def _limit(ratio: Array, quantile: float) -> float:
    good = ratio[np.isfinite(ratio)]
    return float(np.quantile(good, quantile)) if good.size else np.inf
