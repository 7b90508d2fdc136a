"""From an archive folder to one survey store.

Parts first (one task per spectra file), then the empty store, then its shards (one task per
region). A part is a staged table; a region is filled from slices of one or more parts.
Everything happens in ``SURVEY.partial`` beside the survey, which appears whole or not at all;
the ledgers there say what is done, so the same command goes on where it was stopped.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__, hashing
from distcnn.config import IngestConfig
from distcnn.errors import DistcnnError, InputError, LockHeld, StoreError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.executor import Executor, TaskResult
from distcnn.files import empty_folder, locked_folder
from distcnn.ingest.merge import (
    RowSlice,
    read_slices,
    row_slices,
    survey_layout,
    write_quarantine,
)
from distcnn.ingest.outcome import (
    check_files,
    check_releases,
    failures_of,
    is_mended,
    not_shifted,
    poor_joins,
    repeats_sentence,
    tell_failures,
    tell_unread,
)
from distcnn.ingest.plan import IngestPlan, PartTask, plan_ingest, staging_folder
from distcnn.ingest.readers.cleaning import notices_of
from distcnn.ingest.readers.formats.containers import Unread
from distcnn.ingest.repeats import RepeatedSpectra, kept_rows, resolve_repeats
from distcnn.ingest.staging.columns import Part
from distcnn.ingest.staging.flux_unit import stored_flux_unit
from distcnn.ingest.staging.labels import (
    LABELS_REJECTED,
    stage_labels,
    staged_labels,
    staged_velocities,
)
from distcnn.ingest.staging.part import REPEATS, PartRecord, make_part
from distcnn.ingest.stamping import check_inputs, stamp, stamp_recorded
from distcnn.labels import ATTRIBUTE, described
from distcnn.location import Address, LocalLocation, Location
from distcnn.schema import Reason
from distcnn.survey import SNR_INTERVAL, Ledger, Region, Store, create_store, float_dtype, tile

READ, WRITE = "ingest: read files", "ingest: write survey"
_DUPLICATES = "duplicates.rejected.jsonl"


@dataclass(frozen=True)
class IngestSummary:
    """What came of it: stars in the survey, quarantined rows, stars with labels."""

    stars: int
    quarantined: int
    """Quarantined rows of the files that give the stars (spectra, or else source)."""
    labelled: int
    files: int
    seconds: float
    quarantined_by_kind: Mapping[str, int]
    """Quarantined rows by kind of file: spectra, source, xp, labels."""
    reasons: Mapping[str, int]
    """Quarantined rows by reason, of all files."""
    special_values: Mapping[str, int] = field(default_factory=dict)
    """Values taken as missing and identifiers that are no integers, by ``variable: what``."""
    repeats: int = 0
    """Rows of stars beyond the first of each; ``ingest.repeats`` says what became of them."""

    @property
    def unusable_files(self) -> int:
        """Files, and members of zip archives, of which nothing could be used."""
        return self.reasons.get(Reason.UNUSABLE_FILE, 0)


def build_survey(
    archive: Path,
    survey: Address,
    config: IngestConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
) -> IngestSummary:
    """Read, join, prepare and store every star of an archive folder.

    Raises
    ------
    InputError : files are missing or on another grid, or all of a kind are broken.
    FingerprintMismatch : the survey, or its half, was made from other files or settings.
    ConfigError : the configuration names no rows, or a reader that does not exist.
    """
    begun = time.monotonic()
    plan = plan_ingest(archive, survey, config, listener)
    if _is_made(plan):
        return _already_there(plan, executor, begun)
    with _alone(plan.survey):
        if _is_made(plan):  # by an ingest that has ended just now
            return _already_there(plan, executor, begun)
        parts, quarantined = _make_parts(plan, executor)
        parts, repeats = _without_duplicates(plan, parts)
        quarantined[plan.main_kind] += repeats.rejected
        store = _create_store(plan, parts, quarantined)
        _fill_shards(plan, store, parts, executor)
        further = sum(part.found.get(REPEATS, 0) for part in parts.values())
        further += repeats.dropped + repeats.further
        return _finish(plan, store, parts, quarantined, further, begun=begun)


def _is_made(plan: IngestPlan) -> bool:
    """Whether the survey is there; one that is not complete only if it is not being made there."""
    if not plan.survey.exists():
        return False
    return plan.draft != plan.survey or bool(Store.open(plan.survey).attrs.get("complete"))


@contextmanager
def _alone(survey: Location) -> Iterator[None]:
    """The survey, and the folder of work on it, are this ingest's alone while the block runs.

    Raises
    ------
    StoreError : another ingest holds it; says who.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(staging_folder(survey)))
            if not isinstance(survey, LocalLocation):
                stack.enter_context((survey.parent / f".{survey.name}.ingest").lock())
        except LockHeld as held:
            raise StoreError(
                f"another ingest makes this survey: {held.problem}",
                expected="one ingest per survey",
                cure=f"{held.cure} Or give another path for the survey.",
            ) from None
        yield


