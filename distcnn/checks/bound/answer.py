"""Answer of the check of the bound: the scatter of labels over the least that photons allow."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from distcnn.air import to_vacuum
from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.bound.figure import draw_bound
from distcnn.checks.bound.spectrum_model import SpectrumModel, spectrum_bounds
from distcnn.checks.injection.answers import NO_SPECTRUM, has_spectra
from distcnn.checks.injection.changes import without
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.predictor import PredictedStars
from distcnn.checks.sensitivity.answer import wavelengths_nm
from distcnn.checks.stars import StarTable
from distcnn.model.pixel_noise import length_of
from distcnn.schema import Flag
from distcnn.stats import robust_std, snr_groups

MIN_MODEL_STARS = 10
"""Labelled spectra per term of the quadratic model."""
MIN_STARS = 30
MAX_RATIO = 2.0
"""Largest scatter in units of the bound; the quadratic model and its few nuisances are too
optimistic for a sharper verdict."""
TOLERATED_SIGMA = 3.0
VELOCITY_ERROR_KM_S = 1.0


def answer_bound(inputs: CheckInputs) -> Answer:
    """Of stars outside training with references, against a model of the survey's own spectra."""
    if not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    if "flux_error" not in inputs.survey.variables:
        return Answer(Verdict.UNDECIDED, "no flux errors in the survey: the photons are not known")
    labelled = _complete(inputs.table, inputs.config.stars)
    count = len(inputs.labels)
    terms = 1 + count + count * (count + 1) // 2
    judged = _complete(inputs.judged, inputs.config.injected_stars)
    if len(labelled) < MIN_MODEL_STARS * terms or len(judged) < MIN_STARS:
        return Answer(
            Verdict.UNDECIDED,
            f"no {MIN_MODEL_STARS * terms} stars with all labels and {MIN_STARS} of them outside "
            f"training (there are {len(labelled)} and {len(judged)})",
        )
    arrays = inputs.arrays(labelled)
    flux, error = (arrays[name].astype(float) for name in ("flux", "flux_error"))
    model = SpectrumModel.fitted(flux, labelled.reference, error)
    found, bound = inputs.predict(judged), _bounds(inputs, judged, model)
    rows = list(bound_rows(inputs.labels, found, bound, judged, inputs.report.snr_edges))
    return replace(judge_bound(rows), figures={FIGURE: partial(draw_bound, rows, inputs.labels)})


def _complete(table: StarTable, most: int) -> StarTable:
    known = np.isfinite(table.reference).all(axis=1) & np.isfinite(table.snr)
    return table.drawn(known & (table.defect == ""), most)


def _bounds(inputs: CheckInputs, stars: StarTable, model: SpectrumModel) -> Array:
    arrays = inputs.arrays(stars)
    wavelength, medium = wavelengths_nm(inputs.survey)
    vacuum = to_vacuum(wavelength) if medium == "air" else wavelength
    # Correlated noise averages out less: its power where lines are is that of slow frequencies.
    error = arrays["flux_error"].astype(float) * math.sqrt(
        max(length_of(inputs.noise_correlation), 0.0)
    )
    error = np.where(np.isfinite(arrays["flux"]), error, np.nan)
    return spectrum_bounds(
        model,
        stars.reference,
        error,
        vacuum,
        prior=_prior(inputs, stars, arrays),
        velocity_error=VELOCITY_ERROR_KM_S,
    )


def _prior(inputs: CheckInputs, stars: StarTable, arrays: dict[str, Array]) -> Array:
    """Covariance [N, L, L] of labels without spectrum: of the package's answer, if it gives one.

    That is what photometry, parallax and XP tell besides; without them it is the population's.
    """
    spread = np.cov(stars.reference.T).reshape(len(inputs.labels), -1)
    others = [row for row in inputs.package.spec.modalities if row.name not in {"flux", "snr"}]
    if others:
        blind = inputs.predictor(without(arrays, ("flux", "flux_error")))
        residual = blind.label - stars.reference
        known = np.isfinite(residual).all(axis=1) & ((blind.flags & int(Flag.NON_FINITE)) == 0)
        if known.sum() > MIN_STARS:
            spread = np.cov(residual[known].T).reshape(spread.shape)
    return np.broadcast_to(spread, (len(stars), *spread.shape))


def bound_rows(
    names: Sequence[str],
    found: PredictedStars,
    bound: Array,
    stars: StarTable,
    edges: Sequence[float],
) -> Iterator[AnswerRow]:
    """Robust scatter, bound (with the references' own errors) and their ratio per S/N and label."""
    for title, inside in snr_groups(stars.snr, edges):
        for number, name in enumerate(names):
            residual = (found.label - stars.reference)[inside, number]
            known = np.isfinite(residual) & np.isfinite(bound[inside, number])
            if known.sum() < 2:
                continue
            least = np.square(bound[inside, number][known])
            least += np.square(stars.reference_error[inside, number][known])
            scatter, limit = robust_std(residual[known]), float(np.sqrt(np.median(least)))
            ratio = scatter / max(limit, 1e-30)
            yield {
                "label": name,
                "snr": title,
                "stars": int(known.sum()),
                "scatter": scatter,
                "bound": limit,
                "ratio": ratio,
                "ratio_error": ratio * 1.17 / math.sqrt(2 * known.sum()),
            }


def judge_bound(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where the scatter is more than ``MAX_RATIO`` times the bound."""
    judged = [row for row in rows if int(row["stars"]) >= MIN_STARS]
    if not judged:
        return Answer(Verdict.UNDECIDED, f"no bin of S/N has {MIN_STARS} stars", rows)
    worst = max(judged, key=lambda row: float(row["ratio"]))
    bad = [row for row in judged if _least_ratio(row) > MAX_RATIO]
    sentence = (
        f"{len(bad)} of {len(judged)} labels and bins scatter by more than {MAX_RATIO:g} times "
        f"the bound; most {worst['label']} at S/N {worst['snr']}: {float(worst['ratio']):.2f} +- "
        f"{float(worst['ratio_error']):.2f} ({float(worst['scatter']):.3g} of "
        f"{float(worst['bound']):.3g})"
    )
    return Answer(Verdict.FAILED if bad else Verdict.PASSED, sentence, rows)


def _least_ratio(row: AnswerRow) -> float:
    return float(row["ratio"]) - TOLERATED_SIGMA * float(row["ratio_error"])
