"""The page: one self-contained HTML file, and the same numbers as ``metrics.json`` beside it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from distcnn.config import ReportConfig
from distcnn.errors import StoreError
from distcnn.evaluation import EvaluationData, evaluate
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.formatting import dotted
from distcnn.labels import label_info, of_attributes, present
from distcnn.location import Address, Location
from distcnn.report.figures.registry import SECTIONS, FigureData, choose_figures
from distcnn.report.figures.spectra import MASK_COLOURS
from distcnn.report.text.table import label_value
from distcnn.style import as_uri, style
from distcnn.survey import Store

STAGE = "report"
MAX_PROVENANCE_CHARACTERS = 120


@dataclass(frozen=True)
class RenderedFigure:
    """One figure of the page; ``uri`` holds the picture itself."""

    key: str
    section: str
    title: str
    caption: str
    wide: bool
    uri: str


def write_report(
    data: EvaluationData, folder: Address, config: ReportConfig, listener: Listener = silent
) -> Path | Location:
    """Write ``index.html`` and ``metrics.json`` into ``folder``; returns the page's path.

    Raises
    ------
    ConfigError : a figure that is asked for does not exist.
    StoreError : a store cannot be used, or the folder cannot be written.
    FileBroken, ColumnMissing : truth or quarantine table cannot be used.
    """
    own = of_attributes(Store.open(data.predictions, "predictions").attrs)
    with present(own):
        return _write_report(data, Location.parse(folder), config, listener)


def _write_report(
    data: EvaluationData, folder: Location, config: ReportConfig, listener: Listener
) -> Path | Location:
    chosen = choose_figures(config.figures)
    numbers, sample = evaluate(data, config, listener)
    listener(StageStarted(STAGE, len(chosen), "figures"))
    survey = Store.open(data.survey, "survey") if data.survey else None
    drawn = list(render(FigureData(numbers, sample, config, survey, data.curves), listener))
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            numbers=numbers,
            sections=SECTIONS,
            figures={s.key: [f for f in drawn if f.section == s.key] for s in SECTIONS},
            labels=[label_info(name) for name in numbers.labels],
            names=numbers.labels,
            band=config.coverage_band,
            mask_legend=[(colour, bit.sentence) for bit, colour in MASK_COLOURS.items()],
            provenance=_provenance(data, survey),
        )
    )
    _write(folder, {"index.html": page, "metrics.json": numbers.to_json()})
    listener(StageEnded(STAGE, {"stars": numbers.stars, "figures": len(drawn)}))
    return (folder / "index.html").outer


def render(data: FigureData, listener: Listener = silent) -> Iterator[RenderedFigure]:
    """The figures that are asked for and that the data allow.

    The listener hears of those that were named in the configuration and cannot be drawn.
    """
    for row in choose_figures(data.config.figures):
        with style():
            figure = row.draw(data)
            if figure is not None:
                uri = as_uri(figure)
                yield RenderedFigure(row.key, row.section, row.title, row.caption, row.wide, uri)
            elif data.config.figures is not None:
                text = f"figure {row.key!r} is not drawn: it needs {row.needs}"
                listener(Notice(text, "warning"))
        listener(Advanced(STAGE, 1, row.key))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("distcnn.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = lambda name: label_info(name).symbol.replace("alpha", "α")
    environment.filters["value"] = label_value
    environment.filters["percent"] = lambda x: f"{100 * x:.1f} %"
    environment.filters["count"] = lambda x: f"{x:,}"
    return environment


def _provenance(data: EvaluationData, survey: Store | None) -> dict[str, list[tuple[str, str]]]:
    """Digests, versions, seeds and settings of each product: dotted key and value."""
    sources: dict[str, Mapping[str, Any]] = {
        "predictions": Store.open(data.predictions, "predictions").attrs
    }
    if data.manifest is not None:
        sources["package"] = data.manifest.to_json()
    if survey is not None:
        sources["survey"] = survey.attrs
    return {
        name: [(key, _short(leaf)) for key, leaf in dotted(value)]
        for name, value in sources.items()
    }


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    most = MAX_PROVENANCE_CHARACTERS
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _write(folder: Location, files: Mapping[str, str]) -> None:
    """Each file appears whole or not at all."""
    try:
        for name, text in files.items():
            (folder / name).write_bytes(text.encode())
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error})", cure="Give another folder for the report."
        ) from None