# --- parts -----------------------------------------------------------------------------------


def _make_parts(plan: IngestPlan, executor: Executor) -> tuple[dict[str, PartRecord], Counter[str]]:
    """Records of all parts by name, in order, and numbers of quarantined rows by kind."""
    # Labels alone are soon read again: a run that was refused for its spectra blocks nothing, nor
    # does one whose spectra were all quarantined.
    ledger = Ledger.open(
        plan.staging_folder / "parts.jsonl",
        plan.fingerprint(),
        disposable={"labels"},
        is_worthless=lambda entry: entry.get("kept") == 0,
        cure=_begin_again(plan),
    )
    stamp_recorded(plan, executor, ledger)
    check_inputs(plan, ledger, _begin_again(plan))
    mended = _mended(plan, ledger)
    labels = stage_labels(plan, ledger)
    tasks = plan.part_tasks(labels, staged_velocities(plan))
    folder = plan.parts_folder
    done = {t.name for t in tasks if t.name in ledger.done and (folder / t.name).exists()}
    done -= mended
    plan.listener(StageStarted(READ, len(tasks), "files", len(done)))
    _run_tasks(plan, ledger, executor, [task for task in tasks if task.name not in done])
    check_inputs(plan, ledger, _begin_again(plan))
    stamp(plan, executor)  # what no part has read
    parts = {task.name: PartRecord.from_json(ledger.done[task.name]) for task in tasks}
    stars = sum(part.kept for part in parts.values())
    plan.listener(StageEnded(READ, {"files": len(tasks), "stars": stars}))
    quarantined = Counter[str]()
    if plan.config.labels is not None:
        quarantined["labels"] = ledger.done["labels"]["rejected"]
        quarantined.update(ledger.done["labels"]["of_crosswalk"])
    for part in parts.values():
        quarantined.update(part.rejected)
    _tell(plan, ledger, list(parts.values()))
    of_labels = ledger.done.get("labels", {}).get("special_values", {})
    check_releases(plan, [of_labels, *(part.special_values for part in parts.values())])
    return parts, quarantined


def _tell(plan: IngestPlan, ledger: Ledger, records: Sequence[PartRecord]) -> None:
    """Tell what was not read, and files and joins that came to nothing."""
    of_labels = ledger.done.get("labels", {})
    failures = [failure for record in records for failure in record.failures]
    tell_failures(plan, failures_of([*failures, *of_labels.get("failures", [])]))
    unread = [note for record in records for note in record.unread]
    read = {where for record in records for where in record.read_beside}
    read |= set(of_labels.get("read_beside", []))
    notes = (Unread(**note) for note in [*unread, *of_labels.get("unread", [])])
    tell_unread(plan, (note for note in notes if note.where not in read))
    for sentence in (*poor_joins(plan, records, staged_labels(plan)), *not_shifted(plan, records)):
        plan.listener(Notice(f"{sentence}.", "warning"))


