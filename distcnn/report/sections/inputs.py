"""Sections about what went in: data, package and split; completeness; stars; example spectra."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distcnn.labels import label_info
from distcnn.report.blocks import Block, Column, Legend, Missing, Note, Picture, Table, label_text
from distcnn.report.data import ReportData
from distcnn.report.figures.spectra import MASK_COLOURS
from distcnn.report.text.table import plain_value

_FACT_COLUMNS = (Column("what", "What"), Column("value", "Value"))


def inputs(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Which survey, which package, which split."""
    blocks: list[Block] = [_facts("survey_facts", "Survey", _survey_facts(data))]
    manifest = data.manifest
    if manifest is None:
        command = f"distcnn report {data.words['predictions']} REPORT --package PACKAGE"
        blocks.append(Missing("The package was not found.", command))
    else:
        blocks.append(_facts("package_facts", "Package", _package_facts(data)))
    blocks.append(_labels(data))
    blocks += _split(data)
    return [*blocks, *pictures]


def _facts(key: str, title: str, facts: Iterator[tuple[str, Any]]) -> Table:
    rows = [
        {"what": what, "value": f"{value:,}" if isinstance(value, int) else plain_value(value)}
        for what, value in facts
        if value not in (None, "", [], {})
    ]
    return Table(key, title, _FACT_COLUMNS, rows)


def _survey_facts(data: ReportData) -> Iterator[tuple[str, Any]]:
    yield "name", data.told_of("survey").get("name")
    yield "release", data.predictions.attrs.get("release")
    yield "stars", data.numbers.stars
    survey = data.survey
    if survey is None:
        yield "survey store", "not found, so spectra and reference labels are not shown"
        return
    counts = survey.attrs.get("counts") or {}
    yield "stars with reference labels", counts.get("labelled")
    yield "rows of the archive put aside", counts.get("quarantined")
    yield "files read", counts.get("files")
    ingest = survey.attrs.get("ingest") or {}
    grid = ingest.get("grid") or {}
    if "wavelength" in survey.coordinates:
        attrs, wavelength = survey.coordinate_attrs("wavelength"), survey.coordinate("wavelength")
        unit = attrs.get("unit") or attrs.get("units") or grid.get("unit", "")
        span = f"{wavelength[0]:.2f} to {wavelength[-1]:.2f} {unit}".strip()
        yield "spectra", f"{span}, {len(wavelength):,} pixels"
        for what in ("medium", "frame"):
            yield what, attrs.get(what) or grid.get(what)
    yield "bands", [str(band) for band in survey.attrs.get("bands") or []]
    files = {role: (ingest.get(role) or {}).get("reader") for role in ("spectra", "labels")}
    yield "reader of the spectra", files["spectra"]
    yield "reader of the labels", files["labels"]


def _package_facts(data: ReportData) -> Iterator[tuple[str, Any]]:
    manifest = data.manifest
    assert manifest is not None
    spec = manifest.spec
    yield "network", manifest.network.get("preset")
    yield "members", len(manifest.members) or None
    kinds = {
        "spectrum": spec.pixels,
        "XP coefficients": spec.coefficients,
        "photometry": len(spec.bands),
        "parallax": int(spec.astrometry),
    }
    told = [f"{name} ({count:,})" if count > 1 else name for name, count in kinds.items() if count]
    yield "inputs", ", ".join([*told, *spec.scalars])
    yield (
        "trained on",
        " ".join(text for text in (manifest.survey.survey, manifest.survey.release) if text),
    )
    yield "seed", manifest.train.get("seed")
    yield "epochs, at most", manifest.train.get("epochs")
    yield "distcnn", manifest.distcnn_version
    yield "digest", manifest.digest if manifest.files else None
    if manifest.distilled is not None:
        yield "distilled from", f"an ensemble of {manifest.distilled.members} members"
    if manifest.imported is not None:
        yield "imported from", ", ".join(manifest.imported.files)


def _labels(data: ReportData) -> Table:
    columns = (
        Column("symbol", "Label"),
        Column("name", "Column", "code"),
        Column("unit", "Unit"),
        Column("description", "Meaning"),
    )
    infos = [label_info(name) for name in data.names]
    rows = [
        {
            "symbol": label_text(info.name),
            "name": info.name,
            "unit": info.unit,
            "description": info.description,
        }
        for info in infos
    ]
    return Table("labels", "Labels", columns, rows)


