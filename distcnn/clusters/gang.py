"""Gang: items that run at the same time, each pinned to a worker of its own.

All or nothing: either every item has a worker, or none is begun. One lock per scheduler keeps
two such calls apart, so that neither waits for workers that the other holds. The lock is a
lease which its client renews: it falls free when the client dies.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic
from uuid import uuid4

from dask._task_spec import Task
from distributed import KilledWorker, Semaphore
from distributed.client import ClosedClientError

from distcnn.clusters.attempt import attempt, dumps, unpacked
from distcnn.errors import ClusterError
from distcnn.flow import Item, Outcome, Result, Unwanted

LOCK = "distcnn-together"
POLL = 0.5
GRACE = 1.0
"""Seconds after the first failure in which others may tell of theirs: it may be their fault."""
RERUN = "Run the same command again: what is stored is kept and not computed twice."


@dataclass(frozen=True)
class Seat(Generic[Item]):
    """An item on its worker."""

    item: Item
    address: str
    future: Any


def living(client: Any) -> list[str]:
    """Addresses of the workers, ordered by host, then name.

    Raises
    ------
    ClusterError : the scheduler does not answer.
    """
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, TimeoutError, RuntimeError, ClosedClientError) as error:
        raise ClusterError(f"the scheduler does not answer ({error})", cure=RERUN) from error
    return sorted(workers, key=lambda address: _order(workers[address], address))


def _order(worker: Any, address: str) -> tuple[str, int, str, str]:
    name = str(worker.get("name", ""))
    # Local workers are named by numbers: 10 comes after 9.
    number = int(name) if name.isdigit() else -1
    return str(worker.get("host", "")), number, name, address


def run_together(
    client: Any, function: Callable[[Item], Result], items: Sequence[Item]
) -> list[Outcome[Item, Result]]:
    """See ``distcnn.flow.Gang.together``."""
    with _lock(client):
        workers = living(client)
        if len(workers) < len(items):
            raise ClusterError(
                f"{len(items)} items are to run together on {len(workers)} workers",
                expected="a worker for each",
                cure=RERUN,
            )
        seats = _begin(client, function, items, workers)
        try:
            _wait(client, seats)
            return [_outcome(seat) for seat in seats]
        finally:
            _stop(client, [seat.future for seat in seats])


@contextmanager
def _lock(client: Any) -> Iterator[None]:
    make: Callable[..., Any] = Semaphore
    lock = make(1, LOCK, scheduler_rpc=client.scheduler, loop=client.loop)
    try:
        # Short waits, so that Ctrl-C is heard between them.
        while not lock.acquire(timeout=POLL):
            pass
    except (OSError, RuntimeError) as error:
        raise ClusterError(f"the scheduler does not answer ({error})", cure=RERUN) from error
    try:
        yield
    finally:
        if client.status == "running":
            lock.release()
        lock.refresh_callback.stop()


def _begin(
    client: Any,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: Sequence[str],
) -> list[Seat[Item]]:
    code, run = dumps(function), uuid4().hex
    seats = []
    for number, (item, address) in enumerate(zip(items, workers, strict=False)):
        key = f"together-{run}-{number}"
        task = Task(key, attempt, code, dumps(item))
        (future,) = client.get(
            {key: task}, [key], sync=False, workers=[address], allow_other_workers=False
        )
        seats.append(Seat(item, address, future))
    return seats


def _wait(client: Any, seats: Sequence[Seat[Item]]) -> None:
    """Until all have ended well, or one has not and the others had time to say so."""
    deadline = float("inf")
    while monotonic() < deadline:
        waiting = [seat for seat in seats if not seat.future.done()]
        if deadline == float("inf") and (_any_failed(seats) or _any_gone(client, waiting)):
            deadline = monotonic() + GRACE
        if not waiting:
            return
        with suppress(Exception):  # its outcome is looked at afterwards
            waiting[0].future.result(timeout=POLL)


def _any_failed(seats: Sequence[Seat[Item]]) -> bool:
    return any(seat.future.done() and _outcome(seat).error is not None for seat in seats)


def _any_gone(client: Any, waiting: Sequence[Seat[Item]]) -> bool:
    # A scheduler with other settings than ours would wait for the same worker to come back.
    try:
        alive = client.nthreads()
    except (OSError, TimeoutError, RuntimeError) as error:
        raise ClusterError(f"the scheduler does not answer ({error})", cure=RERUN) from error
    return any(seat.address not in alive for seat in waiting)


def _outcome(seat: Seat[Item]) -> Outcome[Item, Any]:
    if not seat.future.done():
        return Outcome(seat.item, None, Unwanted("stopped: another one failed"))
    try:
        value, error = unpacked(seat.future.result(timeout=POLL))
    except KilledWorker:
        return Outcome(seat.item, None, ClusterError(f"the worker at {seat.address} died"))
    except CancelledError as lost:
        raise ClusterError(f"the scheduler is gone ({lost})", cure=RERUN) from lost
    except Exception as broken:  # an outcome carries any failure of its item
        return Outcome(seat.item, None, broken)
    return Outcome(seat.item, value, error)


def _stop(client: Any, futures: Sequence[Any]) -> None:
    """The worker sees that its task is not wanted any more and stops it itself."""
    if client.status == "running":
        with suppress(OSError, CancelledError):  # the connection may break just now
            client.cancel(list(futures), force=True)
