"""The page: one self-contained HTML file; its numbers, figures and tables as files beside it.

REPORT/index.html       the page, written last and removed first
REPORT/metrics.json     every number
REPORT/settings.yaml    the settings of every stage
REPORT/figures/         every figure as PNG, PDF and SVG
REPORT/tables/          every table as ECSV
REPORT/report.json      what it was made from, and its files with their sha256
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from distcnn import __version__, hashing
from distcnn.ecsv import to_ecsv
from distcnn.errors import StoreError
from distcnn.events import Listener, StageEnded, StageStarted, silent
from distcnn.labels import label_info, of_attributes, present
from distcnn.location import Address, Location
from distcnn.report.blocks import Block, Table, label_text
from distcnn.report.data import ReportData
from distcnn.report.figures.registry import choose_figures
from distcnn.report.pictures import STAGE, draw_pictures, fitting
from distcnn.report.sections.origin import SETTINGS_FILE, settings_of
from distcnn.report.sections.registry import Section, choose_sections
from distcnn.survey import Store

PAGE, RECORD = "index.html", "report.json"
Shown = Sequence[tuple[Section, Sequence[Block]]]


def write_report(data: ReportData, folder: Address, listener: Listener = silent) -> Path | Location:
    """Write the page and the files beside it into ``folder``; returns the page's path.

    Raises
    ------
    ConfigError : a figure or section that is asked for does not exist.
    StoreError : a store cannot be used, or the folder cannot be written.
    """
    own = of_attributes(Store.open(data.products.predictions, "predictions").attrs)
    with present(own):
        return _write_report(data, Location.parse(folder), listener)


def _write_report(data: ReportData, folder: Location, listener: Listener) -> Path | Location:
    sections = choose_sections(data.config.sections)
    listener(StageStarted(STAGE, len(choose_figures(data.config.figures)), "figures"))
    drawn = fitting(list(draw_pictures(data, [one.key for one in sections], listener)))
    shown = [
        (one, one.build(data, [each.picture for each in drawn if each.section == one.key]))
        for one in sections
    ]
    page = _page(data, shown)
    files = {"metrics.json": data.numbers.to_json().encode(), **_settings(data)}
    files |= {name: text for one in drawn for name, text in one.files.items()}
    files |= _tables(shown)
    _write(folder, files | {PAGE: page.encode()}, data)
    size = round(len(page.encode()) / 1e6, 1)
    facts = {"stars": data.numbers.stars, "figures": len(drawn), "megabytes": size}
    listener(StageEnded(STAGE, facts))
    return (folder / PAGE).outer


def _page(data: ReportData, shown: Shown) -> str:
    numbers = data.numbers
    labels = [label_info(name) for name in numbers.labels]
    told = [
        f"{label_text(one.name)} ({one.description}{', ' if one.unit else ''}{one.unit})"
        for one in labels
    ]
    attrs = data.predictions.attrs
    name = data.told_of("survey").get("name") or "predictions"
    version = attrs.get("distcnn_version") or __version__
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=f"distcnn report: {name}, {numbers.stars:,} stars",
            heading=f"{numbers.stars:,} stars, {len(labels)} labels",
            subtitle=f"{name}: {' · '.join(told)}",
            footer=f"Computed by distcnn {version}, page by distcnn {__version__}. Figures, tables "
            "and numbers lie as files beside this page.",
            shown=shown,
            css=Markup(_template("page.css")),  # noqa: S704 - files of this package
            js=Markup(_template("page.js")),  # noqa: S704
        )
    )


def _template(name: str) -> str:
    return (package_files("distcnn.report") / "template" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("distcnn.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sortable"] = _sortable
    return environment


def _sortable(value: Any) -> str:
    """A number as the page's script sorts by it; empty where it is not known."""
    return f"{value:.9g}" if isinstance(value, int | float) and not math.isnan(value) else ""


def _tables(shown: Shown) -> dict[str, bytes]:
    found = [block for _, blocks in shown for block in blocks if isinstance(block, Table)]
    return {f"tables/{one.key}.ecsv": to_ecsv(one.as_text_table()) for one in found}


def _settings(data: ReportData) -> dict[str, bytes]:
    settings = settings_of(data)
    return {SETTINGS_FILE: yaml.safe_dump(settings, sort_keys=False).encode()} if settings else {}


def _write(folder: Location, files: Mapping[str, bytes], data: ReportData) -> None:
    """Each file appears whole or not at all; files that only the report before had are removed."""
    record = {
        "format": 1,
        "kind": "report",
        "distcnn_version": __version__,
        "origin": _origin(data),
        "files": {name: hashing.of_bytes(content) for name, content in files.items()},
    }
    try:
        before = _files_before(folder)
        (folder / PAGE).remove()
        for name in before - set(files):
            (folder / name).remove()
        ordered = {RECORD: (json.dumps(record, indent=1) + "\n").encode(), **files}
        for name, content in ordered.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error})", cure="Give another folder for the report."
        ) from None


def _origin(data: ReportData) -> dict[str, Any]:
    attrs = data.predictions.attrs
    return {
        "predictions": hashing.of_value(attrs.get("fingerprint")),
        "package": data.told_of("package").get("digest"),
        "survey": data.told_of("survey").get("digest"),
        "settings": data.config.model_dump(mode="json"),
    }


def _files_before(folder: Location) -> set[str]:
    """Files of the report that is there; none of anybody else's."""
    try:
        named = json.loads((folder / RECORD).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in named if isinstance(name, str) and ".." not in name.split("/")}
