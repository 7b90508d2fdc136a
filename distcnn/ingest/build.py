"""From an archive folder to one survey store.

Parts first (one task per spectra file), then the layout, then shards (one task per region).
Everything happens in ``SURVEY.partial`` beside the survey, which appears whole or not at all;
the ledgers there say what is done, so the same command goes on where it was stopped.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__, digests
from distcnn.config import IngestConfig
from distcnn.errors import ConfigError, DistcnnError, FingerprintMismatch, InputError, StoreError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.flow import Flow, Outcome
from distcnn.ingest.grids import Array, is_declared, wavelengths
from distcnn.ingest.layout import (
    Piece,
    drop_duplicates,
    kept_rows,
    pieces,
    read_pieces,
    survey_layout,
)
from distcnn.ingest.match import collect_labels, find_files, healpix_range, partners, stamp
from distcnn.ingest.parts import PartItem, make_part, reader_of
from distcnn.ingest.prepare import Preparation
from distcnn.ingest.quarantine import write_quarantine
from distcnn.ingest.readers import Kind
from distcnn.ingest.staging import Part, to_lines
from distcnn.survey import Ledger, Region, Store, create_store, tile

_KINDS: tuple[Kind, ...] = ("spectra", "source", "xp", "labels")
_PART_BYTES = 32 << 20
_LABEL_ROWS = 20_000
_CURE = "Use another output path, or remove this one to begin again."


@dataclass(frozen=True)
class IngestSummary:
    """What came of it: stars in the survey, rows of stars put aside, stars with labels."""

    stars: int
    quarantined: int
    labelled: int
    files: int
    seconds: float
    put_aside: Mapping[str, int]
    """Rows put aside by kind of file; ``quarantined`` is the number of the spectra (or source)."""


@dataclass(frozen=True)
class _Job:
    archive: Path
    survey: Path
    config: IngestConfig
    files: Mapping[Kind, list[Path]]
    listener: Listener

    @property
    def main(self) -> Kind:
        return "spectra" if self.config.spectra is not None else "source"

    @property
    def staging(self) -> Path:
        return self.survey.with_name(f"{self.survey.name}.partial")

    @property
    def draft(self) -> Path:
        return self.staging / "survey.zarr"

    def relative(self, path: Path) -> str:
        return str(path.relative_to(self.archive))

    def fingerprint(self) -> dict[str, Any]:
        settings = self.config.model_dump(mode="json", exclude={"block_rows"})
        names = {kind: [self.relative(p) for p in paths] for kind, paths in self.files.items()}
        return {
            "settings": digests.of_value(settings),
            "file names": digests.of_value(names),
            "distcnn": __version__,
        }


def build_survey(
    archive: Path,
    survey: Path,
    config: IngestConfig,
    *,
    flow: Flow,
    listener: Listener = silent,
) -> IngestSummary:
    """Read, join, prepare and store every star of an archive folder.

    Raises
    ------
    InputError : files are missing, broken or on another grid; every such file is named.
    FingerprintMismatch : the survey, or its half, was made from other files or settings.
    ConfigError : the configuration names no rows, or a reader that does not exist.
    """
    begun = time.monotonic()
    job = _open_job(archive, survey, config, listener)
    stamps = {job.relative(p): stamp(p) for paths in job.files.values() for p in paths}
    if survey.exists():
        return _already_there(job, stamps, begun)
    job.staging.mkdir(parents=True, exist_ok=True)
    parts, put_aside = _make_parts(job, stamps, flow)
    store, again = _lay_out(job, parts, stamps, put_aside)
    _fill_shards(job, store, parts, flow)
    return _finish(job, store, parts, put_aside, again, begun)


def _open_job(archive: Path, survey: Path, config: IngestConfig, listener: Listener) -> _Job:
    if config.spectra is None and config.source is None:
        raise ConfigError(
            "ingest.spectra and ingest.source are both null",
            expected="at least one, to give the stars of the survey",
        )
    if not archive.is_dir():
        raise InputError(f"there is no folder {archive}", expected="a folder of archive files")
    files: dict[Kind, list[Path]] = {}
    for kind in _KINDS:
        section = getattr(config, kind)
        if section is not None:
            reader_of(config, kind)
            files[kind] = find_files(archive, section)
    return _Job(archive, survey, config, files, listener)


# --- parts -----------------------------------------------------------------------------------


def _make_parts(
    job: _Job, stamps: Mapping[str, str], flow: Flow
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Facts of all parts by name, in order, and numbers of label rows put aside."""
    ledger = Ledger.open(job.staging / "parts.jsonl", job.fingerprint())
    folder = job.staging / "parts"
    items = _cut(job, folder)
    _check_inputs(job, ledger, stamps)
    labels, put_aside = _stage_labels(job, ledger, stamps)
    items = [_with_labels(item, labels) for item in items]
    done = [item for item in items if item.name in ledger.done and (folder / item.name).exists()]
    waiting = [item for item in items if item not in done]
    job.listener(StageStarted("ingest: read files", len(items), "files", len(done)))
    failures: list[Outcome[PartItem, dict[str, Any]]] = []
    for outcome in flow(make_part, waiting):
        if outcome.error is not None:
            failures.append(outcome)
            continue
        facts = dict(outcome.result())
        facts["inputs"] = {job.relative(Path(p)): s for p, s in facts["inputs"].items()}
        ledger.record(outcome.item.name, facts.pop("digest"), **facts)
        job.listener(Advanced("ingest: read files", 1, f"{facts['kept']} stars"))
    if failures:
        raise _failed(failures)
    parts = {item.name: ledger.done[item.name] for item in items}
    _check_inputs(job, ledger, stamps)
    stars = sum(part["kept"] for part in parts.values())
    job.listener(StageEnded("ingest: read files", {"files": len(items), "stars": stars}))
    return parts, put_aside


