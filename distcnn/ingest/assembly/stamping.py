"""Content hashes of an archive's files, taken where the files are read: by the workers.

Making a part stamps its files anyway; only what an earlier run was made from, and files that no
part reads, are stamped by tasks of their own. So the driver opens none of 100,000 files.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distcnn.errors import FingerprintMismatch
from distcnn.executor import Executor
from distcnn.ingest.matching import content_hash
from distcnn.ingest.plan import IngestPlan
from distcnn.survey import Ledger

FILES_OF_A_TASK = 1000
"""Files stamped by one task: about a second of reading."""
FEW_FILES = 100
"""Files that are stamped without a task: it would cost as much."""


@dataclass(frozen=True)
class StampTask:
    """Files to stamp; the first of them names the task."""

    name: str
    paths: tuple[Path, ...]


def stamp_files(task: StampTask) -> tuple[str, ...]:
    """Content hashes of the files of a task."""
    return tuple(map(content_hash, task.paths))


def stamp(plan: IngestPlan, executor: Executor, names: Iterable[str] | None = None) -> None:
    """Have files stamped that are not yet: those of ``names`` within the archive, or all."""
    wanted = plan.paths if names is None else dict.fromkeys(names)
    missing = [name for name in wanted if name not in plan.content_hashes and name in plan.paths]
    if len(missing) <= FEW_FILES:
        plan.content_hashes.update((name, content_hash(plan.paths[name])) for name in missing)
        return
    pieces = [missing[n : n + FILES_OF_A_TASK] for n in range(0, len(missing), FILES_OF_A_TASK)]
    tasks = {piece[0]: piece for piece in pieces}
    stamps = (StampTask(name, tuple(plan.paths[n] for n in tasks[name])) for name in tasks)
    for result in executor(stamp_files, stamps):
        names_of_task = tasks[result.task.name]
        plan.content_hashes.update(zip(names_of_task, result.unwrap(), strict=True))


def stamp_recorded(plan: IngestPlan, executor: Executor, ledger: Ledger) -> None:
    """Have the files stamped that an earlier run has read, as far as they are there."""
    records = list(ledger.done.values())
    inputs = [name for record in records for name in record["inputs"]]
    failed = [one["file"] for record in records for one in record.get("failures", [])]
    stamp(plan, executor, dict.fromkeys([*inputs, *failed]))


def check_inputs(plan: IngestPlan, ledger: Ledger, cure: str) -> None:
    """Refuse files that are others now than a part of the ledger was made from.

    Files may be mended as long as nothing was made from them. What parts know of files that
    were not stamped before becomes the plan's.

    Raises
    ------
    FingerprintMismatch : names the first such file.
    """
    for record in ledger.done.values():
        known: Mapping[str, Any] = record["inputs"]
        for name, found in known.items():
            if name not in plan.paths or plan.content_hashes.setdefault(name, found) != found:
                raise FingerprintMismatch(
                    f"{plan.archive / name} has changed since a part of {plan.staging_folder} "
                    "was made from it",
                    expected="the same file",
                    cure=cure,
                )
        for failure in record.get("failures", []):
            plan.content_hashes.setdefault(failure["file"], failure["hash"])
