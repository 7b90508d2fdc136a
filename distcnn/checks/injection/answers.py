"""Answers of checks by injection: which stars are changed, how, and what is made of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from distcnn.air import to_vacuum
from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.decision import MIN_STARS
from distcnn.checks.injection import changes
from distcnn.checks.injection.changes import without
from distcnn.checks.injection.figures import draw_noise, draw_responses
from distcnn.checks.injection.responses import (
    Change,
    judge_noise,
    judge_responses,
    noise_rows,
    response_rows,
)
from distcnn.checks.inputs import CheckInputs, bands_of
from distcnn.checks.predictor import PredictedStars, read_rows
from distcnn.checks.sensitivity.answer import wavelengths_nm
from distcnn.checks.stars import StarTable
from distcnn.model.pixel_noise import NoiseGenerator
from distcnn.simulate import dust, read_settings
from distcnn.simulate.spectrum import xp

Arrays = dict[str, Array]
SNR_LEVELS = (200.0, 100.0, 50.0, 35.0, 25.0, 20.0, 15.0, 10.0, 7.0, 5.0, 3.0, 2.0, 1.0)
"""S/N per pixel to which spectra are brought, as far as the survey has stars there."""
NOISE_FACTORS = (1.25, 5.0)
"""Noise grows by so much: more would make stars that do not exist, bright and yet noisy."""
NO_SPECTRUM = "no spectrum: the package reads none, or the survey has none"
VELOCITY = Change("a velocity", "km/s", (-10.0, -5.0, -2.0, -1.0, 1.0, 2.0, 5.0, 10.0), 2.0)
RESOLUTION = Change("a broadening", "km/s FWHM", (4.0, 8.0, 12.0, 16.0, 24.0), 12.0)
BAND = Change("the diffuse band", "mag of E(B-V)", (0.03, 0.1, 0.3, 0.5), 0.3)
DUST = Change("dust", "mag of E(B-V)", (0.01, 0.03, 0.1, 0.2, 0.3), 0.03)
XP = ("xp", "xp_error")
"""XP coefficients show dust too, but not in wavelengths: what reddened ones of an observed survey
would be is not known, and old ones would contradict the magnitudes. There they are hidden."""


def answer_noise(inputs: CheckInputs) -> Answer:
    """Of bright stars outside training, brought down to every S/N that the survey has."""
    if not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    judged = inputs.judged
    generator = torch.Generator().manual_seed(inputs.config.seed)
    noise = NoiseGenerator.of(inputs.noise_correlation)
    rows: list[AnswerRow] = []
    for level in SNR_LEVELS:
        able = _for_level(judged.snr, level)
        stars = judged.drawn(able, inputs.config.injected_stars)
        if len(stars) < 2:
            continue
        lowered = changes.lower_snr(inputs.arrays(stars), level, noise, generator)
        found = inputs.predictor(lowered)
        reference = (stars.reference, stars.reference_error)
        rows += noise_rows(inputs.labels, found, *reference, level, share=float(able.mean()))
    if not rows:
        return Answer(
            Verdict.UNDECIDED, f"no {MIN_STARS} stars outside training with reference and S/N"
        )
    draw = partial(draw_noise, rows, inputs.labels)
    return replace(judge_noise(rows), figures={FIGURE: draw})


def answer_velocity(inputs: CheckInputs) -> Answer:
    """Spectra shifted as by an error of the radial velocity: the survey's median, or 2 km/s."""
    wavelength = wavelengths_in_vacuum(inputs)
    change = VELOCITY
    if has_spectra(inputs) and "velocity_error" in inputs.survey.variables:
        change = replace(VELOCITY, tolerated=_velocity_error(inputs))
        levels = {*VELOCITY.levels, change.tolerated, -change.tolerated}
        change = replace(change, levels=tuple(sorted(levels)))
    return _respond(inputs, change, lambda a, level: changes.shift(a, wavelength, level))


def _velocity_error(inputs: CheckInputs) -> float:
    stars = any_held_out(inputs)
    blocks = list(read_rows(inputs.survey, stars.row, ["velocity_error"]))
    errors = [block["velocity_error"][np.isfinite(block["velocity_error"])] for block in blocks]
    if not sum(map(len, errors)):
        return VELOCITY.tolerated
    return round(float(np.median(np.concatenate(errors))), 2)


