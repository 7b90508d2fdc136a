"""Continuum: Gaia divides spectra of stars brighter than G_RVS = 12 by a continuum and fainter ones
by a constant; do labels of stars near the switch depend on which was done?
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.decision import MEDIAN_ERROR, MIN_STARS, sigma_outside
from distcnn.checks.injection import changes
from distcnn.checks.injection.answers import NO_SPECTRUM, has_spectra, wavelengths_in_vacuum
from distcnn.checks.injection.figures import draw_responses
from distcnn.checks.injection.responses import (
    MAX_SHIFT_ERRORS,
    Change,
    judge_responses,
    response_rows,
    usable,
)
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.predictor import PredictedStars, read_rows
from distcnn.checks.stars import StarTable
from distcnn.simulate.galaxy.photometry import grvs_minus_rp
from distcnn.simulate.spectrum import REGIME_SWITCH
from distcnn.stats import robust_std
from distcnn.survey import spectra_conditions

NEAR_MAG = 0.5
"""Distance from the switch of the stars that are asked."""
RVS_NM = (840.0, 876.0)
TYPICAL_TEFF_K = 5500.0
"""Of the slope of the continuum where the package does not tell the temperature."""
SWITCH = (REGIME_SWITCH,)
FAINT = Change("the continuum of faint stars at G_RVS", "mag", SWITCH, REGIME_SWITCH)
BRIGHT = Change("the continuum of bright stars at G_RVS", "mag", SWITCH, REGIME_SWITCH)
JUMP = Change("a jump of residuals at G_RVS", "mag", SWITCH, REGIME_SWITCH)


def answer_continuum(inputs: CheckInputs) -> Answer:
    """Of stars near the switch: the labels in the other regime, and the jump of their residuals."""
    if not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    wavelength, magnitude = wavelengths_in_vacuum(inputs), survey_grvs(inputs)
    of_rvs = wavelength[0] > RVS_NM[0] and wavelength[-1] < RVS_NM[1]
    if magnitude is None or not of_rvs:
        missing = "no spectra of the Gaia RVS with G and RP: other surveys have no such switch"
        return Answer(Verdict.UNDECIDED, missing)
    table = inputs.table
    near = table.held_out & (table.defect == "") & (np.abs(magnitude - REGIME_SWITCH) < NEAR_MAG)
    stars = table.drawn(near, inputs.config.injected_stars)
    faint = magnitude[np.searchsorted(table.row, stars.row)] > REGIME_SWITCH
    if min(faint.sum(), (~faint).sum()) < MIN_STARS:
        sentence = f"no {MIN_STARS} stars outside training within {NEAR_MAG:g} mag of either side"
        return Answer(Verdict.UNDECIDED, sentence)
    rows = _rows(inputs, stars, faint, wavelength)
    if not rows:
        return Answer(Verdict.UNDECIDED, "no references, and the continuum was made at ingest")
    draw = partial(draw_responses, rows, inputs.labels)
    return replace(judge_responses(rows), figures={FIGURE: draw})


def _rows(
    inputs: CheckInputs, stars: StarTable, faint: Array, wavelength: Array
) -> list[AnswerRow]:
    arrays, names = inputs.arrays(stars), inputs.labels
    before = inputs.predictor(arrays)
    rows = jump_rows(names, before, stars.reference, faint)
    if spectra_conditions(inputs.survey).get("normalisation", "none") != "none":
        return rows  # ingest has divided by a continuum of its own
    teff = np.full(len(stars), TYPICAL_TEFF_K)
    if "teff" in names:
        teff = np.nan_to_num(before.label[:, names.index("teff")].astype(float), nan=teff[0])
    changed = changes.other_regime(arrays, faint, np.clip(teff, 3000, 15_000), wavelength)
    after = inputs.predictor(changed)
    for side, change in ((~faint, FAINT), (faint, BRIGHT)):
        there = after.take(side)
        rows += response_rows(names, before.take(side), change, partial(_at_switch, there))
    return rows


def _at_switch(found: PredictedStars, _: float) -> PredictedStars:
    return found


def jump_rows(
    names: Sequence[str], found: PredictedStars, reference: Array, faint: Array
) -> list[AnswerRow]:
    """Median residual of fainter stars less that of brighter ones, as rows of a response.

    Parameters
    ----------
    reference : [N, L] in label units; labels with too few on either side, or without quoted
        errors, have no row.
    """
    rows: list[AnswerRow] = []
    good, has_errors = usable(found), found.quoted
    for number, name in enumerate(names):
        if not has_errors[number]:
            continue
        residual = (found.label[:, number] - reference[:, number]).astype(float)
        known = np.isfinite(residual) & good
        sides = [residual[known & side] for side in (~faint, faint)]
        if min(map(len, sides)) < 2:
            continue
        quoted = float(np.median(found.label_error[known, number]))
        jump = float(np.median(sides[1]) - np.median(sides[0]))
        sampling = MEDIAN_ERROR * math.hypot(
            *(robust_std(side) / math.sqrt(len(side)) for side in sides)
        )
        rows.append(
            {
                "label": name,
                "change": JUMP.what,
                "level": REGIME_SWITCH,
                "unit": JUMP.unit,
                "tolerated": 1,
                # No better known than of the side with fewer stars.
                "stars": 2 * min(map(len, sides)),
                "asked": len(good),
                "flagged": float(1 - good.mean()),
                "flagged_before": float(1 - good.mean()),
                "shift": jump,
                "spread": robust_std(np.concatenate(sides)),
                "quoted_error": quoted,
                "shift_errors": jump / quoted,
                "low_errors": (jump - sampling) / quoted,
                "high_errors": (jump + sampling) / quoted,
                "width_errors": 0.0,
                "sigma_outside": sigma_outside(abs(jump), MAX_SHIFT_ERRORS * quoted, sampling),
            }
        )
    return rows


def survey_grvs(inputs: CheckInputs) -> Array | None:
    """G_RVS [N] of the stars of the table from G and RP (Sartoretti et al. 2023, A&A 674, A6);
    None without these bands.
    """
    if "photometry" not in inputs.survey.variables:
        return None
    bands = [str(band).lower() for band in inputs.survey.coordinate("band")]
    g = [place for place, name in enumerate(bands) if name in {"phot_g_mean_mag", "g"}]
    rp = [place for place, name in enumerate(bands) if name in {"phot_rp_mean_mag", "rp"}]
    if not g or not rp:
        return None
    blocks = read_rows(inputs.survey, inputs.table.row, ["photometry"], 65_536)
    magnitude = np.concatenate([block["photometry"] for block in blocks]).astype(float)
    red = magnitude[:, rp[0]]
    return np.asarray(red + grvs_minus_rp(magnitude[:, g[0]] - red))
