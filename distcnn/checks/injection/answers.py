"""Answers of checks by injection: which stars are changed, how, and what is made of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from distcnn.air import to_vacuum
from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.injection import changes
from distcnn.checks.injection.figures import draw_noise, draw_responses
from distcnn.checks.injection.responses import (
    MIN_STARS,
    Change,
    judge_noise,
    judge_responses,
    noise_rows,
    response_rows,
)
from distcnn.checks.inputs import CheckInputs, bands_of
from distcnn.checks.predictor import PredictedStars
from distcnn.checks.sensitivity.answer import wavelengths_nm
from distcnn.checks.stars import StarTable

Arrays = dict[str, Array]
SNR_LEVELS = (200.0, 100.0, 50.0, 35.0, 25.0, 20.0, 15.0, 10.0, 7.0, 5.0, 3.0, 2.0, 1.0)
"""S/N per pixel to which spectra are brought, as far as the survey has stars there."""
BRIGHT_SHARE = 0.25
"""Share of the stars with the highest S/N, to which noise is added."""
NOISE_MARGIN = 1.25
"""The stars have at least so many times the S/N to which they are brought."""
NO_SPECTRUM = "no spectrum: the package reads none, or the survey has none"
VELOCITY = Change("a velocity", "km/s", (0.5, 1.0, 2.0, 5.0, 10.0), 2.0)
RESOLUTION = Change("a broadening", "km/s FWHM", (4.0, 8.0, 12.0, 16.0), 8.0)
EXTINCTION = Change("dust", "mag of E(B-V)", (0.01, 0.03, 0.1, 0.2, 0.3), 0.03)
REGIMES = Change("the other continuum regime", "of the switch", (1.0,), 1.0)


def answer_noise(inputs: CheckInputs) -> Answer:
    """Of bright stars outside training, brought down to every S/N that the survey has."""
    if not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    stars = _bright(inputs)
    scanned = inputs.table.snr[np.isfinite(inputs.table.snr)]
    if not len(stars) or not len(scanned):
        return Answer(Verdict.UNDECIDED, "no star outside training has a reference and an S/N")
    least = float(np.quantile(scanned, 0.02))
    most = float(stars.snr.min()) / NOISE_MARGIN
    levels = [level for level in SNR_LEVELS if 0.9 * least <= level <= most]
    if not levels:
        return Answer(
            Verdict.UNDECIDED, f"no S/N between {least:.3g} of the faintest and {most:.3g}"
        )
    rng = np.random.default_rng(inputs.config.seed)
    arrays = inputs.arrays(stars)
    rho = changes.noise_correlation(_faint_flux(inputs))
    rows: list[AnswerRow] = []
    for level in levels:
        found = inputs.predictor(changes.lower_snr(arrays, level, rho, rng))
        rows += noise_rows(inputs.labels, found, stars.reference, level)
    draw = partial(draw_noise, rows, inputs.labels)
    return replace(judge_noise(rows), figures={FIGURE: draw})


def answer_velocity(inputs: CheckInputs) -> Answer:
    """Spectra shifted as by an error of the radial velocity."""
    wavelength = _wavelength(inputs)
    return _respond(inputs, VELOCITY, lambda a, level: changes.shift(a, wavelength, level))


def answer_resolution(inputs: CheckInputs) -> Answer:
    """Spectra broadened: 8 km/s take 5 % off a resolving power of 11,500."""
    wavelength = _wavelength(inputs)
    return _respond(inputs, RESOLUTION, lambda a, level: changes.broaden(a, wavelength, level))


def answer_continuum(inputs: CheckInputs) -> Answer:
    """Every spectrum normalised in either regime that Gaia switches between at G_RVS = 12."""
    return _respond(
        inputs,
        REGIMES,
        lambda a, _: changes.bright_regime(a),
        before=changes.faint_regime,
    )


def answer_extinction(inputs: CheckInputs) -> Answer:
    """Magnitudes and diffuse band of more dust than was taken off."""
    spec = inputs.package.spec
    wavelength = _wavelength(inputs) if has_spectra(inputs) else None
    if wavelength is not None and not wavelength[0] < changes.DIFFUSE_BAND_NM < wavelength[-1]:
        wavelength = None
    bands = bands_of(inputs.survey) if spec.bands else []
    if wavelength is None and not bands:
        return Answer(Verdict.UNDECIDED, "no magnitudes and no spectrum with the diffuse band")

    def dust(arrays: Arrays, level: float) -> Arrays:
        return changes.redden(arrays, level, bands=bands, wavelength=wavelength)

    return _respond(inputs, EXTINCTION, dust, needs_spectra=False)


def _respond(
    inputs: CheckInputs,
    change: Change,
    changed: Callable[[Arrays, float], Arrays],
    *,
    before: Callable[[Arrays], Arrays] = lambda arrays: arrays,
    needs_spectra: bool = True,
) -> Answer:
    if needs_spectra and not has_spectra(inputs):
        return Answer(Verdict.UNDECIDED, NO_SPECTRUM)
    stars = _any_held_out(inputs)
    if not len(stars):
        return Answer(Verdict.UNDECIDED, "no clean star outside training")
    arrays = inputs.arrays(stars)
    first = inputs.predictor(before(arrays))

    def predict(level: float) -> PredictedStars:
        return inputs.predictor(changed(arrays, level))

    rows = response_rows(inputs.labels, first, change, predict)
    draw = partial(draw_responses, rows, inputs.labels, change)
    return replace(judge_responses(rows, change), figures={FIGURE: draw})


def has_spectra(inputs: CheckInputs) -> bool:
    """Whether the package reads spectra and the survey has some."""
    return bool(inputs.package.spec.pixels) and "flux" in inputs.survey.variables


def _wavelength(inputs: CheckInputs) -> Array:
    """Wavelengths [P] in vacuum, nm; none without spectra."""
    if not has_spectra(inputs):
        return np.empty(0)
    wavelength, medium = wavelengths_nm(inputs.survey)
    return to_vacuum(wavelength) if medium == "air" else wavelength


def _any_held_out(inputs: CheckInputs) -> StarTable:
    """Clean stars outside training; references are not needed."""
    table = inputs.table
    return table.drawn(table.held_out & (table.defect == ""), inputs.config.injected_stars)


def _bright(inputs: CheckInputs) -> StarTable:
    """The judged stars with the highest S/N."""
    judged = inputs.judged
    known = judged.take(np.isfinite(judged.snr))
    count = max(min(MIN_STARS, len(known)), int(BRIGHT_SHARE * len(known)))
    order = np.sort(np.argsort(-known.snr, kind="stable")[:count])
    bright = known.take(order)
    return bright.drawn(np.ones(len(bright), bool), inputs.config.injected_stars)


def _faint_flux(inputs: CheckInputs) -> Array:
    """Fluxes [N, P] of faint stars, whose noise says how pixels correlate."""
    table = inputs.table
    known = table.take(np.isfinite(table.snr) & (table.defect == ""))
    faint = known.take(
        np.sort(np.argsort(known.snr, kind="stable")[: inputs.config.injected_stars])
    )
    return inputs.arrays(faint)["flux"].astype(float)
