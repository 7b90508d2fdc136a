"""Gang: tasks that run at the same time, each pinned to a worker of its own.

All or nothing: either every task has a worker, or none is begun. One lock per scheduler keeps
two such calls apart, so that neither waits for workers that the other holds. The lock is a
lease which its client renews: it falls free when the client dies.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic
from uuid import uuid4

from distributed import KilledWorker
from distributed.client import ClosedClientError

from distcnn.clusters.dask_workers.private import make_lease, stop_renewing, submit
from distcnn.clusters.dask_workers.task import attempt, dumps, unpacked
from distcnn.errors import ClusterError, SchedulerLost, WorkerUnfit
from distcnn.executor import Cancelled, Result, Task, TaskResult

LEASE_NAME = "distcnn-together"
"""Of the lock that keeps the groups of two clients apart."""
POLL_S = 0.5
"""Longest time between two looks at what has ended."""
GRACE_S = 1.0
"""Time after the first failure in which others may report theirs: that may be the cause."""
RESULT_TIMEOUT_S = 60.0
"""Time for a small result to come over from a busy machine."""
RERUN = "Run the same command again: what is stored is kept and not computed twice."


@dataclass(frozen=True)
class Seat(Generic[Task]):
    """A task on its worker."""

    task: Task
    address: str
    future: Any


def alive_workers(client: Any) -> list[str]:
    """Addresses of the workers, ordered by host, then name.

    Raises
    ------
    SchedulerLost : the scheduler does not answer.
    """
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, TimeoutError, RuntimeError, ClosedClientError) as error:
        raise SchedulerLost(f"the scheduler does not answer ({error})", cure=RERUN) from error
    return sorted(workers, key=lambda address: _order(workers[address], address))


def _order(worker: Any, address: str) -> tuple[str, int, str, str]:
    name = str(worker.get("name", ""))
    # Local workers are named by numbers: 10 comes after 9.
    number = int(name) if name.isdigit() else -1
    return str(worker.get("host", "")), number, name, address


def run_together(
    client: Any,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    threads: int,
    wanted: Mapping[str, Any] | None = None,
) -> list[TaskResult[Task, Result]]:
    """See ``distcnn.executor.Gang.together``; each task may use so many threads.

    ``wanted``: what the workers have to be like, see ``latecomers``.
    """
    with _lock(client):
        workers = alive_workers(client)
        if len(workers) < len(tasks):
            raise ClusterError(
                f"{len(tasks)} tasks are to run together on {len(workers)} workers",
                expected="a worker for each",
                cure=RERUN,
            )
        seats = _begin(client, (dumps(function), threads, wanted), tasks, workers)
        try:
            return _wait(client, seats)
        finally:
            _stop(client, [seat.future for seat in seats])


@contextmanager
def _lock(client: Any) -> Iterator[None]:
    lock = make_lease(client, LEASE_NAME)
    try:
        # Short waits, so that Ctrl-C is heard between them.
        while not lock.acquire(timeout=POLL_S):
            pass
    except (OSError, RuntimeError) as error:
        raise SchedulerLost(f"the scheduler does not answer ({error})", cure=RERUN) from error
    try:
        yield
    finally:
        if client.status == "running":
            lock.release()
        stop_renewing(lock)


def _begin(
    client: Any,
    attempted: tuple[bytes, int, Mapping[str, Any] | None],
    tasks: Sequence[Task],
    workers: Sequence[str],
) -> list[Seat[Task]]:
    run, seats = uuid4().hex, []
    function, *how = attempted
    for number, (task, address) in enumerate(zip(tasks, workers, strict=False)):
        key = f"together-{run}-{number}"
        future = submit(client, key, attempt, function, dumps(task), *how, worker=address)
        seats.append(Seat(task, address, future))
    return seats


def _wait(client: Any, seats: Sequence[Seat[Task]]) -> list[TaskResult[Task, Any]]:
    """Results when all have ended well, or one has not and the others had time to say so."""
    deadline, gone = float("inf"), set[str]()
    ended: dict[str, TaskResult[Task, Any]] = {}
    while monotonic() < deadline and len(ended) < len(seats):
        waiting = [seat for seat in seats if not seat.future.done()]
        # After the question who is done: a worker that ends its work and goes is not to blame.
        gone |= _gone(client, waiting)
        for seat in seats:
            if seat.future.done() and seat.address not in ended:
                ended[seat.address] = _result_of(seat)
        failed = any(result.error is not None for result in ended.values())
        if deadline == float("inf") and (gone or failed):
            deadline = monotonic() + GRACE_S
        if waiting:
            with suppress(Exception):  # its result is looked at afterwards
                waiting[0].future.result(timeout=POLL_S)
    return [ended.get(seat.address) or _unheard(seat, gone) for seat in seats]


def _unheard(seat: Seat[Task], gone: Collection[str]) -> TaskResult[Task, Any]:
    why = ClusterError(f"the worker at {seat.address} died")
    stopped = Cancelled("stopped: another one failed")
    return TaskResult(seat.task, None, why if seat.address in gone else stopped)


def _gone(client: Any, waiting: Sequence[Seat[Task]]) -> set[str]:
    # A scheduler with other settings than ours would wait for the same worker to come back.
    try:
        alive = client.nthreads()
    except (OSError, TimeoutError, RuntimeError) as error:
        raise SchedulerLost(f"the scheduler does not answer ({error})", cure=RERUN) from error
    return {seat.address for seat in waiting if seat.address not in alive}


def _result_of(seat: Seat[Task]) -> TaskResult[Task, Any]:
    try:
        value, error = unpacked(seat.future.result(timeout=RESULT_TIMEOUT_S))
    except KilledWorker:
        return TaskResult(seat.task, None, ClusterError(f"the worker at {seat.address} died"))
    except CancelledError as lost:
        raise SchedulerLost(f"the scheduler is gone ({lost})", cure=RERUN) from lost
    except Exception as broken:  # a result carries any failure of its task
        return TaskResult(seat.task, None, broken)
    if isinstance(error, WorkerUnfit):
        raise error
    return TaskResult(seat.task, value, error)


def _stop(client: Any, futures: Sequence[Any]) -> None:
    """The worker sees that its task is not wanted any more and stops it itself."""
    if client.status == "running":
        with suppress(OSError, CancelledError):  # the connection may break just now
            client.cancel(list(futures), force=True)
