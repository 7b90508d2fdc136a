"""Parts: one task per file of spectra, or several small ones, each noted in a ledger.

What can be made is, whatever fails; an error names the first file that failed and counts the
others. A part whose file is another one now is made again.
"""

from collections import Counter
from collections.abc import Sequence

from distcnn.errors import DistcnnError
from distcnn.events import Advanced, Notice, StageEnded, StageStarted
from distcnn.executor import Executor, TaskResult
from distcnn.ingest.assembly.stamping import check_inputs, stamp, stamp_recorded
from distcnn.ingest.outcome import (
    check_files,
    check_releases,
    failures_of,
    is_mended,
    not_shifted,
    override_sentences,
    poor_joins,
    tell_failures,
    tell_unread,
)
from distcnn.ingest.plan import IngestPlan, PartTask
from distcnn.ingest.readers.formats.containers import Unread
from distcnn.ingest.staging.labels import stage_labels, staged_labels, staged_velocities
from distcnn.ingest.staging.part import PartRecord, make_part
from distcnn.survey import Ledger

READ = "ingest: read files"


def make_parts(plan: IngestPlan, executor: Executor) -> tuple[dict[str, PartRecord], Counter[str]]:
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
    sentences = [*poor_joins(plan, records, staged_labels(plan)), *not_shifted(plan, records)]
    for sentence in (*sentences, *override_sentences(plan, records)):
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
