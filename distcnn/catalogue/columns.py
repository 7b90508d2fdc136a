"""Columns: the one table of what a catalogue holds, which every format prints.

Beside our own columns stand those of Guiglion et al. (2024, A&A 682, A9): ``teff, logg, mh,
feh, alpham`` are ours already, ``e<label>`` repeats our calibrated error (theirs is the
ensemble's scatter, our ``<label>_scatter``), ``flag_boundary`` sums up eight tests.
Correlations of errors are named as Gaia's are: ``teff_logg_corr``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from distcnn.labels import OwnLabels, label_info
from distcnn.schema import (
    LABELS,
    NAME_BYTES,
    PREDICTION_VARIABLES,
    LabelInfo,
    Recommendation,
    Status,
)
from distcnn.survey import STAR_KEY, RowKey

BOUNDARY_TESTS = (
    "teff",
    "logg",
    "mh",
    "alpham",
    "feh",
    "reference_magnitude",
    "parallax",
    "spectrum",
)
"""The tests behind flag_boundary, first character first. That there are eight is published;
their order is our reading."""

PUBLISHED_LABELS = BOUNDARY_TESTS[:5]


@dataclass(frozen=True)
class LabelColumn:
    """A column that every label has."""

    ending: str
    """Its name is the label's with this ending."""
    variable: str
    """Variable of the prediction store that it shows."""
    ucd_prefix: str
    """What stands before the label's UCD."""
    sentence: str
    """Its meaning, with {} for the label's symbol."""
    form: str = ""
    """How it is written, of a number without unit; "" = as the label, in its unit."""
    dtype: str = "float32"


RECOMMENDATION = "label_recommendation"
_RECOMMENDATIONS = ", ".join(f"{level.value} {level.sentence}" for level in Recommendation)
LABEL_COLUMNS = (
    LabelColumn("", "label", "", "{}, mean of the ensemble; NaN if not computed"),
    LabelColumn(
        "_error",
        "label_error",
        "stat.error;",
        "calibrated standard error of {} (68 % interval)",
    ),
    LabelColumn(
        "_error_low",
        "label_error_low",
        "stat.error;",
        "from {} down to the lower end of its 68 % interval, calibrated",
    ),
    LabelColumn(
        "_error_high",
        "label_error_high",
        "stat.error;",
        "from {} up to the upper end of its 68 % interval, calibrated",
    ),
    LabelColumn("_noise", "label_noise", "stat.error;", "noise of {} as learned, uncalibrated"),
    LabelColumn(
        "_scatter",
        "label_scatter",
        "stat.stdev;",
        "standard deviation of {} between the members",
    ),
    LabelColumn(
        "_debiased",
        "label_debiased",
        "",
        "{} freed of the pull toward the population, for means of groups; NaN where the prior "
        "ratio is near 1 or calibration stars are too few to tell the pull",
    ),
    LabelColumn(
        "_debiased_error",
        "label_debiased_error",
        "stat.error;",
        "standard error of {} freed of the pull toward the population",
    ),
    LabelColumn(
        "_prior_ratio",
        "label_prior_ratio",
        "stat.error;arith.ratio;",
        "error of {} over the spread of the population; near 1 it is not the star's own",
        "F7.3",
    ),
    LabelColumn(
        "_recommendation",
        RECOMMENDATION,
        "meta.code.qual;",
        f"whether to use {{}}: {_RECOMMENDATIONS}",
        "I2",
        "int16",
    ),
)
"""The columns of each label, in this order."""

FLAG_BOUNDARY = "flag_boundary"
CORRELATION = "label_correlation"
COVARIANCE = "label_covariance"
Label = TypeVar("Label")


@dataclass(frozen=True)
class Column:
    """One column: numpy type, unit (VOUnit, and dex), UCD1+, format (TDISP) and a sentence.

    Its values are ``variable`` of the prediction store (or the computed flag_boundary and
    label_covariance): the numbers of the stars [N], or column ``index`` of a matrix [N, L] of
    labels or [N, pairs].
    """

    name: str
    dtype: str
    unit: str
    ucd: str
    format: str
    description: str
    variable: str
    index: int | None = None
    shape: tuple[int, ...] = ()
    """Shape of one value; () = a number or a text."""

    @property
    def field(self) -> "np.dtype[Any]":
        """Type of its cell in a row."""
        return np.dtype((self.dtype, self.shape))


