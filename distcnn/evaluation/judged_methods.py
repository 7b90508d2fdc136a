"""The judged table: how good every method is, and the network, on the same stars.

Judged are the stars that every method has a label for and that have a reference; fractions within
the quoted error allow for the error of the reference. A method that gives no errors has no
coverage.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

import numpy as np

from distcnn.arrays import Array, find_sorted
from distcnn.ecsv import Cell, TableColumn, TextTable
from distcnn.evaluation.baseline_table import NETWORK, BaselineTable
from distcnn.evaluation.metrics import known_snr_groups, residual_row
from distcnn.labels import label_info
from distcnn.stats import STD_PER_MAD
from distcnn.survey import Store

MIN_STARS = 5
RESAMPLES = 200
"""Samples with replacement of the stars of a bin, the same for every method (Efron & Tibshirani
1993, An Introduction to the Bootstrap)."""
_AT_ONCE = 2_000_000
"""Values of samples held in memory at a time."""
INTERVAL = (0.025, 0.975)
"""Quantiles of an interval of 95 %."""


class MethodRow(TypedDict):
    """One method on one label in one S/N bin; ``best_*``: no method has a smaller value."""

    label: str
    snr: str
    method: str
    stars: int
    bias: float
    std: float
    mad: float
    slope: float
    within_68: float
    median_error: float
    stars_per_second: float
    bias_error: float
    std_error: float
    mad_error: float
    slope_error: float
    within_68_error: float
    mad_ratio_low: float
    mad_ratio_high: float
    best_std: bool
    best_mad: bool


def judge_methods(
    table: BaselineTable,
    reference: Array,
    reference_error: Array,
    snr: Array,
    edges: Sequence[float],
) -> list[MethodRow]:
    """Rows by label, S/N bin and method.

    Parameters
    ----------
    reference, reference_error : [N, L] in label units, of the stars of the table, in its order;
        NaN = none.
    snr : [N]; ``edges`` : of its bins.
    """
    rows: list[MethodRow] = []
    for text, inside in known_snr_groups(snr, edges):
        for column, name in enumerate(table.labels):
            labels = {title: found.label[:, column] for title, found in table.methods.items()}
            asked = inside & np.isfinite(reference[:, column])
            able = {t: v for t, v in labels.items() if np.isfinite(v[asked]).any()}
            good = np.logical_and.reduce([asked, *(np.isfinite(v) for v in able.values())])
            if able and good.sum() >= MIN_STARS:
                noise = np.nan_to_num(reference_error[good, column])
                truth = reference[good, column]
                draws = _samples(int(good.sum()))
                found = _with_ratios(
                    [_row(table, t, (good, column), truth, noise, draws=draws) for t in able]
                )
                rows += _with_best([row | {"label": name, "snr": text} for row in found])
    order = {name: number for number, name in enumerate(table.labels)}
    return sorted(rows, key=lambda row: order[row["label"]])


def _samples(stars: int) -> list[Array]:
    """Numbers of stars [S, n] in ``RESAMPLES`` samples, in blocks that memory holds."""
    rng = np.random.default_rng(0)
    most = max(1, _AT_ONCE // stars)
    sizes = [min(most, RESAMPLES - start) for start in range(0, RESAMPLES, most)]
    return [rng.integers(0, stars, (size, stars), np.int32) for size in sizes]


def _of_samples(label: Array, truth: Array, within: Array, draws: Sequence[Array]) -> Array:
    """Bias, standard deviation, 1.48 MAD, slope and coverage [5, S] of samples of the stars [n]."""
    parts = []
    for chosen in draws:
        right, said = truth[chosen], label[chosen]
        residual = said - right
        off = np.abs(residual - np.median(residual, axis=1, keepdims=True))
        spread = right - right.mean(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (said * spread).mean(axis=1) / np.square(spread).mean(axis=1)
        parts.append(
            np.stack(
                [
                    residual.mean(axis=1),
                    residual.std(axis=1),
                    STD_PER_MAD * np.median(off, axis=1),
                    slope,
                    within[chosen].mean(axis=1),
                ]
            )
        )
    return np.concatenate(parts, axis=1)


def _with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the interval of 1.48 MAD over that of the network, of the same samples."""
    mads = {row["method"]: row.pop("mads") for row in rows}
    network = mads.get(NETWORK)
    for row in rows:
        low, high = float("nan"), float("nan")
        if network is not None and row["method"] != NETWORK:
            ratio = mads[row["method"]] / np.maximum(network, 1e-30)
            low, high = (float(value) for value in np.quantile(ratio, INTERVAL))
        row |= {"mad_ratio_low": low, "mad_ratio_high": high}
    return rows


