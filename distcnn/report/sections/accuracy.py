"""Sections about how good the labels are: accuracy, errors, attenuation, ensemble size."""

from collections.abc import Iterator, Sequence
from typing import Any

from distcnn.report.blocks import Block, Column, Mark, Missing, Note, Picture, Row, Table
from distcnn.report.data import ReportData

_LABEL = (Column("label", "Label", "label"), Column("snr", "S/N"))
_NOBODY = "No star outside training has a reference label, so nothing is evaluated here."


def accuracy(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Residuals of the stars that no part of training has seen, beside other methods."""
    numbers = data.numbers
    if not numbers.accuracy:
        command = f"distcnn report {data.words['predictions']} REPORT --truth truth.parquet"
        return [Missing(_NOBODY, command), *pictures]
    against = (
        "against the truth of the simulation; stars with simulated defects are left out"
        if numbers.simulated
        else "against reference labels"
    )
    lead = (
        f"{numbers.judged:,} stars that no part of training has seen, {against}. All methods are "
        "evaluated on the same stars; the best of a group is bold."
    )
    return [Note(lead), *_comparison(data), *pictures, _every_bin(data)]


def _comparison(data: ReportData) -> Iterator[Block]:
    numbers = data.numbers
    if not numbers.comparison:
        return
    methods = list(dict.fromkeys(row["method"] for row in numbers.accuracy))
    columns = (
        *_LABEL,
        Column("stars", "Stars", "count"),
        *(Column(f"std {m}", f"std, {m}", "value") for m in methods),
        *(Column(f"mad {m}", f"1.48 MAD, {m}", "value") for m in methods),
    )
    rows = []
    for row in numbers.comparison:
        flat: dict[str, Any] = {k: v for k, v in row.items() if k != "methods"}
        for method, found in row["methods"].items():
            flat |= {f"std {method}": found["std"], f"mad {method}": found["mad"]}
            flat |= {
                f"best std {method}": found["best_std"],
                f"best mad {method}": found["best_mad"],
            }
        rows.append(flat)
    yield Table("comparison", "Scatter of every method", columns, rows, mark=_best)


def _best(row: Row, key: str) -> Mark:
    return "best" if row.get(f"best {key}") or row.get(f"best_{key}") else ""


def _every_bin(data: ReportData) -> Table:
    columns = (
        *_LABEL,
        Column("method", "Method"),
        Column("stars", "Stars", "count"),
        Column("bias", "Bias", "value"),
        Column("std", "std", "value"),
        Column("mad", "1.48 MAD", "value"),
        Column("slope", "Slope", "number"),
    )
    rows = sorted(data.numbers.accuracy, key=lambda row: data.names.index(row["label"]))
    title = "Every S/N bin, with bias and slope"
    return Table("accuracy", title, columns, rows, folded=True, mark=_best)


def errors(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Do the quoted errors hold."""
    numbers = data.numbers
    if not numbers.accuracy:
        return [Note(_NOBODY + " The package says of itself what follows."), *pictures]
    return [*_within(data), *pictures, _every_coverage(data), *_ranges(data)]


def _within(data: ReportData) -> Iterator[Block]:
    low, high = data.config.coverage_band
    bins = list(dict.fromkeys(row["snr"] for row in data.numbers.coverage))
    columns = (
        Column("label", "Label", "label"),
        *(Column(f"S/N {name}", _head(name), "percent") for name in bins),
    )
    rows = []
    for label in data.names:
        mine = [row for row in data.numbers.coverage if row["label"] == label and row["stars"]]
        rows.append({"label": label} | {f"S/N {row['snr']}": row["within_68"] for row in mine})

    def mark(row: Row, key: str) -> Mark:
        value = row.get(key)
        return "out" if isinstance(value, float) and not low <= value <= high else ""

    title = "Within one quoted error (68.3 % expected)"
    note = f"Marked: outside {low:.0%} to {high:.0%}."
    yield Table("within_68", title, columns, rows, note, mark=mark)


def _head(name: str) -> str:
    return "all S/N" if name == "all" else f"S/N {name}"


_COVERAGE = (
    Column("stars", "Stars", "count"),
    Column("within_68", "Within 1 error (68.3 %)", "percent"),
    Column("within_95", "Within 2 errors (95.4 %)", "percent"),
    Column("calibration", "Effective calibration stars", "number", digits=0),
)


def _every_coverage(data: ReportData) -> Table:
    columns = (
        *_LABEL,
        *_COVERAGE,
        Column("pull_mad", "Width of pulls (1.48 MAD)", "number", digits=2),
        Column("pull_std", "std of pulls", "number", digits=2),
        Column("bias", "Bias", "value"),
    )
    rows = [row for row in data.numbers.coverage if row["stars"]]
    title = "Within two errors, and widths of the pulls"
    return Table("coverage", title, columns, rows, folded=True)


def _ranges(data: ReportData) -> Iterator[Block]:
    columns = (
        Column("label", "Label", "label"),
        Column("low", "From", "value"),
        Column("high", "To", "value"),
        *_COVERAGE,
        Column("bias", "Bias", "value"),
        Column("bias_error", "± ", "value"),
        Column("mad", "1.48 MAD", "value"),
    )
    if data.numbers.ranges:
        note = "Ranges of the predicted label, for that is what users select by."
        title = "Bias and coverage along each label"
        yield Table("ranges", title, columns, data.numbers.ranges, note, folded=True)


def attenuation(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Slopes of predicted against true labels."""
    numbers = data.numbers
    sources = (
        ("attenuation", "Evaluated stars", numbers.attenuation),
        (
            "package_attenuation",
            "The package's own table, of the calibration stars",
            numbers.package["attenuation"],
        ),
    )
    tables = [
        Table(key, f"{title}: slope, scatter, metal-poor end", _ATTENUATION, rows, folded=True)
        for key, title, rows in sources
        if rows
    ]
    if not (tables or pictures):
        return [Missing("Neither references nor a package that knows its attenuation are here.")]
    return [*pictures, *tables]


_ATTENUATION = (
    *_LABEL,
    Column("stars", "Stars", "count"),
    Column("slope", "Slope", "number"),
    Column("expected", "Slope of least squares", "number"),
    Column("slope_debiased", "Slope, debiased", "number"),
    Column("std", "std", "value"),
    Column("std_debiased", "std, debiased", "value"),
    Column("poor_bias", "Bias of the lowest stars", "value"),
    Column("poor_bias_debiased", "Bias of the lowest, debiased", "value"),
    Column("poor_stars", "Lowest stars", "count"),
)


def ensemble(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """How many members are needed."""
    rows = data.numbers.package["ensemble_size"]
    if not pictures:
        text = "The package has a single member, was not found, or does not say."
        return [Missing(text, "distcnn train SURVEY PACKAGE --set train.members=8")]
    columns = (
        *_LABEL,
        Column("members", "Members", "count"),
        Column("std", "std", "value"),
        Column("mad", "1.48 MAD", "value"),
        Column("within_68", "Within 1 error (68.3 %)", "percent"),
        Column("error", "Median error", "value"),
    )
    return [*pictures, Table("ensemble_size", "Every size", columns, rows, folded=True)]
