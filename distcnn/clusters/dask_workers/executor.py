"""An executor over Dask workers: explicit futures, a bounded window, attempts counted here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, islice
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import uuid4

from distributed import Future, KilledWorker
from distributed.client import ClosedClientError

from distcnn.clusters.dask_workers.gang import RERUN, alive_workers, run_together
from distcnn.clusters.dask_workers.preflight.run import preflight
from distcnn.clusters.dask_workers.private import submit
from distcnn.clusters.dask_workers.starting.arrival import count_workers, nothing_known
from distcnn.clusters.dask_workers.task import attempt_batch, dumps, unpacked
from distcnn.clusters.places import Findings, Places
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError, SchedulerLost, WorkerUnfit
from distcnn.events import Listener
from distcnn.executor import Result, Task, TaskResult, task_text
from distcnn.formatting import format_bytes

Answer = TypeVar("Answer")
POLL_S = 2.0
"""Time without a result after which the workers are counted."""
BATCH_S = 0.2
"""Short tasks are sent to a worker together, as many as take about this long [s]."""
MAX_BATCH_TASKS = 32
"""Most tasks that are sent together. A batch also is at most 1/32 of the tasks that have ended,
so that few are taken before it is known that they are short."""


class DaskExecutor:
    """Runs tasks on the workers of a Dask client.

    Parameters
    ----------
    client : a connected ``distributed.Client`` (untyped upstream); the caller closes it.
    config : in_flight [tasks per worker], attempts, patience [s].
    workers : how many tasks run at the same time.
    dashboard : address of the dashboard, if any.
    why : what the backend knows of workers that are lost (see ``arrival``).
    coming : whether workers may still come although none is there (jobs that wait in a queue);
        raises ``ClusterError`` where the backend knows that none will.
    required_settings : of Dask, that a scheduler started by others must have.
    """

    def __init__(
        self,
        client: Any,
        config: ClusterConfig,
        *,
        workers: int,
        dashboard: str | None = None,
        why: Callable[[], str] = nothing_known,
        coming: Callable[[], bool] = lambda: False,
        required_settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.client = client
        self.config = config
        self.workers = workers
        self.dashboard = dashboard
        self._windows: set[_Window[Any, Any]] = set()
        self.why = why
        self.coming = coming
        self.required_settings = required_settings
        self.findings = Findings()

    def __call__(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[TaskResult[Task, Result]]:
        """Results in the order of completion; at most ``in_flight`` tasks per worker are begun.

        Closing the iterator, or an exception here, cancels what is in flight.

        Raises
        ------
        ClusterError : no worker lives for ``patience`` seconds, or the scheduler is gone.
        WorkerUnfit : one has joined that preflight would have refused.
        """
        window = _Window(self, function)
        self._windows.add(window)
        waiting = iter(tasks)
        try:
            while True:
                window.fill(waiting)
                if not window.tries:
                    return
                yield from window.next_results()
        finally:
            self._windows.discard(window)
            window.cancel()

    def in_flight(self) -> dict[str, str]:
        """What has been begun and has not ended: key of the Dask task -> its text."""
        begun = (one for window in tuple(self._windows) for one in tuple(window.tries.values()))
        return {one.key: ", ".join(map(task_text, one.tasks)) for one in begun}

    def preflight(self, places: Places, listener: Listener) -> Findings:
        """Look at the scheduler and every worker before any work; see ``preflight``."""
        self.findings = preflight(
            self.client, self.config, places, listener, self.required_settings
        )
        return self.findings

    def alive_workers(self) -> int:
        """How many workers answer just now."""
        return len(alive_workers(self.client))

    def max_group_size(self) -> int:
        """One task per worker."""
        return self.alive_workers()

    def together(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> list[TaskResult[Task, Result]]:
        """All tasks at the same time on workers of their own; see ``executor.Gang``."""
        results = run_together(
            self.client, function, tasks, self.config.threads, self.findings.identity
        )
        if any(isinstance(result.error, ClusterError) for result in results):
            known = self.why()
            return [_explained(result, known) for result in results]
        return results


def _explained(result: TaskResult[Task, Result], known: str) -> TaskResult[Task, Result]:
    """The same, with what the backend knows of a worker that was lost."""
    lost = result.error
    if not isinstance(lost, ClusterError):
        return result
    problem = _with_known(lost.problem, known)
    return replace(result, error=ClusterError(problem, expected=lost.expected, cure=lost.cure))


def _with_known(problem: str, known: str) -> str:
    return f"{problem} ({known})" if known else problem


@dataclass(frozen=True)
class _Try(Generic[Task]):
    """A batch of tasks that has been begun together, most often of one."""

    tasks: tuple[Task, ...]
    attempt: int
    key: str
    future: Future[tuple[list[bytes], float]]


class _Window(Generic[Task, Result]):
    """The tasks in flight for one call of an executor."""

    def __init__(self, executor: DaskExecutor, function: Callable[[Task], Result]) -> None:
        self.client, self.config, self.why = executor.client, executor.config, executor.why
        self.coming, self.wanted = executor.coming, executor.findings.identity
        self.size = executor.workers * executor.config.in_flight
        self.function = dumps(function)
        self.tries: dict[str, _Try[Task]] = {}
        self.done: SimpleQueue[str] = SimpleQueue()
        name = getattr(function, "__name__", type(function).__name__)
        self.keys = (f"{name}-{uuid4().hex}-{number}" for number in count())
        self.ended = 0
        self.seconds = inf  # of a task on its worker, lately

    def fill(self, waiting: Iterator[Task]) -> None:
        while len(self.tries) < self.size:
            tasks = tuple(islice(waiting, self._batch_size()))
            if not tasks:
                return
            self.begin(tasks, 1)

    def _batch_size(self) -> int:
        """A task through Dask costs 3 ms in this process and at the scheduler: much where tasks
        are short, nothing beside long ones, which go alone. So do all where a task may be begun
        once only: one that kills its worker would take the others along.
        """
        if self.config.attempts == 1 or self.seconds > BATCH_S:
            return 1
        fitting = int(BATCH_S / max(self.seconds, BATCH_S / MAX_BATCH_TASKS))
        return max(1, min(fitting, self.ended // MAX_BATCH_TASKS))

    def begin(self, tasks: tuple[Task, ...], attempt: int) -> None:
        key = next(self.keys)
        what = (self.function, [dumps(task) for task in tasks], self.config.threads, self.wanted)
        try:
            future = submit(self.client, key, attempt_batch, *what)
        except ClosedClientError as lost:
            raise _gone(lost) from lost
        self.tries[key] = _Try(tasks, attempt, key, future)
        future.add_done_callback(lambda _: self.done.put(key))

    def next_results(self) -> list[TaskResult[Task, Result]]:
        """Wait for a batch to end; nothing if its worker died and it is to be done again."""
        ended = self.tries[self._next_key()]
        results = self._results_of(ended)
        del self.tries[ended.key]
        ended.future.release()  # type: ignore[no-untyped-call]
        if not isinstance(results[0].error, KilledWorker):
            self.ended += len(results)
            return results
        if ended.attempt < self.config.attempts:
            for task in ended.tasks:  # each by itself: one of them may be deadly
                self.begin((task,), ended.attempt + 1)
            return []
        return [TaskResult(t, None, self._given_up(ended), ended.attempt) for t in ended.tasks]

    def cancel(self) -> None:
        """Forget everything in flight. What a worker is in the middle of, it ends unheard."""
        futures = [begun.future for begun in self.tries.values()]
        self.tries.clear()
        if futures and self.client.status == "running":
            with suppress(OSError, CancelledError):  # the connection may break just now
                self.client.cancel(futures, force=True)

    def _next_key(self) -> str:
        return self._patiently(lambda: self.done.get(timeout=POLL_S), Empty)

    def _results_of(self, ended: _Try[Task]) -> list[TaskResult[Task, Result]]:
        """Of every task of a batch; never empty."""
        try:
            packed, seconds = self._patiently(
                lambda: ended.future.result(timeout=POLL_S), TimeoutError
            )
        except ClusterError:
            raise
        except CancelledError as lost:
            raise _gone(lost) from lost
        except TypeError as unknown:
            # An older ``attempt_batch``; what a task raises comes as its result.
            raise WorkerUnfit(f"a worker has not our code ({unknown})", cure=RERUN) from unknown
        except Exception as broken:  # a result carries any failure of its task
            return [TaskResult(task, None, broken, ended.attempt) for task in ended.tasks]
        self.seconds = seconds / len(packed)
        return [
            self._unpacked(task, data, ended.attempt)
            for task, data in zip(ended.tasks, packed, strict=True)
        ]

    def _unpacked(self, task: Task, data: bytes, attempt: int) -> TaskResult[Task, Result]:
        try:
            value, error = unpacked(data)
        except Exception as broken:  # it came, but cannot be made here
            return TaskResult(task, None, broken, attempt)
        if isinstance(error, WorkerUnfit):
            raise error
        return TaskResult(task, value, error, attempt)

    def _patiently(self, ask: Callable[[], Answer], nothing_yet: type[Exception]) -> Answer:
        """Ask again and again as long as there are workers that may answer."""
        alive = monotonic()
        while True:
            try:
                return ask()
            except nothing_yet:
                if count_workers(self.client) or self.coming():
                    alive = monotonic()
            if monotonic() - alive > self.config.patience:
                raise self._all_lost()

    def _all_lost(self) -> ClusterError:
        text = f"no worker has been alive for {self.config.patience:g} s"
        return ClusterError(_with_known(text, self.why()), cure=RERUN)

    def _given_up(self, ended: _Try[Task]) -> ClusterError:
        times = "once" if ended.attempt == 1 else f"{ended.attempt} times"
        problem = f"the worker died {times} while it ran {str(ended.tasks[0])[:200]}"
        return ClusterError(
            _with_known(problem, self.why()),
            expected=f"a worker needs less than {format_bytes(self.config.memory_limit)} of memory",
            cure="Raise resources.memory, or take fewer workers, and run the command again.",
        )


def _gone(lost: BaseException) -> SchedulerLost:
    # Dask tells it in several lines.
    return SchedulerLost(f"the scheduler is gone ({' '.join(str(lost).split())})", cure=RERUN)
