"""Fits of what quality is made of, on stars with references.

Stars are mappings of arrays, as ``Quality.fit`` describes them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig
from distcnn.quality.calibration import (
    MISSING_MAGNITUDES,
    MISSING_MODALITIES,
    Calibration,
    ReferenceResiduals,
)
from distcnn.quality.debias import Debiasing, LabelledEstimates
from distcnn.quality.input_summary import InputSummary
from distcnn.quality.novelty import Novelty, fit_reference, light_of, other_light

Arrays = Mapping[str, Array]

NOVELTY_FOLDS = 4
"""Parts of calibration stars whose novelty is measured against the others, where they trained."""


def fit_calibration(
    stars: Arrays, settings: QualityConfig, names: Sequence[str], hidden: Mapping[str, Arrays]
) -> Calibration:
    """Total errors, from stars that lack nothing; then those of stars with inputs ``hidden``."""
    reference, error, snr = stars["reference"], residual_error_of(stars), snr_of(stars)
    label = stars["label"]
    whole = _of_whole(reference, InputSummary.of(stars, len(label), None), hidden)
    fitted = Calibration.fit(
        label - whole,
        stars["noise"],
        stars["scatter"],
        error,
        snr,
        edges=settings.snr_edges,
        label=label if names else None,
        names=names,
    )

    def residuals(predicted: Arrays) -> tuple[ReferenceResiduals, Array, Array]:
        label, noise, scatter = (predicted[k] for k in ("label", "noise", "scatter"))
        error = residual_error_of({**stars, **predicted})
        return ReferenceResiduals(label - whole, np.hypot(noise, scatter), error), snr, label

    for number, name in enumerate(MISSING_MODALITIES):
        if name in hidden:
            fitted = fitted.with_missing(number, *residuals(hidden[name]))
    for number, name in enumerate(MISSING_MAGNITUDES):
        if name in hidden:
            fitted = fitted.with_missing_magnitude(number, *residuals(hidden[name]))
    return fitted


def _of_whole(reference: Array, seen: InputSummary, hidden: Mapping[str, Arrays]) -> Array:
    """References [N, L] of the stars that lack nothing, NaN of the others."""
    lacking = seen.missing > 0
    if MISSING_MAGNITUDES[-1] in hidden:  # else networks and errors know such stars
        lacking |= seen.missing_magnitudes > 0
    whole: Array = np.where(lacking[:, None], np.nan, reference)
    # A survey where every star lacks something is asked as it is.
    return whole if np.isfinite(whole).any() else reference


def fit_debiasing(
    stars: Arrays,
    seen: InputSummary,
    calibration: Calibration,
    hidden: Mapping[str, Arrays],
    *,
    population: tuple[Array, Array],
    settings: QualityConfig,
) -> Debiasing:
    """From stars that lack nothing, and from the same with inputs hidden."""
    whole = _of_whole(stars["reference"], seen, hidden)

    def estimates(predicted: Arrays, missing: Array) -> LabelledEstimates:
        label, noise, scatter = (predicted[name] for name in ("label", "noise", "scatter"))
        total = calibration.apply(noise, scatter, seen.snr, label, missing)
        error = np.nan_to_num(reference_error_of(stars))
        return LabelledEstimates(label, total, whole, error, seen.snr)

    fitted = Debiasing.fit(
        estimates(stars, seen.missing), edges=settings.snr_edges, population=population
    )
    for number, name in enumerate(MISSING_MODALITIES):
        if name in hidden:
            lacking = np.full(len(seen.snr), number + 1)
            fitted = fitted.with_missing(number, estimates(hidden[name], lacking))
    return fitted


def as_measured(scatter: Array, members: int, seed: int) -> Array:
    """Scatter [N, L] as so many members would show it, from what is expected of it.

    Out of fold it is an expectation, shrunk; of new stars it is a sample, with the spread of a
    sample. The limit of disagreement is a quantile of the latter.
    """
    degrees = max(members - 1, 1)
    draw = np.random.default_rng(seed).chisquare(degrees, scatter.shape)
    return np.asarray(scatter * np.sqrt(draw / degrees))


def fit_novelty(
    train: Arrays, calibration: Arrays, settings: QualityConfig, seed: int
) -> tuple[Novelty | None, Array]:
    """The reference, and the score [N] of calibration stars against spectra that are not theirs."""
    if "flux" not in train or not train["flux"].size:
        return None, np.full(len(calibration["label"]), np.nan, np.float32)
    fitted = _reference(train, np.ones(len(train["flux"]), bool), settings, seed)
    raw = _raw_novelty(fitted, calibration, settings, seed)
    fitted = fitted.with_threshold(raw, settings.novelty_quantile)
    return fitted, np.asarray(raw / np.float32(fitted.threshold), np.float32)


def _raw_novelty(fitted: Novelty, calibration: Arrays, settings: QualityConfig, seed: int) -> Array:
    flux, error, fold = (calibration.get(name) for name in ("flux", "flux_error", "fold"))
    assert flux is not None
    light = other_light(calibration)
    if fold is None:
        return fitted.score(flux, error, light)
    # These stars are among those of the reference: each is judged by one that is without it.
    raw = np.full(len(flux), np.nan, np.float32)
    for group in np.unique(fold % NOVELTY_FOLDS):
        mine = fold % NOVELTY_FOLDS == group
        others = _reference(calibration, ~mine, settings, seed)
        raw[mine] = others.score(
            flux[mine],
            None if error is None else error[mine],
            light_of(light, mine),
        )
    return raw


def _reference(stars: Arrays, rows: Array, settings: QualityConfig, seed: int) -> Novelty:
    error = stars.get("flux_error")
    return fit_reference(
        stars["flux"][rows],
        None if error is None else error[rows],
        settings.novelty_components,
        light=light_of(other_light(stars), rows),
        seed=seed,
    )


def snr_of(stars: Arrays) -> Array:
    """S/N [N] of stars; NaN where they have none."""
    return np.reshape(stars.get("snr", np.full(len(next(iter(stars.values()))), np.nan)), -1)


def reference_error_of(stars: Arrays) -> Array:
    """Errors [N, L] of the references; 0 where they have none."""
    return stars.get("reference_error", np.zeros_like(stars["reference"]))


def residual_error_of(stars: Arrays) -> Array:
    """[N, L] what a residual has beside the error that a new star's label would have."""
    own = np.nan_to_num(reference_error_of(stars))
    return np.asarray(np.hypot(own, stars.get("fewer_members_error", np.zeros_like(own))))


def usual_reference_errors(stars: Arrays) -> list[float]:
    """[L] median over stars with a reference of what residuals have beside a new label's error."""
    known = np.where(np.isfinite(stars["reference"]), residual_error_of(stars), np.nan)
    columns = (column[np.isfinite(column)] for column in known.T)
    return [float(np.median(column)) if column.size else 0.0 for column in columns]
