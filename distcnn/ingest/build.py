"""From an archive folder to one survey store.

Parts first (one task per spectra file), then the layout, then shards (one task per region).
Everything happens in ``SURVEY.partial`` beside the survey, which appears whole or not at all;
the ledgers there say what is done, so the same command goes on where it was stopped.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__, hashing
from distcnn.config import IngestConfig
from distcnn.errors import DistcnnError, FingerprintMismatch, InputError, StoreError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.executor import Executor, TaskResult
from distcnn.ingest.matching import collect_labels
from distcnn.ingest.merge import (
    Piece,
    drop_duplicates,
    kept_rows,
    pieces,
    read_pieces,
    survey_layout,
)
from distcnn.ingest.part_task import PartTask, reader_of
from distcnn.ingest.plan import Job, open_job
from distcnn.ingest.quarantine import write_quarantine
from distcnn.ingest.staging.columns import Part, to_lines
from distcnn.ingest.staging.part import make_part
from distcnn.survey import Ledger, Region, Store, create_store, tile

READ, WRITE = "ingest: read files", "ingest: write survey"
_LABELS = "labels.npz"
_LABELS_REJECTED, _AGAIN = "labels.rejected.jsonl", "again.rejected.jsonl"
_LABEL_ROWS = 20_000
_CURE = "Use another output path, or remove this one to begin again."
Facts = dict[str, Any]


@dataclass(frozen=True)
class IngestSummary:
    """What came of it: stars in the survey, rows put aside, stars with labels."""

    stars: int
    quarantined: int
    """Rows put aside of the files that give the stars (spectra, or else source)."""
    labelled: int
    files: int
    seconds: float
    put_aside: Mapping[str, int]
    """Rows put aside by kind of file: spectra, source, xp, labels."""
    reasons: Mapping[str, int]
    """Rows put aside by reason, of all files."""


def build_survey(
    archive: Path,
    survey: Path,
    config: IngestConfig,
    *,
    executor: Executor,
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
    job = open_job(archive, survey, config, listener)
    if survey.exists():
        return _already_there(job, begun)
    job.staging.mkdir(parents=True, exist_ok=True)
    parts, put_aside = _make_parts(job, executor)
    store = _lay_out(job, parts, put_aside)
    _fill_shards(job, store, parts, executor)
    return _finish(job, store, parts, put_aside, begun)


# --- parts -----------------------------------------------------------------------------------


def _make_parts(job: Job, executor: Executor) -> tuple[dict[str, Facts], dict[str, int]]:
    """Facts of all parts by name, in order, and numbers of rows put aside by kind."""
    ledger = Ledger.open(job.staging / "parts.jsonl", job.fingerprint())
    _check_inputs(job, ledger)
    tasks = job.items(_stage_labels(job, ledger))
    done = {i.name for i in tasks if i.name in ledger.done and (job.parts / i.name).exists()}
    job.listener(StageStarted(READ, len(tasks), "files", len(done)))
    failures: list[TaskResult[PartTask, Facts]] = []
    for outcome in executor(make_part, [task for task in tasks if task.name not in done]):
        if outcome.error is not None:
            failures.append(outcome)
            continue
        facts = dict(outcome.unwrap())
        facts["inputs"] = {job.relative(Path(p)): s for p, s in facts["inputs"].items()}
        ledger.record(outcome.task.name, facts.pop("digest"), **facts)
        job.listener(Advanced(READ, 1, f"{facts['kept']} stars"))
    if failures:
        raise _failed(failures)
    _check_inputs(job, ledger)
    parts = {task.name: dict(ledger.done[task.name]) for task in tasks}
    stars = sum(part["kept"] for part in parts.values())
    job.listener(StageEnded(READ, {"files": len(tasks), "stars": stars}))
    put_aside = {"labels": ledger.done["labels"]["rejected"]} if job.config.labels else {}
    for facts in parts.values():
        for kind, count in facts["rejected"].items():
            put_aside[kind] = put_aside.get(kind, 0) + count
    return parts, put_aside


def _failed(failures: Sequence[TaskResult[PartTask, Facts]]) -> BaseException:
    """The error of the first file that failed, telling how many more did."""
    first = min(failures, key=lambda outcome: outcome.task.name)
    error = first.error
    assert error is not None
    if len(failures) > 1 and isinstance(error, DistcnnError):
        others = sorted(o.task.name for o in failures if o is not first)
        named = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        cure = f"{error.cure} {len(others)} more failed: {named}.".strip()
        return type(error)(error.problem, expected=error.expected, cure=cure)
    return error


def _check_inputs(job: Job, ledger: Ledger) -> None:
    """Files may be mended as long as nothing was made from them."""
    for facts in ledger.done.values():
        for name, found in facts["inputs"].items():
            if job.stamps.get(name) != found:
                raise FingerprintMismatch(
                    f"{job.archive / name} has changed since a part of {job.staging} was made "
                    "from it",
                    expected="the same file",
                    cure=f"Use another output path, or remove {job.staging} to begin again.",
                )


def _stage_labels(job: Job, ledger: Ledger) -> Path | None:
    """Read the label table here, once; tasks find it as a file."""
    config, reader = job.config.labels, reader_of(job.config, "labels")
    if config is None or reader is None:
        return None
    path = job.staging / _LABELS
    if "labels" in ledger.done and path.exists():
        return path
    files = job.files["labels"]
    table, rejected = collect_labels(reader, files, config, rows=_LABEL_ROWS)
    table.save(path)
    (job.staging / _LABELS_REJECTED).write_bytes(to_lines("labels", rejected))
    inputs = {job.relative(p): job.stamps[job.relative(p)] for p in files}
    facts = {"stars": len(table.source_id), "rejected": len(rejected), "inputs": inputs}
    ledger.record("labels", hashing.of_file(path), **facts)
    if not len(table.source_id):
        job.listener(Notice(f"No label in {files[0].name} passes the cuts.", "warning"))
    return path


# --- layout ----------------------------------------------------------------------------------


def _lay_out(job: Job, parts: Mapping[str, Facts], put_aside: dict[str, int]) -> Store:
    """The whole store, empty; stars that stand in several files are counted once."""
    again = drop_duplicates(job.parts, parts, job.staging / _AGAIN)
    if again:
        put_aside[job.main] = put_aside.get(job.main, 0) + again
        _count_anew(job, parts)
    stars = sum(facts["kept"] for facts in parts.values())
    if not stars:
        raise InputError(
            f"no star of {job.archive} is left: {put_aside.get(job.main, 0)} rows were put aside",
            expected="at least one star",
            cure=f"See the reasons in {job.parts}/*/rejected.jsonl.",
        )
    if job.draft.exists():
        return Store.open(job.draft, "survey")
    has_error = any(facts["has_error"] for facts in parts.values())
    layout = survey_layout(
        job.config, stars, job.output_grid(), has_error=has_error, attrs=_attrs(job)
    )
    return create_store(job.draft, layout)


def _count_anew(job: Job, parts: Mapping[str, Facts]) -> None:
    for name, facts in parts.items():
        part = Part(job.parts / name)
        rows = kept_rows(part)
        facts["kept"] = len(rows)
        if job.config.labels is not None:
            labelled = np.isfinite(part.read("label")[rows]).any(axis=1)
            facts["labelled"] = int(labelled.sum())


def _attrs(job: Job) -> dict[str, Any]:
    config = job.config
    return {
        "survey": config.survey,
        "release": config.release,
        "labels": list(config.labels.labels) if config.labels else [],
        "bands": list(config.bands) if config.source is not None else [],
        "ingest": config.model_dump(mode="json"),
        "inputs": job.inputs,
        "files": {kind: len(paths) for kind, paths in job.files.items()},
        "fingerprint": hashing.of_value(job.fingerprint()),
        "distcnn_version": __version__,
        "complete": False,
    }


# --- shards ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardTask:
    """One region of the survey and the kept rows of parts that make it up."""

    survey: Path
    region: Region
    pieces: tuple[Piece, ...]


def fill_shard(task: ShardTask) -> str:
    """Write one region from its parts; returns the digest of what was stored."""
    store = Store.open(task.survey, "survey")
    return store.write(task.region, read_pieces(task.pieces, store.variables))


def _fill_shards(job: Job, store: Store, parts: Mapping[str, Facts], executor: Executor) -> None:
    ledger = Ledger.open(
        store.private / "ledger.jsonl", {"inputs": job.inputs, **job.fingerprint()}
    )
    counts = {name: facts["kept"] for name, facts in parts.items()}
    regions = tile(store.stars, shard=store.shard_stars)
    done = sum(region.size for region in regions if region.name in ledger.done)
    waiting = (region for region in regions if region.name not in ledger.done)
    tasks = (ShardTask(store.path, r, pieces(job.parts, counts, r)) for r in waiting)
    job.listener(StageStarted(WRITE, store.stars, "stars", done))
    for outcome in executor(fill_shard, tasks):
        region = outcome.task.region
        ledger.record(region.name, outcome.unwrap())
        job.listener(Advanced(WRITE, region.size, region.name))


def _finish(
    job: Job, store: Store, parts: Mapping[str, Facts], put_aside: Mapping[str, int], begun: float
) -> IngestSummary:
    lists = [Part(job.parts / name).rejected for name in parts]
    lists += [p for p in (job.staging / _LABELS_REJECTED, job.staging / _AGAIN) if p.exists()]
    counts = {
        "stars": store.stars,
        "quarantined": put_aside.get(job.main, 0),
        "labelled": sum(facts["labelled"] for facts in parts.values()),
        "files": len(job.stamps),
        "put_aside": {kind: number for kind, number in put_aside.items() if number},
        "reasons": write_quarantine(store.private / "quarantine.parquet", lists, job.archive),
    }
    store.annotate({"counts": counts, "complete": True})
    job.draft.rename(job.survey)
    shutil.rmtree(job.staging)
    return _summary(job, counts, begun)


def _summary(job: Job, counts: Mapping[str, Any], begun: float) -> IngestSummary:
    seconds = time.monotonic() - begun
    summary = IngestSummary(**counts, seconds=seconds)
    if summary.reasons:
        named = ", ".join(f"{reason} {number}" for reason, number in summary.reasons.items())
        total = sum(summary.reasons.values())
        where = job.survey / ".distcnn" / "quarantine.parquet"
        job.listener(Notice(f"{total} rows were put aside ({named}); see {where}.", "warning"))
    facts = {"stars": summary.stars, "quarantined": summary.quarantined}
    job.listener(StageEnded(WRITE, {**facts, "labelled": summary.labelled, "seconds": seconds}))
    return summary


def _already_there(job: Job, begun: float) -> IngestSummary:
    store = Store.open(job.survey, "survey")
    if not store.attrs.get("complete"):
        raise StoreError(f"{job.survey} is not complete", cure="Remove it and ingest again.")
    # Opening compares every setting and every input with what the survey was made from.
    Ledger.open(store.private / "ledger.jsonl", {"inputs": job.inputs, **job.fingerprint()})
    shutil.rmtree(job.staging, ignore_errors=True)
    job.listener(Notice(f"{job.survey} is complete already; nothing to do."))
    return _summary(job, store.attrs["counts"], begun)
