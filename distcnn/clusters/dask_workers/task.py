"""Attempt: what a worker does with a task."""

import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from distributed import get_worker, secede
from distributed.comm.addressing import get_address_host
from distributed.protocol import pickle as dask_pickle

from distcnn.clusters import preload
from distcnn.clusters.dask_workers.preflight.latecomers import check_worker
from distcnn.clusters.dask_workers.walltime import note_duration
from distcnn.errors import DistcnnError
from distcnn.executor import WorkerContext, observe_result, worker_context

# Plain pickle, or by value where the workers cannot import (functions of ``__main__``).
dumps: Callable[[Any], bytes] = dask_pickle.dumps
loads: Callable[[bytes], Any] = dask_pickle.loads


def attempt_batch(
    function: bytes, tasks: Sequence[bytes], threads: int, wanted: Mapping[str, Any] | None = None
) -> tuple[list[bytes], float]:
    """Run tasks one after the other: what ``attempt`` gives of each, and the seconds of all.

    Only the last may secede: the worker would else begin a batch beside each task of this one.
    """
    begun, done = monotonic(), []
    for number, task in enumerate(tasks, 1):
        last = number == len(tasks)
        done.append(attempt(function, task, threads, wanted, may_secede=last))
    return done, monotonic() - begun


def attempt(
    function: bytes,
    task: bytes,
    threads: int,
    wanted: Mapping[str, Any] | None = None,
    *,
    may_secede: bool = True,
) -> bytes:
    """Run on a worker: ``(value, None)`` or ``(None, error)``.

    ``wanted``: what the worker has to be like (see ``latecomers``); None = preflight has not run.

    Pickled here at both ends, so that what cannot be pickled is a result too, and Dask,
    which would hash arguments and refuse some, sees bytes.
    """
    preload.settle()
    begun = monotonic()
    try:
        context = _context(threads, may_secede)
        if wanted is not None:
            check_worker(wanted, context.host)
        with worker_context(context):
            value = loads(function)(loads(task))
            observe_result(value)
            return pickle.dumps((value, None))
    except (Exception, SystemExit) as error:  # a result carries any failure of its task
        return pickle.dumps((None, _portable(error)))
    finally:
        note_duration(monotonic() - begun)


def unpacked(data: bytes) -> Any:
    """What ``attempt`` gave: value and error."""
    return pickle.loads(data)  # noqa: S301 - our own workers wrote it


def _context(threads: int, may_secede: bool) -> WorkerContext:
    find: Callable[[], Any] = get_worker
    worker = find()
    key = worker.get_current_task()

    def cancelled() -> bool:
        # Cancelled by its client, or by the scheduler because the client is gone.
        task = worker.state.tasks.get(key)
        return task is None or task.state not in {"executing", "long-running"}

    host: Callable[[str], str] = get_address_host
    leave: Callable[[], None] = secede if may_secede else _stay
    return WorkerContext(host(worker.address), str(worker.name), threads, cancelled, leave)


def _stay() -> None:
    """In place of ``secede``."""


def _portable(error: BaseException) -> BaseException:
    """The error itself if it survives the journey, else its text."""
    if not isinstance(error, DistcnnError):
        error.add_note(f"On the worker:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was dumped just now
    except Exception:
        return DistcnnError(f"{type(error).__name__}: {error}")
    return error
