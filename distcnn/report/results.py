"""Results of other commands, as their folders have them: sentences, tables, figures.

A check leaves FOLDER/NAME/answer.json (name, question, verdict, sentence, threshold, origin),
table.ecsv and figure.png, .pdf, .svg. A map leaves map.json (kind, origin, sentences, and title
and caption of every table NAME.ecsv and figure NAME.png, .pdf, .svg). Tables and figures that
are not there are left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distcnn.ecsv import TextTable, from_ecsv
from distcnn.errors import FileBroken
from distcnn.location import Address, Location

ANSWER_FILE, MAP_FILE = "answer.json", "map.json"
ENDINGS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class ResultTable:
    """A table with its name in the folder, its title, and how to read it."""

    name: str
    title: str
    caption: str
    table: TextTable


@dataclass(frozen=True)
class ResultFigure:
    """A figure with its name in the folder; ``files``: bytes by ending."""

    name: str
    title: str
    caption: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Result:
    """What came of one question.

    Attributes
    ----------
    verdict : passed, failed, undecided; empty where nothing is decided.
    sentences : what was found, with its numbers, the most important first.
    origin : digests of what it was computed from.
    """

    name: str
    question: str
    verdict: str
    sentences: Sequence[str]
    threshold: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[ResultTable] = ()
    figures: Sequence[ResultFigure] = ()


def read_checks(folder: Address) -> tuple[Result, ...]:
    """The checks in a folder, by their names; none where there is no folder.

    Raises
    ------
    FileBroken : an answer or a table cannot be read.
    """
    place = Location.parse(folder)
    if not place.is_folder():
        return ()
    inside = sorted(place.children(), key=lambda one: one.name)
    return tuple(_check(one) for one in inside if (one / ANSWER_FILE).exists())


def _check(folder: Location) -> Result:
    answer = _read_json(folder / ANSWER_FILE)
    name = str(answer.get("name", folder.name))
    question = str(answer.get("question", name))
    sentence = _typeset(str(answer.get("sentence", "")))
    tables = _tables(folder, {"table": {"title": name, "caption": ""}})
    names = [str(one) for one in answer.get("figures") or ("figure",)]
    figures = _figures(folder, {one: {"title": name, "caption": question} for one in names})
    return Result(
        name=name,
        question=question,
        verdict=str(answer.get("verdict") or ""),
        sentences=(sentence,) if sentence else (),
        threshold=_text(answer.get("threshold")),
        origin=answer.get("origin") or {},
        tables=tables,
        figures=figures,
    )


def read_map(folder: Address) -> Result | None:
    """The map in a folder; None where there is none.

    Raises
    ------
    FileBroken : its record or a table cannot be read.
    """
    place = Location.parse(folder)
    if not (place / MAP_FILE).exists():
        return None
    record = _read_json(place / MAP_FILE)
    return Result(
        name=str(record.get("kind", place.name)),
        question="",
        verdict="",
        sentences=tuple(_typeset(str(one)) for one in record.get("sentences", ())),
        origin=record.get("origin") or {},
        tables=_tables(place, record.get("tables") or {}),
        figures=_figures(place, record.get("figures") or {}),
    )


def read_rivals(table: Address) -> Result | None:
    """The judged table beside a table of baselines, with its figure; None where there is none.

    Raises
    ------
    FileBroken : the table cannot be read.
    """
    place = Location.parse(table)
    stem = place.name.rsplit(".", 1)[0]
    told = {stem: {"title": "Every method, on the same stars", "caption": _RIVALS}}
    tables = _tables(place.parent, told)
    if not tables:
        return None
    return Result("rivals", "", "", (), tables=tables, figures=_figures(place.parent, told))


_RIVALS = "Best value of a label and S/N bin in bold."


def _tables(folder: Location, told: Mapping[str, Mapping[str, str]]) -> tuple[ResultTable, ...]:
    places = {name: folder / f"{name}.ecsv" for name in told}
    return tuple(
        ResultTable(
            name,
            _typeset(told[name].get("title", name)),
            _typeset(told[name].get("caption", "")),
            from_ecsv(place.read_bytes(), str(place)),
        )
        for name, place in places.items()
        if place.exists()
    )


def _figures(folder: Location, told: Mapping[str, Mapping[str, str]]) -> tuple[ResultFigure, ...]:
    found = []
    for name, row in told.items():
        places = {ending: folder / f"{name}.{ending}" for ending in ENDINGS}
        files = {ending: place.read_bytes() for ending, place in places.items() if place.exists()}
        if files:
            title, caption = (_typeset(row.get(*one)) for one in (("title", name), ("caption", "")))
            found.append(ResultFigure(name, title, caption, files))
    return tuple(found)


def _read_json(place: Location) -> dict[str, Any]:
    try:
        found = json.loads(place.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise FileBroken(
            f"{place} is not readable ({error})",
            expected="a record that `distcnn check` or `distcnn map` has written",
            cure="Remove its folder and run that command again.",
        ) from None
    return found


def _typeset(sentence: str) -> str:
    """What terminals are spared, as print has it."""
    return sentence.replace("+-", "±").replace(">=", "≥")


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
