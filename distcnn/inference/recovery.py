"""Recovery: failure isolation by bisection, for a region that fails again and again.

First, what cannot be read fails star by star instead of as a region. Then the region is
halved until the stars that break the computation stand alone; they are left out, and the
region is computed without them. No star is lost, and every failed one has its reason.
"""

from collections.abc import Callable
from functools import partial

from distcnn.errors import ClusterError, DistcnnError, PlaceUnreachable, StoreCorrupt
from distcnn.events import Listener, Notice
from distcnn.executor import Executor, TaskResult
from distcnn.inference.worker.compute import RegionTask, blocks
from distcnn.inference.worker.region import PredictionRun, WorkerFunctions
from distcnn.survey import Region, RegionResult

_MIN_SYSTEMATIC_FAILURES = 16
"""Parts of one level of the bisection [count]: when so many are tried and every one fails, no
single stars are to blame."""

Failure = TaskResult[RegionTask, int]
Probe = Callable[[RegionTask], int]


def is_fatal(error: BaseException) -> bool:
    """Whether a failure concerns the whole run: a package, a full disk, not a few stars."""
    # The root class stands for an error that could not be pickled by its worker: it may have
    # been anything, so it is treated as a failure of some stars.
    known = isinstance(error, DistcnnError) and type(error) is not DistcnnError
    return known and not isinstance(error, StoreCorrupt | ClusterError | PlaceUnreachable)


def isolate_failures(
    functions: WorkerFunctions,
    run: PredictionRun,
    region: Region,
    executor: Executor,
    listener: Listener,
) -> RegionResult:
    """Compute and store a region without the stars that break it.

    Raises
    ------
    StoreCorrupt : the source_id of the region cannot be read from the survey.
    Exception : the failure of the region, if no single stars are to blame.
    """
    compute = partial(functions.region, run)
    (first,) = executor(compute, [RegionTask(region, lenient=True)])
    if first.error is None:
        return first.unwrap()
    _raise_if_fatal(first.error)
    listener(Notice(f"Region {region.name} failed; looking for the stars to blame", "warning"))
    failing = _bisect(partial(functions.probe, run), region, executor)
    if not failing:
        raise first.error
    (second,) = executor(compute, [RegionTask(region, lenient=True, failed=failing)])
    return second.unwrap()


def _raise_if_fatal(error: BaseException) -> None:
    # A store that cannot be reached is no star's fault.
    if is_fatal(error) or isinstance(error, StoreCorrupt | PlaceUnreachable):
        raise error


def _bisect(probe: Probe, region: Region, executor: Executor) -> tuple[tuple[int, str], ...]:
    """Rows that fail alone, with the reason.

    All parts of one level are tried at once, so a region of 65,536 stars needs 17 rounds.
    """
    failing: list[tuple[int, str]] = []
    parts = _halves(region)
    while parts:
        failures = _failures(probe, parts, executor)
        if len(failures) == len(parts) >= _MIN_SYSTEMATIC_FAILURES:
            failures[0].unwrap()  # raises the failure
        alone = [failure for failure in failures if failure.task.region.size == 1]
        failing += [(failure.task.region.start, _reason(failure)) for failure in alone]
        larger = [failure.task.region for failure in failures if failure.task.region.size > 1]
        parts = [half for part in larger for half in _halves(part)]
    return tuple(sorted(failing))


def _failures(probe: Probe, parts: list[Region], executor: Executor) -> list[Failure]:
    tasks = [RegionTask(part, lenient=True) for part in parts]
    results = list(executor(probe, tasks))
    for result in results:
        if result.error is not None:
            _raise_if_fatal(result.error)
    return sorted((r for r in results if r.error is not None), key=lambda r: r.task.region)


def _halves(region: Region) -> list[Region]:
    return blocks(region, -(-region.size // 2))


def _reason(failure: Failure) -> str:
    error = failure.error
    if isinstance(error, ClusterError):
        return "the worker dies while computing this star"
    return f"the computation fails with {type(error).__name__}: {error}"