def _row(
    table: BaselineTable,
    title: str,
    place: tuple[Array, int],
    truth: Array,
    noise: Array,
    *,
    draws: Sequence[Array],
) -> dict[str, Any]:
    """``place`` : the stars and the column of the label. ``mads`` are those of the samples."""
    found = table.methods[title]
    label = found.label[place].astype(float)
    error = np.full(len(label), np.nan)
    if found.error is not None:
        error = found.error[place].astype(float)
    within = np.abs(label - truth) <= np.hypot(error, noise)
    known = np.isfinite(error)
    sampled = _of_samples(label, truth, within, draws)
    names = ("bias_error", "std_error", "mad_error", "slope_error", "within_68_error")
    errors = dict(zip(names, sampled.std(axis=1).tolist(), strict=True))
    if not known.any():
        errors["within_68_error"] = float("nan")
    speed = table.facts[title].stars_per_second if title in table.facts else float("nan")
    return {
        "method": title,
        **residual_row(label, truth),
        "within_68": float(within[known].mean()) if known.any() else float("nan"),
        "median_error": float(np.median(error[known])) if known.any() else float("nan"),
        "stars_per_second": speed,
        **errors,
        "mads": sampled[2],
    }


def _with_best(rows: list[dict[str, Any]]) -> list[MethodRow]:
    least_std, least_mad = (min(row[key] for row in rows) for key in ("std", "mad"))
    return [
        cast(
            MethodRow,
            row | {"best_std": row["std"] == least_std, "best_mad": row["mad"] == least_mad},
        )
        for row in rows
    ]


def read_references(survey: Store, table: BaselineTable) -> tuple[Array, Array, Array]:
    """Reference labels and their errors [N, L], and S/N [N], of the stars of a table.

    Stars that the survey does not have, or has no labels for, have NaN.
    """
    ids = next(iter(table.methods.values())).source_id
    order = np.argsort(ids)
    reference, error = (np.full((len(ids), len(table.labels)), np.nan) for _ in range(2))
    snr = np.full(len(ids), np.nan)
    known = [str(name) for name in survey.coordinate("label")]
    columns = [known.index(name) for name in table.labels]
    names = [n for n in ("source_id", "label", "label_error", "snr") if n in survey.variables]
    for region in survey.regions():
        block = survey.read(region, names)
        place, found = find_sorted(ids[order], block["source_id"])
        rows = order[place[found]]
        reference[rows] = block["label"][found][:, columns]
        if "label_error" in block:
            error[rows] = block["label_error"][found][:, columns]
        if "snr" in block:
            snr[rows] = block["snr"][found]
    return reference, error, snr


DESCRIPTIONS = {
    "label": "label that is judged",
    "unit": "unit of bias, std, mad and median_error",
    "snr": "bin of S/N per pixel",
    "method": "method; network = the package itself",
    "stars": "stars judged, the same for all methods of a bin",
    "bias": "mean of label - reference",
    "std": "standard deviation of label - reference",
    "mad": "1.48 times the median absolute deviation of label - reference",
    "slope": "slope of label against reference",
    "within_68": "fraction within one quoted error, that of the reference included",
    "median_error": "median quoted error",
    "stars_per_second": "predictions per second of wall-clock time, reading apart",
    "bias_error": "standard error of the bias, by the bootstrap",
    "std_error": "of std",
    "mad_error": "of mad",
    "slope_error": "of slope",
    "within_68_error": "of within_68",
    "mad_ratio_low": "mad over that of the network: lower end of the interval of 95 %",
    "mad_ratio_high": "upper end; below 1 this method is better, and not by chance of the stars",
    "best_std": "no method has a smaller std here",
    "best_mad": "no method has a smaller mad here",
}
"""Columns of the judged table."""


def judged_table(rows: Sequence[MethodRow], meta: Mapping[str, Any]) -> TextTable:
    """The rows as a table; what is not known (no errors, no speed) is empty."""
    columns = [TableColumn(name, "", text) for name, text in DESCRIPTIONS.items()]
    whole = [{**row, "unit": label_info(row["label"]).unit} for row in rows]
    return TextTable(columns, [_known(row) for row in whole], meta)


def _known(row: Mapping[str, Any]) -> dict[str, Cell]:
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in row.items()
    }