def answer_resolution(inputs: CheckInputs) -> Answer:
    """Spectra broadened with the noise they had: 12 km/s take 10 % off a power of 11,500, as much
    as that of the RVS varies (Cropper et al. 2018, A&A 616, A5).
    """
    wavelength = wavelengths_in_vacuum(inputs)

    def broadened(arrays: Arrays, level: float) -> Arrays:
        generator = torch.Generator().manual_seed(inputs.config.seed)
        return changes.broaden(arrays, wavelength, level, generator, inputs.noise_correlation)

    return _respond(inputs, RESOLUTION, broadened)


def answer_extinction(inputs: CheckInputs) -> Answer:
    """The diffuse band alone, in which sight lines differ, and magnitudes and XP behind more dust;
    of surveys that were not simulated, magnitudes alone.
    """
    spec = inputs.package.spec
    wavelength = wavelengths_in_vacuum(inputs) if has_spectra(inputs) else None
    if wavelength is not None and not wavelength[0] < dust.DIFFUSE_BAND_NM < wavelength[-1]:
        wavelength = None
    bands = bands_of(inputs.survey) if spec.bands else []
    if wavelength is None and not bands:
        return Answer(Verdict.UNDECIDED, "no magnitudes and no spectrum with the diffuse band")

    def reddened(names: list[str]) -> Callable[[Arrays, float], Arrays]:
        return lambda a, level: dust.redden(a, level, bands=names, wavelength=wavelength)

    known = _knows_xp(inputs)

    def dusty(arrays: Arrays, level: float) -> Arrays:
        out = reddened(bands)(arrays, level)
        return dust.redden_xp(out, level) if known else out

    def seen(arrays: Arrays) -> Arrays:
        return arrays if known else without(arrays, XP)

    rows: list[AnswerRow] = []
    if wavelength is not None:
        rows += _rows(inputs, BAND, reddened([]))
    if bands:
        rows += _rows(inputs, DUST, dusty, before=seen)
    answer = _judged(inputs, rows)
    if not bands or "xp" not in inputs.predictor.variables:
        return answer
    note = "XP reddened as the simulation does" if known else "XP hidden: its basis is not known"
    return replace(answer, sentence=f"{answer.sentence}; {note}")


def _knows_xp(inputs: CheckInputs) -> bool:
    """Whether the survey's XP coefficients are those of the simulation."""
    if "xp" not in inputs.survey.variables or inputs.truth is None:
        return False
    whole = inputs.survey.shape("xp")[1] == 2 * xp.COEFFICIENTS
    return whole and read_settings(inputs.truth) is not None


def _respond(
    inputs: CheckInputs, change: Change, changed: Callable[[Arrays, float], Arrays]
) -> Answer:
    if not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    return _judged(inputs, _rows(inputs, change, changed))


def _judged(inputs: CheckInputs, rows: list[AnswerRow]) -> Answer:
    if not rows:
        return Answer(Verdict.UNDECIDED, "no clean star outside training")
    draw = partial(draw_responses, rows, inputs.labels)
    return replace(judge_responses(rows), figures={FIGURE: draw})


def _rows(
    inputs: CheckInputs,
    change: Change,
    changed: Callable[[Arrays, float], Arrays],
    *,
    before: Callable[[Arrays], Arrays] = lambda arrays: arrays,
) -> list[AnswerRow]:
    stars = any_held_out(inputs)
    if not len(stars):
        return []
    arrays = before(inputs.arrays(stars))
    first = inputs.predictor(arrays)

    def predict(level: float) -> PredictedStars:
        return inputs.predictor(changed(arrays, level))

    return response_rows(inputs.labels, first, change, predict)


def has_spectra(inputs: CheckInputs) -> bool:
    """Whether the package reads spectra and the survey has some."""
    return bool(inputs.package.spec.pixels) and "flux" in inputs.survey.variables


def wavelengths_in_vacuum(inputs: CheckInputs) -> Array:
    """Wavelengths [P] of the survey in vacuum, nm; none without spectra."""
    if not has_spectra(inputs):
        return np.empty(0)
    wavelength, medium = wavelengths_nm(inputs.survey)
    return to_vacuum(wavelength) if medium == "air" else wavelength


def any_held_out(inputs: CheckInputs) -> StarTable:
    """Clean stars outside training; references are not needed."""
    table = inputs.table
    return table.drawn(table.held_out & (table.defect == ""), inputs.config.injected_stars)


def _for_level(snr: Array, level: float) -> Array:
    """[N] bool, stars that noise makes ones of this S/N, if the survey has such stars."""
    known = snr[np.isfinite(snr)]
    if not len(known) or level < 0.9 * np.quantile(known, 0.02):
        return np.zeros(len(snr), bool)
    low, high = NOISE_FACTORS
    return np.asarray((snr >= low * level) & (snr < high * level))