def _mended(plan: IngestPlan, ledger: Ledger) -> set[str]:
    """Parts for which a file is usable now that was not; the draft of the store lacks its rows."""
    mended = {name for name, entry in ledger.done.items() if is_mended(plan, entry)}
    if "labels" in mended:  # every part holds labels
        mended = set(ledger.done)
    if mended:
        plan.draft.remove()
    return mended


def _run_tasks(
    plan: IngestPlan, ledger: Ledger, executor: Executor, tasks: Sequence[PartTask]
) -> None:
    """Make the parts and note each in the ledger; those that can be made are, whatever fails."""
    failures: list[TaskResult[PartTask, PartRecord]] = []
    made = _records_of_others(ledger, tasks)
    doubtful: dict[str, PartRecord] = {}
    for result in executor(make_part, tasks):
        if result.error is not None:
            failures.append(result)
            continue
        record = result.unwrap().relative_to(plan.archive)
        if record.failures:
            # Not noted as done before it is known that the survey can do without these files.
            doubtful[result.task.name] = record
        else:
            ledger.record(result.task.name, **vars(record))
            made.append(record)
        plan.listener(Advanced(READ, 1, f"{record.kept} stars"))
    if failures:
        raise _first_error(failures)
    check_files(plan, [*made, *doubtful.values()])
    for name, record in doubtful.items():
        ledger.record(name, **vars(record))


def _records_of_others(ledger: Ledger, tasks: Sequence[PartTask]) -> list[PartRecord]:
    """Records of the parts that an earlier run has made."""
    here = {task.name for task in tasks} | {"labels"}
    others = (entry for name, entry in ledger.done.items() if name not in here)
    return [PartRecord.from_json(entry) for entry in others]


def _first_error(failures: Sequence[TaskResult[PartTask, PartRecord]]) -> BaseException:
    """The error of the first file that failed, naming the others that did."""
    first = min(failures, key=lambda result: result.task.name)
    error = first.error
    assert error is not None
    if len(failures) > 1 and isinstance(error, DistcnnError):
        others = sorted(o.task.name for o in failures if o is not first)
        named = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        cure = f"{error.cure} {len(others)} more failed: {named}.".strip()
        return type(error)(error.problem, expected=error.expected, cure=cure)
    return error


def _begin_again(plan: IngestPlan) -> str:
    return (
        f"Ask for the same again, use another output path, or begin again: --restart removes "
        f"{plan.staging_folder}."
    )


def discard_unfinished(survey: Address) -> None:
    """Remove what an ingest to ``survey`` has left unfinished; a finished survey stays.

    Raises
    ------
    StoreError : another ingest works there.
    """
    place, staging = Location.parse(survey), staging_folder(survey)
    begun = not isinstance(place, LocalLocation) and place.exists()
    if not (staging.is_dir() or begun):
        return
    with _alone(place):
        empty_folder(staging)
        if begun and not Store.open(place).attrs.get("complete"):
            place.remove()


# --- the empty store -------------------------------------------------------------------------


def _without_duplicates(
    plan: IngestPlan, parts: Mapping[str, PartRecord]
) -> tuple[dict[str, PartRecord], RepeatedSpectra]:
    """Parts of whose rows each is one of the survey, and what became of the others."""
    rule = plan.config.repeats if plan.main_kind == "spectra" else "first"
    rejected = plan.staging_folder / _DUPLICATES
    found = resolve_repeats(plan.parts_folder, parts, rejected, rule)
    if not found.dropped:
        return dict(parts), found
    return {name: _recounted(plan, name, record) for name, record in parts.items()}, found


def _recounted(plan: IngestPlan, name: str, record: PartRecord) -> PartRecord:
    part = Part(plan.parts_folder / name)
    rows = kept_rows(part)
    labelled = record.labelled
    if plan.config.labels is not None:
        labelled = int(np.isfinite(part.read("label")[rows]).any(axis=1).sum())
    return replace(record, kept=len(rows), labelled=labelled)


