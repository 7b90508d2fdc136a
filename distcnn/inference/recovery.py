"""Rescue: what becomes of a region that fails again and again.

First, what cannot be read fails star by star instead of as a region. Then the region is
halved until the stars that break the computation stand alone; they are left out, and the
region is computed without them. No star is lost, and every failed one has its reason.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from distcnn.errors import ClusterError, DistcnnError, StoreCorrupt
from distcnn.events import Listener, Notice
from distcnn.executor import Executor, TaskResult
from distcnn.inference.compute import RegionTask, blocks
from distcnn.inference.region import Job, Work
from distcnn.survey import Region

# A level of the search at which so many pieces all fail does not speak of single stars.
_ALL = 16

Facts = dict[str, Any]
Failure = TaskResult[RegionTask, Any]
Probe = Callable[[RegionTask], int]


def ends_the_run(error: BaseException) -> bool:
    """Whether a failure concerns the whole run: a package, a full disk, not a few stars."""
    # The root class stands for an error that could not travel from its worker: anything.
    known = isinstance(error, DistcnnError) and type(error) is not DistcnnError
    return known and not isinstance(error, StoreCorrupt | ClusterError)


def rescue(work: Work, job: Job, region: Region, executor: Executor, listener: Listener) -> Facts:
    """Compute a region without the stars that break it; returns its facts.

    Raises
    ------
    StoreCorrupt : the source_id of the region cannot be read from the survey.
    Exception : the failure of the region, if no single stars are to blame.
    """
    outcome = _try(work, job, RegionTask(region, lenient=True), executor)
    if outcome.error is not None:
        _raise_if_hopeless(outcome.error)
        listener(Notice(f"Region {region.name} failed; looking for the stars to blame", "warning"))
        blamed = _search(partial(work.probe, job), region, executor)
        if not blamed:
            raise outcome.error
        outcome = _try(work, job, RegionTask(region, lenient=True, failed=blamed), executor)
    facts: Facts = outcome.unwrap()
    return facts


def _try(
    work: Work, job: Job, task: RegionTask, executor: Executor
) -> TaskResult[RegionTask, Facts]:
    (outcome,) = executor(partial(work.region, job), [task])
    return outcome


def _raise_if_hopeless(error: BaseException) -> None:
    if ends_the_run(error) or isinstance(error, StoreCorrupt):
        raise error


def _search(probe: Probe, region: Region, executor: Executor) -> tuple[tuple[int, str], ...]:
    """Rows that fail alone, with the reason."""
    blamed: list[tuple[int, str]] = []
    pieces = _halves(region)
    while pieces:
        failures = _failures(probe, pieces, executor)
        if len(failures) == len(pieces) >= _ALL:
            raise failures[0].unwrap()
        alone = [failure for failure in failures if failure.task.region.size == 1]
        blamed += [(failure.task.region.start, _reason(failure)) for failure in alone]
        broken = [failure.task.region for failure in failures if failure.task.region.size > 1]
        pieces = [half for piece in broken for half in _halves(piece)]
    return tuple(sorted(blamed))


def _failures(probe: Probe, pieces: list[Region], executor: Executor) -> list[Failure]:
    tasks = [RegionTask(piece, lenient=True) for piece in pieces]
    outcomes = list(executor(probe, tasks))
    for outcome in outcomes:
        if outcome.error is not None:
            _raise_if_hopeless(outcome.error)
    return sorted((o for o in outcomes if o.error is not None), key=lambda o: o.task.region)


def _halves(region: Region) -> list[Region]:
    return blocks(region, -(-region.size // 2))


def _reason(failure: Failure) -> str:
    error = failure.error
    if isinstance(error, ClusterError):
        return "the worker dies while computing this star"
    return f"the computation fails with {type(error).__name__}: {error}"
