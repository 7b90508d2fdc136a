"""Subgroups of the evaluated stars: errors by population, attenuation, the metal-poor end."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np

from distcnn.arrays import Array
from distcnn.evaluation.metrics import known_snr_groups
from distcnn.evaluation.records import AttenuationRow, CoverageRow, MetallicityBiasRow
from distcnn.evaluation.sample import Sample
from distcnn.modalities import MODALITIES
from distcnn.quality import LABEL_STRATA, coverage_table, label_strata, strata_columns
from distcnn.quality.debias import both_estimates
from distcnn.schema import Defect, Flag

METALLICITIES = ("mh", "feh")
METALLICITY_EDGES = (-2.5, -2.0, -1.75, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0)
"""Edges of reference metallicity [dex] in which the bias is measured."""
MIN_STARS_IN_SUBGROUP = 10
_LOWEST_FRACTION = 0.02
_ANY_SNR = (0.0,)
_MISSING_INPUT = {"", Defect.NO_XP.value, Defect.NO_PARALLAX.value}
_MISSING = {row.lack: row.flag for row in MODALITIES if row.lack and row.flag is not None}


def population_coverage(
    sample: Sample,
    names: Sequence[str],
    width_95: Sequence[float] | None = None,
    calibration: Array | None = None,
) -> list[CoverageRow]:
    """Coverage of evaluated stars per label and population.

    ``width_95``, ``calibration`` : as for ``metrics.coverage``.

    ``cell`` is "all", a stratum of the predicted labels, or a missing input.
    """
    rows: list[CoverageRow] = []
    for population, inside in _populations(sample, names):
        some = sample.take(inside)
        table = coverage_table(
            some.label - some.reference,
            some.label_error,
            some.reference_error,
            some.snr,
            edges=_ANY_SNR,
            names=names,
            width_95=width_95,
            calibration=_shares(sample, inside, calibration),
        )
        rows += [
            cast(CoverageRow, row | {"cell": population})
            for row in table
            if row["snr"] == "all" and row["stars"] >= MIN_STARS_IN_SUBGROUP
        ]
    return rows


def _shares(sample: Sample, inside: Array, calibration: Array | None) -> Array | None:
    if calibration is None:
        return None
    shares: Array = calibration[inside]
    if (inside & sample.evaluated).any():
        return shares
    # Of stars that lack an input every calibration star tells, with it hidden.
    return np.asarray(shares * (sample.evaluated.sum() / max(inside.sum(), 1)))


def _populations(sample: Sample, names: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """Name of a population, and its stars, bool [N]."""
    evaluated = sample.evaluated
    yield "all", evaluated
    index = strata_columns(names)
    if max(index) >= 0:
        stratum = label_strata(sample.label, index)
        yield from ((name, evaluated & (stratum == n)) for n, name in enumerate(LABEL_STRATA))
    # A simulated lack of an input counts as a defect, but here it is what is asked for.
    complete = np.array([set(text.split("+")) <= _MISSING_INPUT for text in sample.defect], bool)
    referenced = sample.referenced & complete
    for name, flag in _MISSING.items():
        yield name, referenced & ((sample.flags & np.uint32(flag)) != 0)


def attenuation(
    sample: Sample, names: Sequence[str], edges: Sequence[float]
) -> list[AttenuationRow]:
    """Slope and scatter of evaluated stars per label and S/N bin, as predicted and debiased.

    Keys as in a package's ``attenuation``; the debiased ones are absent where the predictions
    have no such labels. ``expected`` is the slope of an estimate of least squares.
    """
    evaluated = sample.take(sample.evaluated)
    rows: list[AttenuationRow] = []
    for column, name in enumerate(names):
        truth = evaluated.reference[:, column]
        known = np.isfinite(evaluated.label[:, column] + truth + evaluated.label_error[:, column])
        low = np.quantile(truth[known], _LOWEST_FRACTION) if known.any() else np.nan
        for text, inside in known_snr_groups(evaluated.snr, edges):
            good = inside & known
            if good.sum() >= MIN_STARS_IN_SUBGROUP:
                head = {"label": name, "snr": text, "stars": int(good.sum())}
                found = head | _attenuated(evaluated.take(good), column, low)
                rows.append(cast(AttenuationRow, found))
    return rows


def _attenuated(stars: Sample, column: int, low: float) -> dict[str, Any]:
    truth, noise = stars.reference[:, column], stars.reference_error[:, column]
    spread, poor = truth.var() - np.square(noise).mean(), truth < low
    error = np.square(stars.label_error[:, column]).mean()
    expected = float(max(0.0, 1 - error / spread)) if spread > 0 else float("nan")
    estimates = stars.label[:, column], stars.label_debiased[:, column]
    return {"expected": expected} | both_estimates(*estimates, truth, noise, poor)


def metallicity_bias(
    sample: Sample, names: Sequence[str], faint: tuple[float, float]
) -> list[MetallicityBiasRow]:
    """Bias of metallicities in bins of the reference, in the faint S/N bin and above it."""
    evaluated = sample.take(sample.evaluated)
    brightness = {
        f"{faint[0]:g}-{faint[1]:g}": (evaluated.snr >= faint[0]) & (evaluated.snr < faint[1]),
        f">= {faint[1]:g}": evaluated.snr >= faint[1],
    }
    rows: list[MetallicityBiasRow] = []
    for name in (name for name in METALLICITIES if name in names):
        column = list(names).index(name)
        truth = evaluated.reference[:, column]
        estimates = {
            "": evaluated.label[:, column],
            "_debiased": evaluated.label_debiased[:, column],
        }
        for text, inside in brightness.items():
            for low, high in pairwise(METALLICITY_EDGES):
                good = inside & (truth >= low) & (truth < high)
                if good.sum() >= MIN_STARS_IN_SUBGROUP:
                    head = {"label": name, "snr": text, "low": low, "high": high}
                    found = head | {"stars": int(good.sum())} | _biases(estimates, truth, good)
                    rows.append(cast(MetallicityBiasRow, found))
    return rows


def _biases(estimates: Mapping[str, Array], truth: Array, good: Array) -> dict[str, float]:
    row: dict[str, float] = {}
    for ending, label in estimates.items():
        residual = (label - truth)[good]
        if np.isfinite(residual).all():
            row[f"bias{ending}"] = float(residual.mean())
            row[f"error{ending}"] = float(residual.std() / np.sqrt(len(residual)))
    return row


def choose_examples(sample: Sample, number: int) -> list[tuple[str, int]]:
    """Stars worth a look, of different kinds: what each is an example of, and its position."""
    clean = (sample.flags == 0) & sample.drawn
    novel = (sample.flags & np.uint32(Flag.NOVEL_SPECTRUM)) != 0
    faint = np.abs(sample.snr - 20)
    wishes = [
        ("high S/N", clean, -sample.snr),
        ("S/N near 20", clean, faint),
        ("most unusual", novel, -sample.novelty),
        ("most masked pixels", sample.valid_pixels > 0, sample.valid_pixels),
        ("cosmic hit", sample.has_defect("cosmic"), -sample.snr),
        ("double-lined binary", sample.has_defect("binary"), np.abs(sample.snr - 100)),
        ("wrong velocity", sample.has_defect("wrong_rv"), np.abs(sample.snr - 100)),
        ("typical", clean, np.abs(sample.snr - np.nanmedian(sample.snr))),
        ("flagged", sample.flags != 0, faint),
    ]
    chosen: dict[int, str] = {}
    for kind, mask, order in wishes:
        free = np.flatnonzero(mask & np.isfinite(order))
        free = free[~np.isin(free, list(chosen))]
        if len(free) and len(chosen) < number:
            chosen[int(free[np.argmin(order[free])])] = kind
    return [(kind, position) for position, kind in chosen.items()] or [("first star", 0)]
