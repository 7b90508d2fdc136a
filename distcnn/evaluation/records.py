"""What an evaluation finds: rows as ``metrics.json`` has them, one type per table.

Labels and their errors are in the unit of the label (``schema.LABELS``), fractions between 0
and 1. ``snr`` names a bin of S/N per pixel ("all", "15-25", ">= 100"), ``cell`` a population.
Keys that a row may lack are absent where their value is not known.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NotRequired, TypedDict

import numpy as np


class ResidualRow(TypedDict):
    """Residuals of one label: mean, standard deviation, 1.48 MAD, slope against the reference."""

    stars: int
    bias: float
    std: float
    mad: float
    slope: float


class AccuracyRow(ResidualRow):
    """One method on one label in one S/N bin; ``best_*``: no method has a smaller value."""

    label: str
    snr: str
    method: str
    best_std: bool
    best_mad: bool


class ComparisonRow(TypedDict):
    """All methods side by side on the same stars."""

    label: str
    snr: str
    stars: int
    methods: dict[str, AccuracyRow]
    network_wins: bool


class CoverageRow(TypedDict):
    """Fractions of stars within one and two quoted errors; pulls are residuals in errors.

    ``calibration`` : effective number of stars that these errors were fitted to.
    """

    label: str
    snr: str
    stars: int
    cell: NotRequired[str]
    within_68: NotRequired[float]
    within_95: NotRequired[float]
    calibration: NotRequired[float]
    pull_std: NotRequired[float]
    pull_mad: NotRequired[float]
    bias: NotRequired[float]


class AttenuationRow(TypedDict):
    """Slope of estimates against truth, and scatter; ``poor_*`` of the lowest 2 % of a label."""

    label: str
    snr: str
    stars: int
    poor_stars: NotRequired[int]
    expected: NotRequired[float]
    slope: NotRequired[float]
    slope_debiased: NotRequired[float]
    std: NotRequired[float]
    std_debiased: NotRequired[float]
    poor_bias: NotRequired[float]
    poor_bias_debiased: NotRequired[float]


class MetallicityBiasRow(TypedDict):
    """Mean residual and its standard error [dex] for references between ``low`` and ``high``."""

    label: str
    snr: str
    low: float
    high: float
    stars: int
    bias: NotRequired[float]
    error: NotRequired[float]
    bias_debiased: NotRequired[float]
    error_debiased: NotRequired[float]


class EnsembleSizeRow(TypedDict):
    """Scatter, coverage and median error of ``members`` members, calibrated by themselves."""

    label: str
    snr: str
    members: int
    stars: int
    std: float
    mad: float
    within_68: float
    error: float


class FlagRow(TypedDict):
    """One flag: its bit, its sentence, and the stars that carry it."""

    bit: int
    flag: str
    sentence: str
    stars: int
    fraction: float


class DefectRow(TypedDict):
    """One kind of simulated defect: fractions of its stars with any flag and with each."""

    trouble: str
    stars: int
    any: float
    flags: dict[str, float]


class QuarantineRow(TypedDict):
    """Rows of the archive that were not ingested, by reason; ``example`` is the first of them."""

    reason: str
    meaning: str
    rows: int
    example: str


class RegionSpeed(TypedDict):
    """One region: stars, and seconds by part of the work (``total``, ``read``, ``infer``, ...)."""

    region: str
    stars: int
    seconds: dict[str, float]


class Throughput(TypedDict):
    """Regions in the order in which they finished, and stars/s of one worker."""

    regions: list[RegionSpeed]
    stars_per_second: float | None


class PackageTables(TypedDict):
    """What the package says of itself, from its calibration split; older ones say less."""

    coverage: list[CoverageRow]
    ensemble_size: list[EnsembleSizeRow]
    attenuation: list[AttenuationRow]


class CompletenessRow(TypedDict):
    """Stars of one bin: all, with labels, with labels and no flag, not computed."""

    by: str
    bin: str
    stars: int
    labels: int
    unflagged: int
    failed: int


class ReasonRow(TypedDict):
    """Why stars of the archive have no label, or one with a flag; a star may have several."""

    reason: str
    stars: int
    meaning: str


class SkyCounts(TypedDict):
    """Counts by cell of the sky, [declination][right ascension], see ``completeness``."""

    stars: list[list[int]]
    labels: list[list[int]]
    unflagged: list[list[int]]


class Completeness(TypedDict):
    """The tables; ``sky`` is None where no star has a position. ``recommended`` : stars per label
    and recommendation (use, use with care, do not use); None where the predictions have none.
    """

    rows: list[CompletenessRow]
    reasons: list[ReasonRow]
    sky: SkyCounts | None
    recommended: list[list[int]] | None


class RangeRow(TypedDict):
    """Stars whose predicted label lies between ``low`` and ``high`` [unit of the label]."""

    label: str
    low: float
    high: float
    stars: int
    bias: float
    bias_error: float
    mad: float
    within_68: float
    within_95: float
    calibration: NotRequired[float]


class DistrustRow(TypedDict):
    """One place where something is off.

    ``kind``: coverage, bias, slope or rival; ``where`` : the bin in words; ``value`` was found
    where ``expected`` was promised; ``sigma`` : sampling errors between them (NaN = not known).
    """

    kind: str
    label: str
    where: str
    stars: int
    value: float
    expected: float
    sigma: float
    advice: str


class Distrust(TypedDict):
    """What is off, and how many comparisons were made to find it."""

    rows: list[DistrustRow]
    compared: int


@dataclass(frozen=True)
class Evaluation:
    """Everything that the report states as a number; the fields are the keys of metrics.json.

    Attributes
    ----------
    stars, status, unflagged : counts of all stars; ``status`` by name of the status.
    judged : evaluated stars: computed, outside training, with a reference, without a defect.
    judged_against : ``truth`` of a simulation, or ``references``.
    cells : coverage by population. ``poor`` : bias along metallicity.
    trouble : how simulated defects are flagged.
    completeness : how many stars have labels. ``ranges`` : bias and coverage along each label.
    distrust : the bins where something is off.
    """

    stars: int
    status: dict[str, int]
    unflagged: int
    judged: int
    judged_against: str
    simulated: bool
    labels: tuple[str, ...]
    accuracy: list[AccuracyRow]
    comparison: list[ComparisonRow]
    coverage: list[CoverageRow]
    cells: list[CoverageRow]
    attenuation: list[AttenuationRow]
    poor: list[MetallicityBiasRow]
    package: PackageTables
    flags: list[FlagRow]
    trouble: list[DefectRow]
    quarantine: list[QuarantineRow]
    throughput: Throughput
    completeness: Completeness
    ranges: list[RangeRow]
    distrust: Distrust = field(default_factory=lambda: Distrust(rows=[], compared=0))

    def to_json(self) -> str:
        """The text of ``metrics.json``; what is not finite becomes null."""
        numbers = {one.name: getattr(self, one.name) for one in fields(self)}
        return json.dumps(_finite(numbers), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """The same with numpy scalars as Python's, and NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, np.generic):
        return _finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
