"""The process that workers on this machine are forked from, once it has imported for all of them.

A worker that is spawned imports Python's part of Dask and torch for itself, two seconds of its
core; on two cores the client and two workers import three times what one could. The fork server
of ``multiprocessing`` imports it once, on another core, while the client still plans, and a fork
takes a few milliseconds. It runs no code of ours but the imports, so it has no threads and no
GPU opened that a fork could break.

It gives its environment to whatever is forked from it. Workers are spawned, as Dask does, where
another environment would be right, where the program that we are part of has a fork server of
its own, and where forks are not safe (macOS).
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver

from distcnn.clusters.dask_workers.private import (
    fork_server_runs,
    keep_preload,
    stop_fork_server,
)
from distcnn.clusters.dask_workers.settings import keeping_environment
from distcnn.clusters.dask_workers.starting.tracker import start_tracker

BASE_MODULES = (
    "distcnn.clusters.dask_workers.starting.own_group",  # the first
    "distcnn.clusters.preload",
    "distributed.nanny",
    "distributed.worker",
)
"""What every worker needs."""


class _Server:
    """The one fork server that a process can have."""

    def __init__(self) -> None:
        self.users = 0
        self.environment: dict[str, str] = {}

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether it may be begun for this environment, or has been begun for it."""
        if not self.users:
            return not fork_server_runs()
        return _told(self.environment) == _told(environment)


def _told(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the variables that torch and OpenVINO set for themselves when they are imported."""
    return {name: value for name, value in environment.items() if not name.startswith("KMP_")}


_server = _Server()


@contextmanager
def fork_server(variables: Mapping[str, object], modules: Sequence[str] = ()) -> Iterator[str]:
    """Have the server import ``modules`` from now on, and end it with the block.

    ``variables``: of the environment of workers, beside those of this process. Blocks within
    each other share the server. Answers the way in which processes are started within the
    block: ``forkserver``, or ``spawn`` where that would not be right.
    """
    environment = dict(os.environ) | {name: str(value) for name, value in variables.items()}
    if sys.platform != "linux" or not _server.fits(environment):
        yield "spawn"
        return
    _begin(environment, modules)
    _server.users += 1
    try:
        yield "forkserver"
    finally:
        _server.users -= 1
        if not _server.users:
            stop_fork_server()


def _begin(environment: dict[str, str], modules: Sequence[str]) -> None:
    if _server.users:
        return
    _server.environment = environment
    start_tracker()
    keep_preload()
    forkserver.set_forkserver_preload([*BASE_MODULES, *modules])
    # Ctrl-C reaches all processes of a terminal; this one would tell it with a traceback.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with keeping_environment():
            os.environ.update(environment)
            with suppress(OSError):  # Dask will try once more, and says why it cannot
                forkserver.ensure_running()
    finally:
        if signal.SIGINT not in blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
