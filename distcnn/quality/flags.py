"""Flags: one rule per reason for caution.

A flag that needs a new measurement is a row here, its bit and sentence in ``schema``, and, if no
quantity tells it yet, a summary in ``modalities``.

Legend: N star, K band, L label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig
from distcnn.modalities import MODALITIES, Modality
from distcnn.quality.input_summary import InputSummary
from distcnn.quality.limits import Limits
from distcnn.quality.training_density import TrainingDensity
from distcnn.schema import Flag


@dataclass(frozen=True)
class InputQuantities:
    """What is known of N stars before any prediction.

    ``novelty`` : float32 [N], 1 = the limit; NaN without a spectrum or a reference for it.
    """

    summary: InputSummary
    novelty: Array
    limits: Limits
    settings: QualityConfig


@dataclass(frozen=True)
class PredictionQuantities:
    """What is known of N stars from their prediction.

    ``label``, ``scatter``, ``total`` : [N, L] prediction, scatter between members, total error.
    ``finite`` : [N] bool, every number of the prediction is finite. ``calibrated`` : [N, L] bool,
    the label was calibrated, on stars of such S/N. ``disagreement`` : [L] limit of scatter over
    total.
    ``prior_ratio`` : [N, L] total error over the spread of the population, and its ``ratio_limit``.
    ``density`` : of the training labels; None in packages made before it was.
    """

    label: Array
    scatter: Array
    total: Array
    finite: Array
    calibrated: Array
    disagreement: Array
    limits: Limits
    prior_ratio: Array
    ratio_limit: float
    density: TrainingDensity | None = None

    @property
    def outside(self) -> Array:
        """[N, L] bool: the label lies outside the range of the training labels."""
        return self.limits.labels_outside(self.label)

    @property
    def disagreeing(self) -> Array:
        """[N, L] bool: members disagree about the label."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.scatter > self.disagreement * self.total)

    @property
    def of_population(self) -> Array:
        """[N, L] bool: the label tells of the population."""
        return np.asarray(self.prior_ratio > self.ratio_limit)


@dataclass(frozen=True)
class InputRule:
    """A flag that the inputs alone decide.

    ``condition`` : -> [N] bool, or None where the survey lacks what it is about. ``damaged`` :
    such stars are left out where errors are calibrated and coverage is measured.
    """

    flag: Flag
    condition: Callable[[InputQuantities], Array | None]
    damaged: bool = False


@dataclass(frozen=True)
class PredictionRule:
    """A flag that needs the prediction; see ``InputRule``."""

    flag: Flag
    condition: Callable[[PredictionQuantities], Array]
    damaged: bool = False


def _few_pixels(star: InputQuantities) -> Array | None:
    valid = star.summary.get("valid_pixels")
    return None if valid is None else (valid > 0) & (valid < star.settings.minimum_valid_pixels)


def _outside_inputs(star: InputQuantities) -> Array | None:
    photometry, parallax = star.summary.get("photometry"), star.summary.get("parallax")
    if photometry is None and parallax is None:
        return None
    return star.limits.outside_inputs(photometry, parallax)


def _any(labels: Array) -> Array:
    return np.asarray(labels.any(axis=1))


def _sparse(star: PredictionQuantities) -> Array:
    if star.density is None:
        return np.zeros(len(star.label), bool)
    return star.density.sparse(star.label) & ~_any(star.outside)


def _missing(row: Modality, flag: Flag) -> InputRule:
    return InputRule(flag, lambda star: star.summary.lacks(row), damaged=row.essential)


INPUT_RULES: tuple[InputRule, ...] = (
    InputRule(Flag.INPUT_LIMITS, _outside_inputs, damaged=True),
    InputRule(Flag.NOVEL_SPECTRUM, lambda star: star.novelty > 1, damaged=True),
    InputRule(Flag.FEW_PIXELS, _few_pixels, damaged=True),
    *(_missing(row, row.flag) for row in MODALITIES if row.flag is not None),
)
PREDICTION_RULES: tuple[PredictionRule, ...] = (
    PredictionRule(Flag.LABEL_LIMITS, lambda star: _any(star.outside)),
    PredictionRule(Flag.SPARSE_LABELS, _sparse),
    PredictionRule(Flag.MEMBERS_DISAGREE, lambda star: _any(star.disagreeing)),
    PredictionRule(Flag.NON_FINITE, lambda star: ~star.finite, damaged=True),
    PredictionRule(Flag.UNCALIBRATED, lambda star: _any(~star.calibrated)),
    PredictionRule(Flag.POPULATION_LABEL, lambda star: _any(star.of_population)),
)
"""Every flag but ``NOT_COMPUTED``, which is raised where a star could not be computed."""


LABELS_CONCERNED: dict[Flag, Callable[[PredictionQuantities], Array]] = {
    Flag.LABEL_LIMITS: lambda star: star.outside,
    Flag.MEMBERS_DISAGREE: lambda star: star.disagreeing,
    Flag.UNCALIBRATED: lambda star: ~star.calibrated,
    Flag.POPULATION_LABEL: lambda star: star.of_population,
}
"""Flags that are about single labels: which ones, [N, L] bool."""


DAMAGED = np.uint32(
    sum(rule.flag for rule in INPUT_RULES if rule.damaged)
    + sum(rule.flag for rule in PREDICTION_RULES if rule.damaged)
)
"""Bits of the flags with which a star counts as damaged."""


def input_flags(star: InputQuantities) -> Array:
    """uint32 [N], flags that the inputs alone decide."""
    flags = np.zeros(len(star.summary.snr), np.uint32)
    for rule in INPUT_RULES:
        found = rule.condition(star)
        if found is not None:
            flags |= np.where(found, np.uint32(rule.flag), np.uint32(0))
    return flags


def prediction_flags(star: PredictionQuantities) -> Array:
    """uint32 [N], flags that need the prediction."""
    flags = np.zeros(len(star.label), np.uint32)
    for rule in PREDICTION_RULES:
        flags |= np.where(rule.condition(star), np.uint32(rule.flag), np.uint32(0))
    return flags
