"""Settings that have no effect beside others are errors, not silently forgotten."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Keys of a section that count only under a condition on the configuration."""

    section: str
    keys: tuple[str, ...]
    counts: Callable[[Any], bool]
    """Takes the whole configuration."""
    only: str
    """The condition in words."""


RULES = (
    Rule(
        "ingest.prepare",
        ("continuum_window", "continuum_quantile"),
        lambda config: config.ingest.prepare.normalisation == "running_quantile",
        "with normalisation: running_quantile",
    ),
    Rule(
        "ingest.prepare",
        ("rebin",),
        lambda config: config.ingest.prepare.target is None,
        "without a target grid",
    ),
    Rule(
        "ingest.prepare",
        ("outlier_window", "outlier_floor"),
        lambda config: config.ingest.prepare.outlier_sigma is not None,
        "with an outlier_sigma",
    ),
    Rule(
        "ingest.store",
        ("flux_step",),
        lambda config: config.ingest.store.flux_encoding == "int16",
        "with flux_encoding: int16",
    ),
    Rule(
        "ingest",
        ("grid", "prepare"),
        lambda config: config.ingest.spectra is not None,
        "with ingest.spectra",
    ),
    Rule(
        "ingest",
        ("bands",),
        lambda config: config.ingest.source is not None or not config.ingest.bands,
        "with ingest.source",
    ),
    Rule(
        "ingest",
        ("crosswalk",),
        lambda config: config.ingest.labels is not None,
        "with ingest.labels",
    ),
    Rule(
        "ingest.store",
        ("flux_encoding", "keep_flux_error"),
        lambda config: config.ingest.spectra is not None,
        "with ingest.spectra",
    ),
    Rule(
        "train.network",
        ("width", "hidden", "dropout"),
        lambda config: config.train.network.preset == "hybrid",
        "with preset: hybrid",
    ),
    Rule(
        "train.augment",
        (
            *("noise", "faintest", "faint_inputs", "correlation", "velocity", "velocity_limit"),
            *("continuum", "drop_spectrum", "drop_pixels"),
        ),
        lambda config: config.train.network.spectrum,
        "with train.network.spectrum",
    ),
    Rule(
        "train.augment",
        ("parallax_zero_point", "dust_layer"),
        lambda config: config.train.augment.faint_inputs,
        "with train.augment.faint_inputs",
    ),
    Rule(
        "train.network",
        ("scale_by_noise",),
        lambda config: config.train.network.spectrum,
        "with train.network.spectrum",
    ),
    Rule(
        "ingest",
        ("snr",),
        lambda config: config.ingest.spectra is not None,
        "with ingest.spectra",
    ),
    Rule(
        "train.augment",
        ("drop_xp",),
        lambda config: config.train.network.xp,
        "with train.network.xp",
    ),
    Rule(
        "train.augment",
        ("drop_parallax",),
        lambda config: config.train.network.photometry,
        "with train.network.photometry",
    ),
    Rule(
        "train.distribute",
        ("ranks", "lanes", "attempts", "timeout"),
        lambda config: config.train.distribute.strategy in {"auto", "data"},
        "with strategy: data",
    ),
)


def idle_keys(config: Any) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Path, value and condition of every key that has no effect and is not at its default.

    Defaults pass, because a printed configuration has every key.
    """
    for rule in RULES:
        path = tuple(rule.section.split("."))
        section = reduce(getattr, path, config)
        for key in () if rule.counts(config) else rule.keys:
            value = getattr(section, key)
            if value != type(section).model_fields[key].default:
                yield (*path, key), value, rule.only