def _failed(failures: Sequence[Outcome[PartItem, Any]]) -> BaseException:
    """The error of the first file that failed, telling how many more did."""
    first = min(failures, key=lambda outcome: outcome.item.name)
    error = first.error
    assert error is not None
    if len(failures) > 1 and isinstance(error, DistcnnError):
        others = sorted(o.item.name for o in failures if o is not first)
        named = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        cure = f"{error.cure} {len(others)} more failed: {named}.".strip()
        return type(error)(error.problem, expected=error.expected, cure=cure)
    return error


def _with_labels(item: PartItem, labels: Path | None) -> PartItem:
    return PartItem(**{**vars(item), "labels": labels})


def _cut(job: _Job, folder: Path) -> list[PartItem]:
    """One item per spectra file; small files without a HEALPix range share one."""
    wavelength = _output_grid(job)
    items = []
    for group in _groups(job.files[job.main]):
        extra = f"+{len(group) - 1}" if len(group) > 1 else ""
        others: dict[str, tuple[Path, ...]] = {}
        for kind in ("source", "xp"):
            candidates = job.files.get(kind, []) if kind != job.main else []
            found = {p: None for path in group for p in partners(path, candidates)}
            others[kind] = tuple(found)
        item = PartItem(
            f"{job.relative(group[0]).replace('/', '__')}{extra}",
            tuple(group),
            others["source"],
            others["xp"],
            None,
            folder,
            job.config,
            wavelength,
        )
        items.append(item)
    return items