def columns(
    labels: Sequence[str],
    key: RowKey = STAR_KEY,
    own: OwnLabels | None = None,
    *,
    has_names: bool = False,
    has_velocities: bool = False,
) -> tuple[Column, ...]:
    """The columns of a catalogue whose predictions have these labels, in their order.

    ``own``: what the predictions say of labels that the schema does not tell of. ``has_names``:
    whether the survey's stars have names of their own; ``has_velocities``: or velocities.
    """
    known = [label_info(label, own or {}) for label in labels]
    published = [(n, info) for n, info in enumerate(known) if info.name in PUBLISHED_LABELS]
    return (
        *_identity(key, has_names),
        *(_velocity() if has_velocities else ()),
        *(column for index, info in enumerate(known) for column in _of_label(info, index)),
        *(_correlation(*pair, index) for index, pair in enumerate(pairs(known))),
        *_quality(),
        *(_published_error(info, index) for index, info in published),
        Column(
            FLAG_BOUNDARY, "S8", "", "meta.code.qual", "A8", _boundary_sentence(), FLAG_BOUNDARY
        ),
    )


def covariance_columns(labels: Sequence[str]) -> tuple[Column, ...]:
    """The covariance matrix of all labels as one column; none of a single label."""
    if len(labels) < 2:
        return ()
    text = (
        f"covariance matrix of the errors of one star, in the units of the labels: "
        f"{', '.join(labels)}; calibrated errors times their correlations"
    )
    shape, ucd = (len(labels), len(labels)), "stat.covariance"
    return (Column(COVARIANCE, "float32", "", ucd, "G14.6", text, COVARIANCE, shape=shape),)


def is_correlation(column: Column) -> bool:
    """Whether it is the correlation of a pair of labels."""
    return column.variable == CORRELATION


def pairs(labels: Sequence[Label]) -> list[tuple[Label, Label]]:
    """Every label with those before it, in the order of a prediction store's ``pair``."""
    return [(one, other) for place, other in enumerate(labels) for one in labels[:place]]


def _identity(key: RowKey, has_names: bool) -> tuple[Column, ...]:
    text = "the archive's own name of the star; letters beyond ASCII are ?"
    name = Column("name", f"S{NAME_BYTES}", "", "meta.id", f"A{NAME_BYTES}", text, "name")
    return (
        _stored("source_id", "int64", "meta.id;meta.main", "I19"),
        *(
            Column(v.name, v.dtype, v.unit, "meta.id", "I19", v.description, v.name)
            for v in key.variables[1:]
        ),
        *((name,) if has_names else ()),
        _stored("ra", "float64", "pos.eq.ra;meta.main", "F14.9"),
        _stored("dec", "float64", "pos.eq.dec;meta.main", "F14.9"),
        _stored("snr", "float32", "stat.snr", "F9.2"),
        _stored("parallax", "float32", "pos.parallax", "F10.4"),
        _stored("reference_magnitude", "float32", "phot.mag;em.opt", "F8.4"),
    )


def _velocity() -> tuple[Column, ...]:
    return (
        _stored("velocity", "float32", "spect.dopplerVeloc.opt", "F9.3"),
        _stored("velocity_error", "float32", "stat.error;spect.dopplerVeloc.opt", "F8.3"),
    )


def _quality() -> tuple[Column, ...]:
    status = ", ".join(f"{state.value} {state.name.lower()}" for state in Status if state)
    return (
        _stored("novelty", "float32", "stat.value", "F9.3"),
        _stored("valid_pixels", "float32", "stat.filling", "F6.3"),
        _stored("flags", "int32", "meta.code.qual", "I10"),
        _stored("status", "int16", "meta.code.status", "I3", f": {status}"),
    )


def _stored(name: str, dtype: str, ucd: str, form: str, more: str = "") -> Column:
    variable = PREDICTION_VARIABLES[name]
    return Column(name, dtype, variable.unit, ucd, form, variable.description + more, name)


def _of_label(info: LabelInfo, index: int) -> tuple[Column, ...]:
    form = "F8.1" if info.unit == "K" else "F8.4" if info.name in LABELS else "G14.6"
    return tuple(
        Column(
            info.name + column.ending,
            column.dtype,
            "" if column.form else info.unit,
            column.ucd_prefix + info.ucd,
            column.form or form,
            column.sentence.format(info.symbol),
            column.variable,
            index,
        )
        for column in LABEL_COLUMNS
    )


def _correlation(first: LabelInfo, second: LabelInfo, index: int) -> Column:
    text = f"correlation of the errors of {first.symbol} and {second.symbol} of one star"
    ucd = f"stat.correlation;{first.ucd};{second.ucd}"
    name = f"{first.name}_{second.name}_corr"
    return Column(name, "float32", "", ucd, "F6.3", text, CORRELATION, index)


def _published_error(info: LabelInfo, index: int) -> Column:
    text = f"the same as {info.name}_error, under the name of Guiglion et al. (2024)"
    ucd = f"stat.error;{info.ucd}"
    return Column(f"e{info.name}", "float32", info.unit, ucd, "F8.4", text, "label_error", index)


def _boundary_sentence() -> str:
    tests = ", ".join(BOUNDARY_TESTS)
    return (
        f"one character per test ({tests}): 0 inside the training range, 1 outside or unknown, "
        "- no such label here; the order is our reading of Guiglion et al. (2024)"
    )
