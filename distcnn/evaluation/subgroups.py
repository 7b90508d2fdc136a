"""Held out: what judged stars say on errors by population, attenuation and the metal-poor end."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from distcnn.evaluation.metrics import Row, groups
from distcnn.evaluation.sample import Stars
from distcnn.quality import CELLS, cells, coverage_table, positions
from distcnn.quality.debias import both_estimates
from distcnn.schema import Flag, Trouble

Array = np.ndarray[Any, Any]

METALS = ("mh", "feh")
POOR_BINS = (-2.5, -2.0, -1.75, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0)
"""Edges of reference metallicity [dex] in which the bias is told."""
_FEWEST = 10
_POOR = 0.02
_ANY_SNR = (0.0,)
_HARMLESS = {"", Trouble.NO_XP.value, Trouble.NO_PARALLAX.value}
_LACKS = {"no XP": Flag.NO_XP, "no parallax": Flag.NO_PARALLAX}


def cell_coverage(stars: Stars, names: Sequence[str]) -> list[Row]:
    """Coverage of judged stars per label and population: ``cell`` is "all", a cell, a lack."""
    rows: list[Row] = []
    for cell, some in _populations(stars, names):
        table = coverage_table(
            some.label - some.reference,
            some.label_error,
            some.reference_error,
            some.snr,
            edges=_ANY_SNR,
            names=names,
        )
        found = [row for row in table if row["snr"] == "all" and row["stars"] >= _FEWEST]
        rows += [row | {"cell": cell} for row in found]
    return rows


def _populations(stars: Stars, names: Sequence[str]) -> Iterator[tuple[str, Stars]]:
    judged = stars.take(stars.judged)
    yield "all", judged
    index = positions(names)
    if max(index) >= 0:
        where = cells(judged.label, index)
        yield from ((name, judged.take(where == number)) for number, name in enumerate(CELLS))
    # A simulated lack of an input counts as trouble, but here it is what is asked for.
    harmless = np.array([set(text.split("+")) <= _HARMLESS for text in stars.trouble], bool)
    lacking = stars.take(stars.known & harmless)
    for name, flag in _LACKS.items():
        yield name, lacking.take((lacking.flags & np.uint32(flag)) != 0)


def attenuation_rows(stars: Stars, names: Sequence[str], edges: Sequence[float]) -> list[Row]:
    """Slope and scatter of judged stars per label and S/N bin, as predicted and debiased.

    Keys as in a package's ``attenuation``; the debiased ones are absent where the predictions
    have no such labels. ``expected`` is the slope of an estimate of least squares.
    """
    judged = stars.take(stars.judged)
    rows = []
    for column, name in enumerate(names):
        truth = judged.reference[:, column]
        known = np.isfinite(judged.label[:, column] + truth + judged.label_error[:, column])
        low = np.quantile(truth[known], _POOR) if known.any() else np.nan
        for text, inside in groups(judged.snr, edges):
            good = inside & known
            if good.sum() >= _FEWEST:
                rows.append(
                    {"label": name, "snr": text, "stars": int(good.sum())}
                    | _attenuated(judged.take(good), column, low)
                )
    return rows


def _attenuated(stars: Stars, column: int, low: float) -> Row:
    truth, noise = stars.reference[:, column], stars.reference_error[:, column]
    spread, poor = truth.var() - np.square(noise).mean(), truth < low
    error = np.square(stars.label_error[:, column]).mean()
    row: Row = {"expected": float(max(0.0, 1 - error / spread)) if spread > 0 else float("nan")}
    estimates = stars.label[:, column], stars.label_debiased[:, column]
    return row | both_estimates(*estimates, truth, noise, poor)


def poor_rows(stars: Stars, names: Sequence[str], faint: tuple[float, float]) -> list[Row]:
    """Bias of metallicities in bins of the reference, in the faint S/N bin and above it."""
    judged = stars.take(stars.judged)
    groups = {
        f"{faint[0]:g}-{faint[1]:g}": (judged.snr >= faint[0]) & (judged.snr < faint[1]),
        f">= {faint[1]:g}": judged.snr >= faint[1],
    }
    rows = []
    for name in (name for name in METALS if name in names):
        column = list(names).index(name)
        truth = judged.reference[:, column]
        tables = {"": judged.label[:, column], "_debiased": judged.label_debiased[:, column]}
        for text, inside in groups.items():
            for low, high in pairwise(POOR_BINS):
                good = inside & (truth >= low) & (truth < high)
                if good.sum() >= _FEWEST:
                    row: Row = {"label": name, "snr": text, "low": low, "high": high}
                    rows.append(row | {"stars": int(good.sum())} | _biases(tables, truth, good))
    return rows


def _biases(tables: dict[str, Array], truth: Array, good: Array) -> Row:
    row: Row = {}
    for ending, label in tables.items():
        residual = (label - truth)[good]
        if np.isfinite(residual).all():
            row[f"bias{ending}"] = float(residual.mean())
            row[f"error{ending}"] = float(residual.std() / np.sqrt(len(residual)))
    return row
