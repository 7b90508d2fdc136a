"""The page: one self-contained HTML file, and the same numbers as ``metrics.json`` beside it."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from distcnn.config import FigureName, ReportConfig
from distcnn.errors import StoreError
from distcnn.evaluation.data import ReportData
from distcnn.evaluation.metrics import (
    FAINT,
    Row,
    accuracy,
    coverage,
    flag_rows,
    quarantine_rows,
    throughput,
    trouble_rows,
)
from distcnn.evaluation.sample import Counts, Stars, gather
from distcnn.evaluation.subgroups import attenuation_rows, cell_coverage, poor_rows
from distcnn.events import Listener, StageEnded, silent
from distcnn.files import atomic_write_text
from distcnn.report.figures import calibration, labels, residuals, run
from distcnn.report.figures.spectra import MASK_LEGEND, spectra
from distcnn.report.figures.style import as_uri, number, style
from distcnn.schema import LABELS, MASK_TEXT
from distcnn.survey import Store

_LONGEST = 120  # characters of a provenance value


@dataclass(frozen=True)
class Shown:
    """One figure of the page."""

    key: str
    title: str
    caption: str
    uri: str


def write_report(
    data: ReportData, folder: Path, config: ReportConfig, listener: Listener = silent
) -> Path:
    """Write ``index.html`` and ``metrics.json`` into ``folder``; returns the page's path.

    Raises
    ------
    StoreError : a store cannot be used, or the folder cannot be written.
    FileBroken, ColumnMissing : truth or quarantine table cannot be used.
    """
    stars, counts, names = gather(data, config, listener)
    survey = Store.open(data.survey, "survey") if data.survey else None
    numbers = _numbers(data, stars, counts, names, config)
    with style():
        shown = list(_figures(data, stars, survey, numbers, config))
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            numbers=numbers,
            figures={figure.key: figure for figure in shown},
            labels=[LABELS[name] for name in names if name in LABELS],
            names=names,
            band=config.coverage_band,
            mask_legend=[
                (c, n, MASK_TEXT[b])
                for (n, c), b in zip(MASK_LEGEND.items(), MASK_TEXT, strict=True)
            ],
            provenance=_provenance(data, survey),
        )
    )
    _write(folder, {"index.html": page, "metrics.json": _json(numbers)})
    listener(StageEnded("report", {"stars": counts.stars, "figures": len(shown)}))
    return folder / "index.html"


def _numbers(
    data: ReportData, stars: Stars, counts: Counts, names: tuple[str, ...], config: ReportConfig
) -> dict[str, Any]:
    """Everything the page states as a number, as JSON-like values."""
    regions = throughput(data.ledger or Store.open(data.predictions).private / "ledger.jsonl")
    seconds = sum(row["seconds"]["total"] for row in regions)
    quarantine = []
    if data.survey:
        store = Store.open(data.survey, "survey")
        quarantine = quarantine_rows(store.private / "quarantine.parquet")
    return {
        "stars": counts.stars,
        "status": counts.status,
        "unflagged": counts.unflagged,
        "judged": int(stars.judged.sum()),
        "judged_against": "truth" if data.truth else "references",
        "simulated": bool(data.truth),
        "labels": list(names),
        "accuracy": accuracy(stars, names, config.snr_edges),
        "comparison": _comparison(accuracy(stars, names, FAINT), names),
        "coverage": coverage(stars, names, config.snr_edges),
        "cells": cell_coverage(stars, names),
        "attenuation": _known(attenuation_rows(stars, names, config.snr_edges), "slope"),
        "poor": poor_rows(stars, names, FAINT),
        "package": _of_package(data.manifest or {}),
        "flags": flag_rows(counts),
        "trouble": trouble_rows(stars),
        "quarantine": quarantine,
        "throughput": {
            "regions": regions,
            "stars_per_second": sum(r["stars"] for r in regions) / seconds if seconds else None,
        },
    }


def _of_package(manifest: Mapping[str, Any]) -> dict[str, list[Row]]:
    """What the package says of itself, from its calibration split; older ones say less."""
    coverage = _known(manifest.get("coverage", []), "within_68")
    return {
        "coverage": [{"cell": "all"} | row for row in coverage],
        "ensemble_size": _known(manifest.get("ensemble_size", []), "within_68"),
        "attenuation": _known(manifest.get("attenuation", []), "slope"),
    }


def _known(rows: Iterable[Mapping[str, Any]], key: str) -> list[Row]:
    """The rows that have a finite ``key``, without the values that are not finite."""
    finite = [
        {k: v for k, v in row.items() if isinstance(v, str) or (v is not None and math.isfinite(v))}
        for row in rows
    ]
    return [row for row in finite if key in row]


def _comparison(rows: list[Row], names: tuple[str, ...]) -> list[Row]:
    """Methods side by side per label: all stars, and 15 < S/N < 25."""
    table = []
    for name in names:
        for group in ("all", f"{FAINT[0]:g}-{FAINT[1]:g}"):
            mine = [row for row in rows if (row["label"], row["snr"]) == (name, group)]
            if mine:
                table.append(
                    {"label": name, "snr": group, "stars": mine[0]["stars"]}
                    | {"methods": {row["method"]: row for row in mine}}
                    | {"network_wins": mine[0]["best_std"] and mine[0]["best_mad"]}
                )
    return table


def _figures(
    data: ReportData,
    stars: Stars,
    survey: Store | None,
    numbers: Mapping[str, Any],
    config: ReportConfig,
) -> Iterator[Shown]:
    names, edges = tuple(numbers["labels"]), config.snr_edges
    package = numbers["package"]
    by_snr = [row for row in package["coverage"] if row["cell"] == "all"]
    by_cell = [row for row in package["coverage"] if row["snr"] == "all"]
    makers: dict[FigureName, Callable[[], Figure | None]] = {
        "kiel": lambda: labels.kiel(stars, names),
        "alpha": lambda: labels.alpha_plane(stars, names, edges),
        "residuals": lambda: residuals.residuals(stars, names, edges),
        "precision": lambda: residuals.precision(numbers["accuracy"], names),
        "coverage": lambda: calibration.coverage_figure(
            numbers["coverage"], by_snr, names, config.coverage_band
        ),
        "pulls": lambda: residuals.pulls(stars, names),
        "cells": lambda: calibration.cells_figure(numbers["cells"], by_cell, names),
        "attenuation": lambda: calibration.attenuation_figure(
            numbers["attenuation"] or package["attenuation"], names
        ),
        "poor": lambda: calibration.poor_figure(numbers["poor"]),
        "ensemble": lambda: calibration.ensemble_figure(package["ensemble_size"], names),
        "novelty": lambda: run.novelty(stars),
        "spectra": lambda: spectra(stars, names, survey, config.spectra),
        "learning": lambda: run.learning(data.curves),
        "speed": lambda: run.speed(numbers["throughput"]["regions"]),
    }
    wanted = makers if config.figures is None else config.figures
    for key, make in makers.items():
        figure = make() if key in wanted else None
        if figure is not None:
            yield Shown(key, *_CAPTIONS[key], as_uri(figure))


_CAPTIONS: dict[FigureName, tuple[str, str]] = {
    "kiel": (
        "Kiel diagram",
        "Stars without any flag. Left: number of stars per cell. Right: median metallicity.",
    ),
    "alpha": (
        "Alpha elements against metallicity",
        "Stars without any flag, in bins of S/N; the cross is the median quoted error.",
    ),
    "residuals": (
        "Residuals",
        "Prediction minus reference against the reference; lines are the 16th, 50th and 84th "
        "percentile. A slope is attenuation: extreme labels drawn towards the mean.",
    ),
    "precision": (
        "Precision against S/N",
        "Robust scatter of the residuals for every method, on the same stars.",
    ),
    "coverage": (
        "Are the quoted errors true?",
        "Fraction of stars whose reference lies within one and two quoted errors: points should "
        "lie on the green line. Filled: judged stars; hollow: the package's own table, of the "
        "calibration stars. Bars are the sampling error, the band is what counts as calibrated.",
    ),
    "pulls": (
        "Pulls",
        "Residual in units of the quoted error: the histogram should follow the line, the unit "
        "Gaussian, with a width (1.48 MAD) of 1. Outliers are collected in the outermost bins.",
    ),
    "cells": (
        "Errors by population",
        "The same fractions for dwarfs, giants and metal-poor stars (by predicted labels) and "
        "stars that lack an input: no row should leave the bands further than its bar is long.",
    ),
    "attenuation": (
        "Attenuation",
        "Slope of predicted against true labels: below 1, extreme stars are drawn to the mean, as "
        "far as the dotted line by necessity. Below: the scatter, and what debiasing costs.",
    ),
    "poor": (
        "Bias along metallicity",
        "Mean residual in bins of the reference: metal-poor stars should not come out too rich. "
        "The band is 0.1 dex.",
    ),
    "ensemble": (
        "How many members are needed",
        "Scatter and coverage of ensembles of fewer members, each calibrated by itself: where the "
        "upper curves are flat, more members gain nothing.",
    ),
    "novelty": (
        "Novelty of the spectra",
        "How unlike the training spectra each spectrum is; above 1 it is flagged.",
    ),
    "spectra": ("Example spectra", "Normalised flux with its error; masked pixels are shaded."),
    "learning": (
        "Learning curves",
        "One panel per member, the validation losses of the others in grey: training far below "
        "validation is overfitting, a best epoch at the end asks for more epochs.",
    ),
    "speed": ("Throughput", "Read, infer and write, per region."),
}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("distcnn.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = lambda name: (
        LABELS[name].symbol.replace("alpha", "α") if name in LABELS else name
    )
    environment.filters["value"] = number
    environment.filters["percent"] = lambda x: f"{100 * x:.1f} %"
    environment.filters["count"] = lambda x: f"{x:,}"
    return environment


def _provenance(data: ReportData, survey: Store | None) -> dict[str, list[tuple[str, str]]]:
    """Digests, versions, seeds and settings of each product, flat."""
    sources: dict[str, Mapping[str, Any]] = {
        "predictions": Store.open(data.predictions, "predictions").attrs
    }
    if data.manifest is not None:
        sources["package"] = data.manifest
    if survey is not None:
        sources["survey"] = survey.attrs
    return {name: list(_flat(value)) for name, value in sources.items()}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
        return
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    yield path, text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _json(numbers: Mapping[str, Any]) -> str:
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


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Each file appears whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            atomic_write_text(folder / name, text)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error})", cure="Give another folder for the report."
        ) from None
