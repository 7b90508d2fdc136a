"""Sections about where everything came from: speed, provenance and commands, citation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distcnn import __version__
from distcnn.formatting import dotted, format_duration
from distcnn.report.blocks import Block, Column, Listing, Missing, Note, Picture, Table
from distcnn.report.data import ReportData

MAX_VALUE_CHARACTERS = 120
SETTINGS_FILE = "settings.yaml"
_MILLION = 1_000_000


def speed(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """How fast the predictions were made, and how the networks learned."""
    rate = data.numbers.throughput["stars_per_second"]
    regions = data.numbers.throughput["regions"]
    blocks: list[Block] = []
    if rate:
        seconds = sum(row["seconds"]["total"] for row in regions)
        blocks.append(
            Note(
                f"One worker computed {rate:,.0f} stars/s, reading and writing included: "
                f"{format_duration(seconds)} of work for {data.numbers.stars:,} stars, "
                f"{format_duration(_MILLION / rate)} for a million.",
                strong=True,
            )
        )
    else:
        blocks.append(Missing("The ledger of the predictions tells no times."))
    return [*blocks, *_engines(data), *pictures]


def _engines(data: ReportData) -> Iterator[Block]:
    engine = data.predictions.attrs.get("engine") or {}
    trials = [dict(row) for row in engine.get("trials") or ()]
    if not trials:
        return
    for row in trials:
        row["used"] = "yes" if row.get("candidate") == engine.get("candidate") else ""
    columns = (
        Column("candidate", "Engine", "code"),
        Column("used", "Used"),
        Column("stars_per_second", "Stars/s", "number", digits=0),
        Column("rms", "Difference, rms [label errors]", "number", digits=5),
        Column("bias", "Difference, mean [label errors]", "number", digits=5),
        Column("refused", "Why not"),
    )
    note = f"Tried on {engine.get('host', 'the host')} with {engine.get('members')} members."
    yield Table("engines", "Engines", columns, trials, note, folded=True)


def provenance(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """The commands that repeat it, and every digest, seed, version and setting."""
    blocks: list[Block] = []
    commands = list(_commands(data))
    if commands:
        blocks += [
            Listing("The commands that repeat it", commands),
            Note(
                f"{SETTINGS_FILE} beside this page holds the settings of every stage, as the "
                "products keep them. Commands are typed in the folder of the predictions."
            ),
        ]
    for name, source in _sources(data).items():
        columns = (Column("key", "Entry", "code"), Column("value", "Value", "code"))
        rows = [{"key": key, "value": _short(leaf)} for key, leaf in dotted(source)]
        title = f"All that is known of the {name} ({len(rows)} entries)"
        blocks.append(Table(f"provenance_{name}", title, columns, rows, folded=True))
    return [*blocks, *pictures]


def _sources(data: ReportData) -> dict[str, Mapping[str, Any]]:
    sources: dict[str, Mapping[str, Any]] = {"predictions": data.predictions.attrs}
    if data.manifest is not None:
        sources["package"] = data.manifest.to_json()
    if data.survey is not None:
        sources["survey"] = data.survey.attrs
    return sources


def _commands(data: ReportData) -> Iterator[str]:
    words, conf = data.words, f"--conf report/{SETTINGS_FILE}"
    survey = data.survey
    if survey is not None:
        archive = data.place(_archive(data), "ARCHIVE")
        yield f"distcnn ingest {archive} {words['survey']} {conf}"
    if data.manifest is not None:
        yield f"distcnn train {words['survey']} {words['package']} {conf}"
    yield f"distcnn predict {words['package']} {words['survey']} {words['predictions']} {conf}"
    if data.products.baselines or data.finished.rivals is not None:
        yield f"distcnn compare {words['survey']} baselines.parquet --package {words['package']}"
    if data.finished.checks:
        yield (
            f"distcnn check all {words['package']} {words['survey']} checks "
            f"--predictions {words['predictions']}"
        )
    if data.finished.tsne is not None:
        yield f"distcnn map tsne {words['package']} {words['survey']} tsne"
    if data.finished.galaxy is not None:
        yield f"distcnn map galaxy {words['predictions']} galaxy"
    yield f"distcnn report {words['predictions']} report"


def _archive(data: ReportData) -> Any:
    survey = data.survey
    told = survey.attrs.get("archive") if survey is not None else None
    return survey.location.resolve(told) if survey is not None and told else None


def settings_of(data: ReportData) -> dict[str, Any]:
    """The settings of every stage by their section, as the products keep them."""
    settings: dict[str, Any] = {}
    if data.survey is not None and "ingest" in data.survey.attrs:
        settings["ingest"] = data.survey.attrs["ingest"]
    if data.manifest is not None:
        settings |= {
            name: dict(section)
            for name, section in (
                ("train", data.manifest.train),
                ("quality", data.manifest.quality),
            )
            if section
        }
    if data.predictions.attrs.get("settings"):
        settings["predict"] = data.predictions.attrs["settings"]
    return settings


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    most = MAX_VALUE_CHARACTERS
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cite(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """What to write in a paper that uses these labels."""
    told = data.predictions.attrs
    survey = data.told_of("survey").get("name") or "the survey"
    package = str(data.told_of("package").get("digest", ""))
    version = str(told.get("distcnn_version") or __version__)
    entry = [
        "@software{distcnn,",
        "  author  = {{The distcnn developers}},",
        "  title   = {distcnn: stellar labels for millions of spectra},",
        f"  version = {{{version}}},",
        f"  note    = {{package sha256 {package[:16]}, survey {survey}}},",
        "}",
    ]
    return [
        Note(
            f"Labels of {survey} ({told.get('release') or 'no release'}) by distcnn {version}, "
            f"package {package[:16]}. Name the package's digest: it fixes networks, calibration, "
            "limits and split."
        ),
        Listing("BibTeX", entry),
        Note(
            "The networks follow Guiglion et al. 2024 (A&A 682, A9), whose layers are not public: "
            "they are a reconstruction, not that network. Cite it for the method, and the survey "
            "and the source of the reference labels as their releases ask for."
        ),
        *pictures,
    ]
