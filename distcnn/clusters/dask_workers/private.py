"""The private parts of Dask that we need, in this file alone.

Seen in Dask and distributed 2026.1 to 2026.7. Their releases promise nothing about these names:
``tests/clusters/test_clusters_private.py`` fails where one has gone or changed. Used are

- ``dask._task_spec.Task(key, function, *arguments, _data_producer=...)``, the form in which a
  client hands a single task to the scheduler under a key that we choose;
- its mark ``_data_producer``: with ``worker-saturation`` set, Dask keeps a task in a queue at the
  scheduler, instead of pushing it to a busy worker, only if it has that mark or belongs to a
  group of more than twice as many tasks as there are threads;
- ``distributed.spans.SpansSchedulerExtension.observe_tasks`` and
  ``distributed.scheduler.DEFAULT_EXTENSIONS``, for a driver whose memory does not grow with tasks;
- ``distributed.Semaphore.refresh_callback``, the timer that renews a lease;
- ``distributed.SpecCluster._instances``, for a cluster whose constructor does not come back, and
  ``_loop_runner`` of a cluster, whose ``stop`` is left out by a ``close`` that takes too long;
- ``distributed.utils._forkserver_preload_set``, without which Dask has the fork server import
  pandas and others, and imports them itself.

Of Python itself, 3.11 to 3.14: ``multiprocessing.forkserver._forkserver`` with its ``_stop``, which
waits for a server that still imports, and ``_forkserver_pid``.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from typing import Any

import distributed.utils
from dask._task_spec import Task
from distributed import Semaphore, SpecCluster
from distributed.scheduler import DEFAULT_EXTENSIONS
from distributed.spans import SpansSchedulerExtension


def submit(
    client: Any,
    key: str,
    function: Callable[..., object],
    *arguments: object,
    worker: str | None = None,
) -> Any:
    """The future of one task: on ``worker`` and no other if one is given, else queued."""
    task = Task(key, function, *arguments, _data_producer=worker is None)
    pinned = {} if worker is None else {"workers": [worker], "allow_other_workers": False}
    (future,) = client.get({key: task}, [key], sync=False, **pinned)
    return future


class ForgetfulSpans(SpansSchedulerExtension):
    """Spans that keep no note of every graph.

    Dask keeps one as long as the span lives, and every task of an executor is a graph of its own
    in one span: at a million tasks, hundreds of megabytes in the driver.
    """

    def observe_tasks(self, tss: Any, code: Any, span_metadata: Any) -> Any:
        """What Dask does, without the note."""
        nothing: Any = None
        return super().observe_tasks(tss, code=code, span_metadata=nothing)


def scheduler_extensions() -> dict[str, Any]:
    """What a scheduler in this process is started with.

    Dask leaves stealing out by itself, as ``dask_settings`` asks, only where it chooses them all.
    """
    kept = {name: kind for name, kind in DEFAULT_EXTENSIONS.items() if name != "stealing"}
    return kept | {"spans": ForgetfulSpans}


def make_lease(client: Any, name: str) -> Any:
    """A lock of the scheduler, held by one client at a time, that falls free when it dies."""
    make: Callable[..., Any] = Semaphore
    return make(1, name, scheduler_rpc=client.scheduler, loop=client.loop)


def clusters_here() -> set[Any]:
    """Clusters of this process, those still being made too."""
    return set(SpecCluster._instances)


def stop_loop(cluster: Any, timeout: float) -> None:
    """End the thread of a cluster within so many seconds, and everything that waits in it."""
    cluster._loop_runner.stop(timeout)


def leave_scratch(cluster: Any) -> None:
    """Remove the scheduler's folder now: Dask would as the process ends, and complain of one that
    is gone by then.
    """
    folder = getattr(cluster.scheduler, "_workdir", None)
    if folder is not None:
        folder.release()


def stop_renewing(lease: Any) -> None:
    """End the timer of a lease; Dask leaves it running."""
    lease.refresh_callback.stop()


def keep_preload() -> None:
    """Leave what the fork server imports to us."""
    setattr(distributed.utils, "_forkserver_preload_set", True)  # noqa: B010 - not in its types


def fork_server_runs() -> bool:
    """Whether this process has a fork server, ours or that of the program we are part of."""
    return _fork_server()._forkserver_pid is not None


def stop_fork_server() -> None:
    """Kill the fork server of this process, if there is one, also while it imports."""
    server = _fork_server()
    if server._forkserver_pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(server._forkserver_pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # someone else has waited for it, and it is gone
        server._stop()
    server._forkserver_pid = None


def _fork_server() -> Any:
    return getattr(forkserver, "_forkserver")  # noqa: B009 - not in its types