def _first_reason(plan: IngestPlan, parts: Mapping[str, PartRecord]) -> str:
    """``; the first, a.fits, row 3: the reason``; nothing if no row was quarantined."""
    for name in parts:
        path = Part(plan.parts_folder / name).rejected
        with path.open(encoding="utf-8") if path.exists() else nullcontext(()) as lines:
            row = next((json.loads(line) for line in lines), None)
        if row is not None:
            return f"; the first, {Path(row['file']).name}, row {row['row']}: {row['detail']}"
    return ""


def _create_store(
    plan: IngestPlan, parts: Mapping[str, PartRecord], quarantined: Mapping[str, int]
) -> Store:
    """The whole store, empty, or the half-filled one that an earlier run left."""
    stars = sum(part.kept for part in parts.values())
    if not stars:
        joins = "".join(f"; {text}" for text in poor_joins(plan, list(parts.values()), None))
        raise InputError(
            f"no star of {plan.archive} is left: {quarantined.get(plan.main_kind, 0)} rows "
            f"were quarantined{_first_reason(plan, parts)}{joins}",
            expected="at least one star",
            cure=f"See the reasons in {plan.parts_folder}/*/rejected.jsonl.",
        )
    if plan.draft.exists():
        return Store.open(plan.draft, "survey")
    layout = survey_layout(
        plan.config,
        stars,
        plan.output_grid(),
        error_dtype=_error_dtype(parts.values()),
        attrs=_attrs(plan),
        grid=plan.input_grid(),
        flux_unit=stored_flux_unit(plan.config, plan.statements()),
        has_names=any(part.has_names for part in parts.values()),
    )
    return create_store(plan.draft, layout)


def _error_dtype(parts: Iterable[PartRecord]) -> str | None:
    """The type that holds the flux errors of all parts; None if there are none."""
    known = [part for part in parts if part.has_error]
    if not known:
        return None
    return float_dtype(min(p.error_low for p in known), max(p.error_high for p in known))


def _attrs(plan: IngestPlan) -> dict[str, Any]:
    config = plan.config
    return {
        "survey": config.survey,
        "release": config.release,
        "labels": list(config.labels.labels) if config.labels else [],
        **_own_labels(config),
        **({"unlabelled": plan.unlabelled} if plan.unlabelled else {}),
        "bands": list(config.bands) if config.source is not None else [],
        **({SNR_INTERVAL: config.snr.stated} if config.snr.stated else {}),
        "ingest": config.model_dump(mode="json"),
        "inputs": plan.inputs,
        "files": {kind: len(paths) for kind, paths in plan.files.items()},
        "fingerprint": hashing.of_value(plan.fingerprint()),
        "distcnn_version": __version__,
        "complete": False,
    }


def _own_labels(config: IngestConfig) -> dict[str, Any]:
    """What the survey says of labels that the schema does not tell of, if it has any."""
    if config.labels is None:
        return {}
    found = described(config.labels.labels, config.labels.own)
    return {ATTRIBUTE: found} if found else {}


# --- shards ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardTask:
    """One region of the survey and the kept rows of parts that make it up."""

    survey: str
    region: Region
    slices: tuple[RowSlice, ...]


def fill_shard(task: ShardTask) -> str:
    """Write one region from its parts; returns the digest of what was stored."""
    store = Store.open(task.survey, "survey")
    return store.write(task.region, read_slices(task.slices, store.variables))


