"""Sections that show what other commands have found: other methods, checks and maps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from distcnn.ecsv import TableColumn
from distcnn.report.blocks import Block, Column, Kind, Mark, Missing, Note, Picture, Row, Table
from distcnn.report.data import ReportData
from distcnn.report.results import Result

_FRACTIONS = (
    "fraction",
    "flagged",
    "flagged_before",
    "outliers",
    "within",
    "within_68",
    "within_95",
)
_SAID_BY_MARK = "best_"
"""Columns that say which value of another one is the best."""
_ERRORS_FOLDED = ("bias_error", "std_error", "slope_error", "within_68_error", "median_error")
"""Columns that only the table of every bin has room for."""
_HEADS = {
    "mad": "1.48 MAD",
    "mad_error": "± 1.48 MAD",
    "mad_ratio_low": "Over the network, from",
    "mad_ratio_high": "to (95 %)",
    "snr": "S/N",
    "std": "Standard deviation",
    "stars_per_second": "Stars/s",
    "within_68": "Within 1 quoted error",
}
"""Heads of columns whose name alone says too little; of others it is their name."""


def rivals(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """The judged table of ``distcnn compare``."""
    found = data.finished.rivals
    if found is None:
        words = data.words
        command = (
            f"distcnn compare {words['survey']} baselines.parquet --package {words['package']}"
        )
        return [Missing("No other methods were fitted to the same split.", command), *pictures]
    notes = [Note(text, strong=True) for text in found.sentences]
    return [*notes, *pictures, *_by_snr(result_tables(found, "rivals", folded=True))]


def _by_snr(tables: Iterable[Table]) -> Iterator[Table]:
    """All S/N together first; a row for every label, bin and method only when it is opened.

    A table without a row for all S/N is shown as it is.
    """
    for table in tables:
        rows = [row for row in table.rows if row.get("snr") == "all"]
        if not rows:
            yield table
            continue
        left_out = {"snr", *_ERRORS_FOLDED}
        columns = [column for column in table.columns if column.key not in left_out]
        together = f"{table.title}: all S/N"
        yield replace(
            table, key=f"{table.key}_all", title=together, columns=columns, rows=rows, folded=False
        )
        yield replace(table, title=f"{table.title}: every bin of S/N")


def checks(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Every check: its question, its verdict, its figure, its table."""
    found = data.finished.checks
    if not found:
        words = data.words
        command = (
            f"distcnn check all {words['package']} {words['survey']} checks "
            f"--predictions {words['predictions']}"
        )
        return [Missing("No science check was run.", command)]
    columns = (
        Column("name", "Check", "code"),
        Column("question", "Question"),
        Column("verdict", "Verdict"),
        Column("sentence", "What was found"),
        Column("threshold", "Threshold"),
    )
    rows = [
        {
            "name": one.name,
            "question": one.question,
            "verdict": one.verdict,
            "sentence": " ".join(one.sentences),
            "threshold": one.threshold,
        }
        for one in found
    ]
    blocks: list[Block] = [Table("checks", "Verdicts", columns, rows, _VERDICTS, mark=_verdict)]
    for one in found:
        blocks += [p for p in pictures if p.key.startswith(f"checks_{one.name}_")]
        blocks += result_tables(one, "checks", folded=True)
    return blocks


_VERDICTS = (
    "Failed: a value is beyond its limit by more than 3 sampling errors. Passed: every value is "
    "within its limit by 1.64 of them. Undecided: neither is shown; more stars may decide it."
)
_MARKS: Mapping[str, Mark] = {"failed": "out", "passed": "best"}


def _verdict(row: Row, key: str) -> Mark:
    return _MARKS.get(row["verdict"], "") if key == "verdict" else ""


def _best(row: Row, key: str) -> Mark:
    return "best" if row.get(f"best_{key}") in (True, "True") else ""


def tsne(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """The joint map of training and observed spectra."""
    words = data.words
    command = f"distcnn map tsne {words['package']} {words['survey']} tsne"
    return _map(data.finished.tsne, "The map of the spectra was not made.", command, pictures)


def galaxy(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """The Galaxy from predictions and parallaxes."""
    command = f"distcnn map galaxy {data.words['predictions']} galaxy"
    return _map(data.finished.galaxy, "The map of the Galaxy was not made.", command, pictures)


def _map(
    found: Result | None, missing: str, command: str, pictures: Sequence[Picture]
) -> Sequence[Block]:
    if found is None:
        return [Missing(missing, command)]
    notes = [Note(text, strong=number == 0) for number, text in enumerate(found.sentences)]
    return [*notes, *pictures, *result_tables(found, found.name, folded=True)]


def result_tables(found: Result, prefix: str, *, folded: bool) -> Iterator[Table]:
    """The tables of a result; ``prefix`` keeps the names of their files apart."""
    for one in found.tables:
        columns = [
            column_of(column, one.table.rows)
            for column in one.table.columns
            if not column.name.startswith(_SAID_BY_MARK)
        ]
        title = one.title if prefix != "checks" else f"{found.name}: the numbers"
        key = f"{prefix}_{found.name}" if prefix == "checks" else f"{prefix}_{one.name}"
        yield Table(key, title, columns, one.table.rows, one.caption, folded=folded, mark=_best)


def column_of(column: TableColumn, rows: Sequence[Row]) -> Column:
    """A column of a table of another command, printed by what its values are."""
    values = [row.get(column.name) for row in rows]
    known = [value for value in values if value is not None]
    head = _HEADS.get(column.name, column.name.replace("_", " ").capitalize())
    title = head + (f" [{column.unit}]" if column.unit else "")
    return Column(column.name, title, _kind(column.name, known), column.unit, digits=1)


def _kind(name: str, values: Sequence[Any]) -> Kind:
    if name == "label":
        return "label"
    if name in _FRACTIONS and all(isinstance(value, int | float) for value in values):
        return "percent"
    met = {type(value) for value in values}
    if met == {int} and not name.endswith("id"):
        return "count"
    return "significant" if met and met <= {int, float} else "text"
