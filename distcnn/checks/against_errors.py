"""Checks that hold labels against their quoted errors: what is said of labels that have none.

A label that too few stars calibrated is published without errors (NaN). It is left out of such a
check and named; the other labels of the same stars are judged as ever.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING

from distcnn.checks.base import Answer, Verdict
from distcnn.quality.calibration.error_deconvolution import MIN_STARS_FOR_SCALE

if TYPE_CHECKING:
    from distcnn.checks.inputs import CheckInputs

Answering = Callable[["CheckInputs"], Answer]


def against_errors(answering: Answering) -> Answering:
    """The same check, whose sentence names the labels that have no errors to be held against."""

    @wraps(answering)
    def answer(inputs: "CheckInputs") -> Answer:
        without = inputs.uncalibrated
        if not without:
            return answering(inputs)
        named = ", ".join(f"{name}{_stars(count)}" for name, count in without.items())
        if len(without) == len(inputs.labels):
            sentence = f"no label has errors to be held against: {named}; {_NEEDED}"
            return Answer(Verdict.UNDECIDED, sentence)
        found = answering(inputs)
        note = f"not judged by their errors, of which there are none: {named}; {_NEEDED}"
        return replace(found, sentence=f"{found.sentence}; {note}")

    return answer


_NEEDED = f"errors are calibrated of {MIN_STARS_FOR_SCALE} labelled calibration stars and more"


def _stars(count: int | None) -> str:
    return "" if count is None else f" ({count:,} calibration stars)"