def _fill_shards(
    plan: IngestPlan, store: Store, parts: Mapping[str, PartRecord], executor: Executor
) -> None:
    ledger = Ledger.open(
        store.private / "ledger.jsonl", {"inputs": plan.inputs, **plan.fingerprint()}
    )
    kept = {name: part.kept for name, part in parts.items()}
    regions = tile(store.stars, shard=store.shard_stars)
    done = sum(region.size for region in regions if region.name in ledger.done)
    waiting = (region for region in regions if region.name not in ledger.done)
    tasks = (
        ShardTask(store.location.address, r, row_slices(plan.parts_folder, kept, r))
        for r in waiting
    )
    plan.listener(StageStarted(WRITE, store.stars, "stars", done))
    with ledger.flushed():
        for result in executor(fill_shard, tasks):
            region = result.task.region
            ledger.record(region.name, result.unwrap())
            plan.listener(Advanced(WRITE, region.size, region.name))


def _finish(
    plan: IngestPlan,
    store: Store,
    parts: Mapping[str, PartRecord],
    quarantined: Mapping[str, int],
    repeats: int,
    *,
    begun: float,
) -> IngestSummary:
    lists = [Part(plan.parts_folder / name).rejected for name in parts]
    lists += [plan.staging_folder / name for name in (LABELS_REJECTED, _DUPLICATES)]
    lists = [path for path in lists if path.exists()]
    ledger = Ledger.open(plan.staging_folder / "parts.jsonl", plan.fingerprint())
    special = Counter[str](ledger.done.get("labels", {}).get("special_values", {}))
    for part in parts.values():
        special.update(part.special_values)
    counts = {
        "stars": store.stars,
        "quarantined": quarantined.get(plan.main_kind, 0),
        "labelled": sum(part.labelled for part in parts.values()),
        "files": len(plan.paths),
        "repeats": repeats,
        # The key of surveys from before the name "quarantined by kind"; they must stay readable.
        "put_aside": {kind: number for kind, number in quarantined.items() if number},
        "special_values": dict(sorted(special.items())),
        "reasons": write_quarantine(store.private / "quarantine.parquet", lists, plan.archive),
    }
    store.annotate({"counts": counts, "complete": True})
    if store.location != plan.survey:
        store.location.move_to(plan.survey)
    shutil.rmtree(plan.staging_folder)
    return _summary(plan, counts, begun)


def _summary(plan: IngestPlan, counts: Mapping[str, Any], begun: float) -> IngestSummary:
    seconds = time.monotonic() - begun
    numbers = {key: value for key, value in counts.items() if key != "put_aside"}
    summary = IngestSummary(**numbers, quarantined_by_kind=counts["put_aside"], seconds=seconds)
    for notice in notices_of(summary.special_values):
        plan.listener(notice)
    if summary.repeats and plan.main_kind == "spectra":
        plan.listener(Notice(repeats_sentence(plan.config, summary.repeats), "warning"))
    if summary.reasons:
        named = ", ".join(f"{reason} {number}" for reason, number in summary.reasons.items())
        rows = sum(summary.reasons.values()) - summary.unusable_files
        files = f" and {summary.unusable_files} files" if summary.unusable_files else ""
        where = plan.survey / ".distcnn" / "quarantine.parquet"
        text = f"{rows} rows{files} were quarantined ({named}); see {where}."
        plan.listener(Notice(text, "warning"))
    facts = {"stars": summary.stars, "quarantined": summary.quarantined}
    plan.listener(StageEnded(WRITE, {**facts, "labelled": summary.labelled, "seconds": seconds}))
    return summary


def _already_there(plan: IngestPlan, executor: Executor, begun: float) -> IngestSummary:
    store = Store.open(plan.survey, "survey")
    if not store.attrs.get("complete"):
        raise StoreError(f"{plan.survey} is not complete", cure="Remove it and ingest again.")
    stamp(plan, executor)
    # Opening compares every setting and every input with what the survey was made from.
    Ledger.open(store.private / "ledger.jsonl", {"inputs": plan.inputs, **plan.fingerprint()})
    shutil.rmtree(plan.staging_folder, ignore_errors=True)
    plan.listener(Notice(f"{plan.survey} is complete already; nothing to do."))
    return _summary(plan, store.attrs["counts"], begun)