def _groups(paths: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for path in paths:
        alone = healpix_range(path) is not None
        if group and (alone or size + path.stat().st_size > _PART_BYTES):
            yield group
            group, size = [], 0
        group.append(path)
        size += path.stat().st_size
        if alone:
            yield group
            group, size = [], 0
    if group:
        yield group


def _output_grid(job: _Job) -> Array | None:
    """Wavelengths of the stored pixels: of the target, or prepared from the input grid."""
    reader = reader_of(job.config, "spectra")
    if reader is None:
        return None
    config = job.config.prepare
    if config.target is not None:
        return wavelengths(config.target)
    first = job.files["spectra"][0]
    grid = job.config.grid
    given = wavelengths(grid) if is_declared(grid) else reader.wavelength(first)
    assert given is not None
    return Preparation.plan(given, grid, config).wavelength


def _check_inputs(job: _Job, ledger: Ledger, stamps: Mapping[str, str]) -> None:
    """Files may be mended as long as nothing was made from them."""
    for facts in ledger.done.values():
        for name, found in facts["inputs"].items():
            if stamps.get(name) != found:
                raise FingerprintMismatch(
                    f"{job.archive / name} has changed since a part of {job.staging} was made "
                    "from it",
                    expected="the same file",
                    cure=_CURE.replace("this one", str(job.staging)),
                )


def _stage_labels(
    job: _Job, ledger: Ledger, stamps: Mapping[str, str]
) -> tuple[Path | None, dict[str, int]]:
    """Read the label table here, once; tasks find it as a file."""
    config = job.config.labels
    reader = reader_of(job.config, "labels")
    if config is None or reader is None:
        return None, {}
    path = job.staging / "labels.npz"
    quarantine = job.staging / "labels.rejected.jsonl"
    files = job.files["labels"]
    if "labels" not in ledger.done or not path.exists():
        table, rejected = collect_labels(reader, files, config, rows=_LABEL_ROWS)
        table.save(path)
        quarantine.write_bytes(to_lines("labels", rejected))
        inputs = {job.relative(p): stamps[job.relative(p)] for p in files}
        facts = {"stars": len(table.source_id), "rejected": len(rejected), "inputs": inputs}
        ledger.record("labels", digests.of_file(path), **facts)
        if not len(table.source_id):
            job.listener(Notice(f"No label in {files[0].name} passes the cuts.", "warning"))
    rejections = ledger.done["labels"]["rejected"]
    return path, {"labels": rejections} if rejections else {}


# --- layout ----------------------------------------------------------------------------------


def _lay_out(
    job: _Job,
    parts: Mapping[str, dict[str, Any]],
    stamps: Mapping[str, str],
    put_aside: dict[str, int],
) -> tuple[Store, list[dict[str, Any]]]:
    """The whole store, empty, and the rows dropped because a star stands in several files."""
    again = drop_duplicates(job.staging / "parts", parts)
    for facts in parts.values():
        for kind, count in facts["rejected"].items():
            put_aside[kind] = put_aside.get(kind, 0) + count
    put_aside[job.main] = put_aside.get(job.main, 0) + len(again)
    _subtract(parts, again, job)
    stars = sum(facts["kept"] for facts in parts.values())
    if not stars:
        raise InputError(
            f"no star of {job.archive} is left: {put_aside[job.main]} rows were put aside",
            expected="at least one star",
            cure=f"See the reasons in {job.staging}/parts/*/rejected.jsonl.",
        )
    if job.draft.exists():
        return Store.open(job.draft, "survey"), again
    layout = survey_layout(
        job.config,
        stars,
        _output_grid(job),
        has_error=any(facts["has_error"] for facts in parts.values()),
        attrs=_attrs(job, stamps),
    )
    return create_store(job.draft, layout), again


def _subtract(
    parts: Mapping[str, dict[str, Any]], again: Sequence[Mapping[str, Any]], job: _Job
) -> None:
    if not again:
        return
    for name, facts in parts.items():
        part = Part(job.staging / "parts" / name)
        rows = kept_rows(part)
        facts["kept"] = len(rows)
        if job.config.labels is not None and len(rows):
            labelled = np.isfinite(part.read("label")[rows]).any(axis=1)
            facts["labelled"] = int(labelled.sum())


def _attrs(job: _Job, stamps: Mapping[str, str]) -> dict[str, Any]:
    config = job.config
    return {
        "survey": config.survey,
        "release": config.release,
        "labels": list(config.labels.labels) if config.labels else [],
        "bands": list(config.bands) if config.source is not None else [],
        "ingest": config.model_dump(mode="json"),
        "inputs": digests.of_value(dict(stamps)),
        "files": {kind: len(paths) for kind, paths in job.files.items()},
        "distcnn_version": job.fingerprint()["distcnn"],
        "fingerprint": job.fingerprint(),
        "complete": False,
    }


# --- shards ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardItem:
    """One region of the survey and the kept rows of parts that make it up."""

    survey: Path
    region: Region
    pieces: tuple[Piece, ...]


def fill_shard(item: ShardItem) -> str:
    """Write one region from its parts; returns the digest of what was stored."""
    store = Store.open(item.survey, "survey")
    return store.write(item.region, read_pieces(item.pieces, store.variables))


def _fill_shards(
    job: _Job, store: Store, parts: Mapping[str, dict[str, Any]], flow: Flow
) -> None:
    ledger = Ledger.open(store.private / "ledger.jsonl", job.fingerprint())
    counts = {name: facts["kept"] for name, facts in parts.items()}
    regions = tile(store.stars, shard=store.shard_stars)
    waiting = [region for region in regions if region.name not in ledger.done]
    folder = job.staging / "parts"
    items = [ShardItem(store.path, r, pieces(folder, counts, r)) for r in waiting]
    done = store.stars - sum(region.size for region in waiting)
    job.listener(StageStarted("ingest: write survey", store.stars, "stars", done))
    for outcome in flow(fill_shard, items):
        region = outcome.item.region
        ledger.record(region.name, outcome.result())
        job.listener(Advanced("ingest: write survey", region.size, region.name))


def _finish(
    job: _Job,
    store: Store,
    parts: Mapping[str, dict[str, Any]],
    put_aside: dict[str, int],
    again: Sequence[dict[str, Any]],
    begun: float,
) -> IngestSummary:
    folder = job.staging / "parts"
    labels = job.staging / "labels.rejected.jsonl"
    reasons = write_quarantine(
        store.private / "quarantine.parquet", [folder / name for name in parts], labels, again
    )
    counts = {
        "stars": store.stars,
        "quarantined": put_aside.get(job.main, 0),
        "labelled": sum(facts["labelled"] for facts in parts.values()),
        "files": sum(len(paths) for paths in job.files.values()),
        "put_aside": {kind: number for kind, number in put_aside.items() if number},
        "reasons": reasons,
    }
    store.annotate({"counts": counts, "complete": True})
    job.draft.rename(job.survey)
    shutil.rmtree(job.staging)
    return _summary(job, counts, begun)


def _summary(job: _Job, counts: Mapping[str, Any], begun: float) -> IngestSummary:
    summary = IngestSummary(
        counts["stars"],
        counts["quarantined"],
        counts["labelled"],
        counts["files"],
        time.monotonic() - begun,
        dict(counts["put_aside"]),
    )
    facts = {"stars": summary.stars, "quarantined": summary.quarantined}
    facts |= {"labelled": summary.labelled, "seconds": round(summary.seconds, 1)}
    job.listener(StageEnded("ingest: write survey", facts))
    return summary


def _already_there(job: _Job, stamps: Mapping[str, str], begun: float) -> IngestSummary:
    store = Store.open(job.survey, "survey")
    found = {**store.attrs.get("fingerprint", {}), "inputs": store.attrs.get("inputs")}
    asked = {**job.fingerprint(), "inputs": digests.of_value(dict(stamps))}
    for key, value in asked.items():
        if found.get(key) != value:
            raise FingerprintMismatch(
                f"{job.survey} was made with other {key} ({str(found.get(key))[:16]})",
                expected=f"{str(value)[:16]}, as asked now",
                cure=_CURE,
            )
    if not store.attrs.get("complete"):
        raise StoreError(f"{job.survey} is not complete", cure="Remove it and ingest again.")
    shutil.rmtree(job.staging, ignore_errors=True)
    job.listener(Notice(f"{job.survey} is complete already; nothing to do."))
    return _summary(job, store.attrs["counts"], begun)