def _split(data: ReportData) -> Iterator[Block]:
    split = data.manifest.split if data.manifest else None
    if split is None or not split.stars:
        return
    columns = (
        Column("part", "Part"),
        Column("stars", "Stars", "count"),
        Column("use", "What it is for"),
        Column("source_id", "Digest of its source_ids", "code"),
    )
    rows = [
        {
            "part": part,
            "stars": stars,
            "use": _USES.get(part, ""),
            "source_id": split.source_id.get(part, "")[:16],
        }
        for part, stars in split.stars.items()
    ]
    note = "A star belongs to a part by a hash of its source_id, or of its group"
    note += f" ({split.groups})." if split.groups else "."
    if split.method == "folds":
        note += (
            f" Members are trained on folds: each of {split.folds} holds out another part of the "
            "stars outside the test split, and errors are calibrated on all of these by members "
            "that never saw them."
        )
    yield Table("split", "Split of the labelled stars", columns, rows, note)


_USES: Mapping[str, str] = {
    "train": "weights are fitted",
    "validation": "training stops",
    "calibration": "errors, limits and novelty are fitted",
    "test": "touched once, after everything is fitted: what this page judges by",
}


def completeness(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """How many stars have labels, by S/N, magnitude and place, and why the others have none."""
    found = data.numbers.completeness
    total = found["rows"][0]
    rows = sum(row["rows"] for row in data.numbers.quarantine)
    lead = (
        f"{total['labels']:,} of {total['stars']:,} stars of the survey have all labels "
        f"({_part(total['labels'], total['stars'])}), {total['unflagged']:,} of them without any "
        f"flag ({_part(total['unflagged'], total['stars'])}); {total['failed']:,} have none. "
        f"{rows:,} rows of the archive never became a star of the survey."
    )
    columns = (
        Column("bin", "Bin"),
        Column("by", "By"),
        Column("stars", "Stars", "count"),
        Column("labels", "With labels", "count"),
        Column("labels_fraction", "Fraction", "percent"),
        Column("unflagged", "Without a flag", "count"),
        Column("unflagged_fraction", "Fraction", "percent"),
        Column("failed", "Without labels", "count"),
    )
    table = [
        dict(row)
        | {
            "labels_fraction": row["labels"] / max(row["stars"], 1),
            "unflagged_fraction": row["unflagged"] / max(row["stars"], 1),
        }
        for row in found["rows"]
    ]
    return [
        Note(lead, strong=True),
        *pictures,
        Table("completeness", "Completeness by S/N and magnitude", columns, table, folded=True),
        *_reasons(data),
    ]


def _reasons(data: ReportData) -> Iterator[Block]:
    total = max(data.numbers.stars, 1)
    rows = [
        {
            "reason": row["reason"],
            "stars": row["stars"],
            "fraction": row["stars"] / total,
            "meaning": row["meaning"],
        }
        for row in data.numbers.completeness["reasons"]
    ]
    rows += [
        {"reason": f"quarantined: {row['reason']}", "stars": row["rows"], "meaning": row["meaning"]}
        for row in data.numbers.quarantine
    ]
    columns = (
        Column("reason", "Reason", "code"),
        Column("stars", "Stars", "count"),
        Column("fraction", "Of the survey", "percent"),
        Column("meaning", "Meaning"),
    )
    note = "A star may have several flags. Quarantined rows of the archive are no stars of it."
    if rows:
        yield Table("reasons", "Why not", columns, rows, note)
    quarantine = data.numbers.quarantine
    if quarantine:
        heads = (
            Column("reason", "Reason", "code"),
            Column("rows", "Rows", "count"),
            Column("example", "First of them"),
        )
        yield Table("quarantine", "Rows quarantined at ingest", heads, quarantine, folded=True)


def _part(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def stars(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """The labels themselves."""
    if not pictures:
        return [
            Note("The labels of this survey make neither a Kiel diagram nor an abundance plane.")
        ]
    return pictures


def spectra(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Some spectra with their masks."""
    if not pictures:
        command = f"distcnn report {data.words['predictions']} REPORT --survey SURVEY"
        return [Missing("The survey store with its spectra was not found.", command)]
    entries = [(colour, bit.sentence) for bit, colour in MASK_COLOURS.items()]
    return [*pictures, Legend("Shading of masked pixels", entries)]
