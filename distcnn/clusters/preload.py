"""What runs in every Dask worker process as it starts."""

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from threading import Thread
from time import monotonic, sleep
from typing import Any

from distcnn.clusters.dask_workers.walltime import END_VARIABLE, leave_in_time

SETTLING_S = 0.5
"""Age that a worker has before it works."""


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the client: it reaches the whole process group, but only the client
    knows how to stop in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _started_at.append(monotonic())
    # A heartbeat that finds the scheduler just gone prints a traceback; what concerns the
    # user comes back as the result of a task.
    logging.getLogger("tornado.application").setLevel(logging.CRITICAL)
    if END_VARIABLE in os.environ:
        worker.loop.add_callback(leave_in_time, worker)


_imports: list[Thread] = []
_started_at: list[float] = []
"""When the worker of this process started, on its own clock; a fork server has none."""


def begin_imports(modules: Sequence[str]) -> None:
    """Import what the tasks of a stage need, while the client still prepares them; torch takes a
    second. What cannot be imported the first task tells.
    """

    def work() -> None:
        for name in modules:
            with suppress(Exception):
                import_module(name)

    thread = Thread(target=work, name="imports", daemon=True)
    _imports.append(thread)
    thread.start()


def settle() -> None:
    """Let the first half second of a worker's life pass before it works, and end its imports.

    Dask's nanny looks every 50 ms whether its worker has started. A worker that a task kills
    before that look is taken for one that never started, and is not started again.
    """
    for started in _started_at:
        sleep(max(0.0, started + SETTLING_S - monotonic()))
    for thread in _imports:
        thread.join()
