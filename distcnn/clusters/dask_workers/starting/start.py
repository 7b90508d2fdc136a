"""Start: workers begun in a thread, within a time limit, deaf to Ctrl-C.

Dask's constructors wait for workers without a limit, and are left half done by an exception that
arrives in the middle. So they run in a thread, while the caller waits for it, can be interrupted,
and gives up when nothing has come for ``START_TIMEOUT_S``. Ctrl-C reaches every process of a
terminal's group, also workers that still import Python and would print a traceback each: the
thread blocks the signal, and what it starts (threads and processes alike) inherits that.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from time import monotonic
from typing import Any

import psutil
from distributed import Client, Status

from distcnn.clusters.dask_workers.private import clusters_here, leave_scratch, stop_loop
from distcnn.clusters.dask_workers.starting.arrival import Arrival
from distcnn.clusters.dask_workers.starting.tracker import start_tracker
from distcnn.errors import ClusterError, DistcnnError
from distcnn.events import Listener, silent

START_TIMEOUT_S = 60.0
"""Longest time in which no further worker comes."""
POLL_S = 0.1
SEMAPHORES_PER_WORKER = 7
"""Of a nanny and its queues; each is a file, of a page at least, in ``/dev/shm``."""
ABANDON_TIMEOUT_S = 2.0
"""Time for Dask to close what it has begun; what it leaves is killed."""


def start_workers(
    start: Callable[[], Any], workers: int, listener: Listener = silent
) -> tuple[Any, Any]:
    """The cluster that ``start`` makes and a client of it, once all ``workers`` are there.

    ``listener`` hears how many came, if that takes long.

    Raises
    ------
    ClusterError : they do not come. Nothing is left of them, whatever ends the start.
    """
    start_tracker()
    _check_semaphores(workers)
    starting = _Starting(start, workers, listener)
    try:
        return starting.wait()
    except BaseException:
        starting.abandon()
        raise


class _Starting:
    """A cluster that another thread is starting."""

    def __init__(self, start: Callable[[], Any], workers: int, listener: Listener) -> None:
        self._start, self._workers = start, workers
        self._arrival = Arrival(workers, listener)
        self._before = clusters_here(), set(_workers_below_here())
        self._over = threading.Event()
        self._made: tuple[Any, Any] | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="start workers", daemon=True).start()

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            cluster = self._start()
            connect: Callable[..., Any] = Client
            client = connect(cluster, set_as_default=False, timeout=START_TIMEOUT_S)
            if self._workers:  # else they are started by others, and waited for later
                client.wait_for_workers(self._workers)
            self._made = cluster, client
        except BaseException as error:  # raised again where someone waits
            self._error = error
        finally:
            self._over.set()

    def wait(self) -> tuple[Any, Any]:
        """Until all workers are there, or no further one has come for too long."""
        came, deadline = 0, monotonic() + START_TIMEOUT_S
        while not self._over.wait(POLL_S):
            if (now := self._count()) > came:
                came, deadline = now, monotonic() + START_TIMEOUT_S
            self._arrival.tell(came)
            if monotonic() > deadline:
                raise no_workers(self._workers, f"{came} came, then none for {START_TIMEOUT_S:g} s")
        if self._made is not None:
            return self._made
        if isinstance(self._error, DistcnnError) or not isinstance(self._error, Exception):
            raise self._error or RuntimeError("the start ended without a word")
        raise no_workers(self._workers, self._error) from self._error

    def abandon(self) -> None:
        """Kill what has been started so far, and keep Dask from starting it again."""
        for cluster in clusters_here() - self._before[0]:
            close_at_once(cluster)
        _kill(set(_workers_below_here()) - self._before[1])

    def _count(self) -> int:
        schedulers = [cluster.scheduler for cluster in clusters_here() - self._before[0]]
        return sum(len(one.workers) for one in schedulers if one is not None)


def close_at_once(cluster: Any) -> None:
    """Kill the workers of a cluster and end its loop, without waiting for what they do."""
    cluster.shutdown_on_close = False  # Dask would wait for it once more as the process ends
    nannies = list(cluster.workers.values())
    for nanny in nannies:
        nanny.auto_restart = False
    numbers = [nanny.pid for nanny in nannies if nanny.pid]
    with suppress(psutil.NoSuchProcess):
        _kill({one for number in numbers for one in _family(psutil.Process(number))})
    with suppress(Exception):  # a start that hangs holds what a close waits for
        cluster.close(timeout=ABANDON_TIMEOUT_S)
    stop_loop(cluster, ABANDON_TIMEOUT_S)
    leave_scratch(cluster)
    cluster.status = Status.closed  # Dask would warn of one that it finds open later


def no_workers(workers: int, error: object) -> ClusterError:
    """Why workers on this machine did not start."""
    return ClusterError(
        f"{workers} local workers did not start ({error})",
        cure="Ask for fewer with --set cluster.workers=N, or run with --cluster serial.",
    )


def _check_semaphores(workers: int) -> None:
    # Without them Dask's nannies wait for their workers for ever.
    asked = max(1, SEMAPHORES_PER_WORKER * workers)
    made = []
    try:
        for _ in range(asked):
            made.append(get_context("spawn").Lock())
    except (OSError, ImportError) as error:
        raise ClusterError(
            f"local workers cannot start: this system gives {len(made)} of the {asked} semaphores "
            f"that they need ({error})",
            expected="a /dev/shm that can be written",
            cure="Mount one of 1 MB or more (docker: --tmpfs /dev/shm, or --shm-size), "
            "or run with --cluster serial.",
        ) from error


def _workers_below_here() -> list[psutil.Process]:
    """Processes that ``multiprocessing`` has started below this one, with all below them."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            line = " ".join(child.cmdline())
            if any(f"multiprocessing.{way} import" in line for way in ("spawn", "forkserver")):
                found += _family(child)
    return found


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _kill(processes: set[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(list(processes), timeout=ABANDON_TIMEOUT_S)
