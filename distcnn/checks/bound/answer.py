"""Answer of the check of the bound: the scatter of labels over the least that photons allow."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.bound.figure import draw_bound
from distcnn.checks.bound.quadratic import fit_model, quadratic_bounds
from distcnn.checks.bound.simulated import simulated_bounds
from distcnn.checks.bound.what_binds import noise_response, own_parts
from distcnn.checks.decision import (
    MEDIAN_ERROR,
    MIN_STARS,
    ROBUST_SCATTER_ERROR,
    decide,
    label_and_snr,
    sigma_outside,
    unit_after,
)
from distcnn.checks.injection.answers import NO_SPECTRUM, has_spectra
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.predictor import PredictedStars
from distcnn.checks.stars import StarTable
from distcnn.stats import robust_std, snr_groups

MIN_MODEL_STARS = 10
"""Labelled spectra per term of the quadratic model."""
MAX_RATIO = 2.0
"""Largest scatter in units of the bound. No real estimator reaches it everywhere, and the quadratic
model is none of physics."""
SIMULATION = "of the simulation that made the survey, which knows the population"
QUADRATIC = "of a quadratic model of the survey's own spectra"


def answer_bound(inputs: CheckInputs) -> Answer:
    """Of stars outside training with references.

    Against the bound of the simulation where the survey is one, else of a quadratic model of the
    survey's own spectra.
    """
    if not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    if "flux_error" not in inputs.survey.variables:
        return Answer(Verdict.UNDECIDED, "no flux errors in the survey: the photons are not known")
    judged, used = _complete(inputs.judged, inputs.config.injected_stars), SIMULATION
    if len(judged) < MIN_STARS:
        return Answer(
            Verdict.UNDECIDED,
            f"no {MIN_STARS} stars with references outside training (there are {len(judged)})",
        )
    bound = simulated_bounds(inputs, judged)
    if bound is None:
        labelled, used = _complete(inputs.table, inputs.config.stars), QUADRATIC
        count = len(inputs.labels)
        least = MIN_MODEL_STARS * (1 + count + count * (count + 1) // 2)
        if len(labelled) < least or not np.isfinite(labelled.reference).all():
            return Answer(Verdict.UNDECIDED, _too_few(inputs, least, len(labelled)))
        bound = quadratic_bounds(inputs, judged, fit_model(inputs, labelled))
    found = inputs.predict(judged)
    edges = inputs.report.snr_edges
    moved = noise_response(inputs, judged, found.label)
    rows = [
        {**row, "bound_of": used}
        for row in bound_rows(inputs.labels, found, bound, judged, edges, moved=moved)
    ]
    answer = judge_bound(rows)
    draw = partial(draw_bound, rows, inputs.labels)
    return replace(answer, sentence=f"{answer.sentence}; bound {used}", figures={FIGURE: draw})


def _too_few(inputs: CheckInputs, least: int, there: int) -> str:
    """What the quadratic model lacks, and the label that fewest stars have."""
    known = np.isfinite(inputs.table.reference).sum(axis=0)
    rarest = int(np.argmin(known))
    return (
        f"no {least} stars with all labels to make a model of spectra from (there are "
        f"{there if known[rarest] else 0}; {inputs.labels[rarest]}, which fewest stars have, is "
        f"known of {known[rarest]:,})"
    )


def _complete(table: StarTable, most: int) -> StarTable:
    """Clean stars with S/N and every label that any star has."""
    finite = np.isfinite(table.reference)
    known = finite[:, finite.any(axis=0)].all(axis=1) & finite.any(axis=1)
    return table.drawn(known & np.isfinite(table.snr) & (table.defect == ""), most)


def bound_rows(
    names: Sequence[str],
    found: PredictedStars,
    bound: Array,
    stars: StarTable,
    edges: Sequence[float],
    *,
    moved: Array,
) -> Iterator[AnswerRow]:
    """Robust scatter, bound (with the references' own errors) and their ratio per S/N and label.

    ``moved`` [N, L] : changes by another draw of the noise; see ``what_binds``.
    """
    for title, inside in snr_groups(stars.snr, edges):
        spread, slope = own_parts(found.label[inside], stars.reference[inside])
        for number, name in enumerate(names):
            residual = (found.label - stars.reference)[inside, number]
            residual = residual[np.isfinite(residual)]
            known = np.isfinite(bound[inside, number])
            if min(len(residual), known.sum()) < 2:
                continue
            least = np.square(bound[inside, number][known])
            least += np.square(stars.reference_error[inside, number][known])
            scatter, limit = robust_std(residual), float(np.sqrt(np.median(least)))
            ratio = scatter / max(limit, 1e-30)
            # Sampling errors of a robust scatter and of a median.
            of_scatter = ROBUST_SCATTER_ERROR / math.sqrt(len(residual))
            of_bound = (
                MEDIAN_ERROR
                * robust_std(np.sqrt(least))
                / max(limit, 1e-30)
                / math.sqrt(len(least))
            )
            yield {
                "label": name,
                "snr": title,
                "stars": len(residual),
                "scatter": scatter,
                "bound": limit,
                "bound_stars": len(least),
                "scatter_ratio": ratio,
                "ratio_error": (error := ratio * math.hypot(of_scatter, of_bound)),
                "sigma_outside": sigma_outside(ratio, MAX_RATIO, error),
                "photon_scatter": robust_std(moved[inside, number]),
                "independent": float(spread[number]),
                "own_slope": float(slope[number]),
            }


def judge_bound(rows: Sequence[AnswerRow]) -> Answer:
    """Fails where the scatter is more than ``MAX_RATIO`` times the bound."""
    found = decide(rows, count="bound_stars")
    if not found.judged:
        return Answer(Verdict.UNDECIDED, f"no bin of S/N has {MIN_STARS} stars", rows)
    worst = max(found.judged, key=lambda row: float(row["scatter_ratio"]))
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} labels and bins scatter by more than "
        f"{MAX_RATIO:g} times the bound; most {worst['label']} at S/N {worst['snr']}: "
        f"{float(worst['scatter_ratio']):.2f} +- {float(worst['ratio_error']):.2f} "
        f"({float(worst['scatter']):.3g}{unit_after(worst)} where {float(worst['bound']):.3g} are "
        f"possible, of which noise of the spectrum makes {float(worst['photon_scatter']):.2g}"
    )
    if np.isfinite(worst["own_slope"]):
        sentence += (
            f"; of the {float(worst['independent']):.2g}{unit_after(worst)} that other labels do "
            "not tell of it, "
            f"{round(100 * float(worst['own_slope']))} % are followed"
        )
    sentence += ")"
    return Answer(found.verdict, sentence + found.note(label_and_snr), rows)
