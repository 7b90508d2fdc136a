"""Columns: the one table of what a catalogue holds, which every format prints.

Beside our own columns stand those of Guiglion et al. (2024, A&A 682, A9): ``teff, logg, mh,
feh, alpham`` are ours already, ``e<label>`` repeats our calibrated error (theirs is the
ensemble's scatter, our ``<label>_scatter``), ``flag_boundary`` sums up eight tests.
Correlations of errors are named as Gaia's are: ``teff_logg_corr``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from distcnn.schema import LABELS, PREDICTION_VARIABLES, Status

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

PARTS = (
    ("", "label", "", "{}, mean of the ensemble; NaN if not computed"),
    ("_error", "label_error", "stat.error;", "calibrated standard error of {} (68 % interval)"),
    (
        "_error_low",
        "label_error_low",
        "stat.error;",
        "from {} down to the lower end of its 68 % interval, calibrated",
    ),
    (
        "_error_high",
        "label_error_high",
        "stat.error;",
        "from {} up to the upper end of its 68 % interval, calibrated",
    ),
    ("_noise", "label_noise", "stat.error;", "noise of {} as learned, uncalibrated"),
    ("_scatter", "label_scatter", "stat.stdev;", "standard deviation of {} between the members"),
    (
        "_debiased",
        "label_debiased",
        "",
        "{} freed of the pull toward the population, for means of groups; less precise",
    ),
    (
        "_debiased_error",
        "label_debiased_error",
        "stat.error;",
        "standard error of {} freed of the pull toward the population",
    ),
)
"""Columns of each label: ending of the name, variable of the prediction store, what stands
before the label's UCD, sentence about {its symbol}."""


@dataclass(frozen=True)
class Column:
    """One column: numpy type, unit (VOUnit, and dex), UCD1+, format (TDISP) and a sentence."""

    name: str
    dtype: str
    unit: str
    ucd: str
    format: str
    description: str


def columns(labels: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a catalogue with these labels."""
    return (
        *_identity(),
        *(column for label in labels for column in _of_label(label)),
        *(_correlation(one, other) for one, other in pairs(labels)),
        *_quality(),
        *(_published_error(label) for label in labels if label in PUBLISHED_LABELS),
        Column("flag_boundary", "S8", "", "meta.code.qual", "A8", _boundary_sentence()),
    )


def pairs(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Every label with those before it, in the order of a prediction store's ``pair``."""
    return [(one, other) for place, other in enumerate(labels) for one in labels[:place]]


def _identity() -> tuple[Column, ...]:
    return (
        _stored("source_id", "int64", "meta.id;meta.main", "I19"),
        _stored("ra", "float64", "pos.eq.ra;meta.main", "F14.9"),
        _stored("dec", "float64", "pos.eq.dec;meta.main", "F14.9"),
        _stored("snr", "float32", "stat.snr", "F9.2"),
        _stored("parallax", "float32", "pos.parallax", "F10.4"),
        _stored("reference_magnitude", "float32", "phot.mag;em.opt", "F8.4"),
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
    return Column(name, dtype, variable.unit, ucd, form, variable.description + more)


def _of_label(label: str) -> tuple[Column, ...]:
    info = LABELS[label]
    form = "F8.1" if info.unit == "K" else "F8.4"
    return tuple(
        Column(label + tail, "float32", info.unit, ucd + info.ucd, form, text.format(info.symbol))
        for tail, _, ucd, text in PARTS
    )


def _correlation(one: str, other: str) -> Column:
    first, second = LABELS[one], LABELS[other]
    text = f"correlation of the errors of {first.symbol} and {second.symbol} of one star"
    ucd = f"stat.correlation;{first.ucd};{second.ucd}"
    return Column(f"{one}_{other}_corr", "float32", "", ucd, "F6.3", text)


def _published_error(label: str) -> Column:
    info = LABELS[label]
    text = f"the same as {label}_error, under the name of Guiglion et al. (2024)"
    return Column(f"e{label}", "float32", info.unit, f"stat.error;{info.ucd}", "F8.4", text)


def _boundary_sentence() -> str:
    tests = ", ".join(BOUNDARY_TESTS)
    return (
        f"one character per test ({tests}): 0 inside the training range, 1 outside or unknown, "
        "- no such label here; the order is our reading of Guiglion et al. (2024)"
    )
