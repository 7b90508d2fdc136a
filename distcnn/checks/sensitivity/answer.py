"""Answer of the check of sensitivity: gradients of many stars, put beside the list of lines."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.decision import MIN_STARS
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.predictor import PackagePredictor
from distcnn.checks.sensitivity.figure import draw_sensitivity
from distcnn.checks.sensitivity.gradients import (
    BATCH_STARS,
    Sensitivity,
    SensitivitySums,
    sum_gradients,
)
from distcnn.checks.sensitivity.own_lines import judge_own_lines, own_line_rows
from distcnn.checks.stars import StarTable
from distcnn.config.survey.units import NANOMETRES, wavelength_unit
from distcnn.survey import Store, spectra_conditions

TASK_STARS = 2048
"""Stars of a task: some seconds of gradients."""
SPECTRUM = "spectrum"
"""Name of the table of mean gradients by wavelength."""


def answer_sensitivity(inputs: CheckInputs) -> Answer:
    """Of all stars that are clean as far as is known, whether training used them or not."""
    if not inputs.package.spec.pixels or "flux" not in inputs.survey.variables:
        return Answer(
            Verdict.UNDECIDED, "no spectrum: the package reads none, or the survey has none"
        )
    table = inputs.table
    stars = table.drawn(table.defect == "", inputs.config.sensitivity_stars)
    if not len(stars):
        return Answer(Verdict.UNDECIDED, "no clean star")
    found = _mean_gradients(inputs, stars)
    wavelength, medium = wavelengths_nm(inputs.survey)
    rows = own_line_rows(found, wavelength, medium)
    draw = partial(draw_sensitivity, found, wavelength, medium, rows)
    tables = {SPECTRUM: spectrum_rows(found, wavelength)}
    return replace(judge_own_lines(rows), figures={FIGURE: draw}, tables=tables)


def _mean_gradients(inputs: CheckInputs, stars: StarTable) -> Sensitivity:
    """Of all stars; those of a task are added up where they are, and tasks in their order."""
    rows = [
        {"row": stars.row[start : start + TASK_STARS]} for start in range(0, len(stars), TASK_STARS)
    ]
    of_task = partial(_sums_of_rows, inputs.survey.location.address)
    first, *others = inputs.predictor.mapped(of_task, rows, whole=True)
    for sums in others:
        first.join(sums)
    return first.mean()


def _sums_of_rows(
    address: str, predictor: PackagePredictor, given: Mapping[str, Array]
) -> SensitivitySums:
    package = predictor.package
    batches = predictor.batches(Store.open(address), given["row"], BATCH_STARS)
    return sum_gradients(package.networks(), package.labels, batches, package.stacking())


def spectrum_rows(found: Sensitivity, wavelength: Array) -> list[AnswerRow]:
    """One row per pixel and stellar type: wavelength [nm], mean flux, mean gradient per label.

    Pixels that no star has are left out.
    """
    rows: list[AnswerRow] = []
    for kind, text in enumerate(found.types):
        if found.stars[kind] < MIN_STARS:
            continue
        for pixel in np.flatnonzero(np.isfinite(found.flux[kind])).tolist():
            gradients = {
                name: float(found.gradient[kind, number, pixel])
                for number, name in enumerate(found.labels)
            }
            place: AnswerRow = {"wavelength": round(float(wavelength[pixel]), 6), "type": text}
            rows.append({**place, "flux": float(found.flux[kind, pixel]), **gradients})
    return rows


def wavelengths_nm(survey: Store) -> tuple[Array, str]:
    """Wavelengths [P] of a survey in nm, and their medium, ``air`` or ``vacuum``."""
    unit = str(survey.coordinate_attrs("wavelength").get("unit", "nm"))
    medium = spectra_conditions(survey).get("medium", "vacuum")
    nanometres = np.asarray(survey.coordinate("wavelength"), float)
    return nanometres * NANOMETRES[wavelength_unit(unit)], medium
