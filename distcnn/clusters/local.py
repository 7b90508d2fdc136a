"""The default backend: Dask workers on this machine, one process and one thread each."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import LocalCluster

from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.dask_workers.private import scheduler_extensions
from distcnn.clusters.dask_workers.settings import (
    START_METHOD,
    dask_settings,
    thread_variables,
    worker_environment,
)
from distcnn.clusters.dask_workers.starting.fork_server import fork_server
from distcnn.clusters.dask_workers.starting.scratch import scratch_folder
from distcnn.clusters.dask_workers.starting.start import close_at_once, start_workers
from distcnn.clusters.this_machine import free_memory
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError
from distcnn.events import Listener, silent
from distcnn.executor import ExpectedWorkers
from distcnn.gpus import usable_gpus

STOP_TIMEOUT_S = 30.0


@contextmanager
def open_executor(config: ClusterConfig, listener: Listener = silent) -> Iterator[DaskExecutor]:
    """Workers on the loopback interface.

    Raises
    ------
    ClusterError : no further worker comes for a minute, or the dashboard cannot listen.
    """
    count = expect(config).count
    with (
        import_ahead(config) as way,
        open_workers(config, count, _start, listener, **{START_METHOD: way}) as executor,
    ):
        yield executor


def import_ahead(config: ClusterConfig, *modules: str) -> AbstractContextManager[str]:
    """Begin to import what workers will need, while the caller still plans; see
    ``dask_workers.starting.fork_server``.
    """
    return fork_server(worker_environment(config.threads), modules)


def expect(config: ClusterConfig) -> ExpectedWorkers:
    """As many as are asked for, or so many that each has its threads' cores, and GPUs for all:
    any process of this machine may use them.
    """
    count = config.workers or max(1, int(CPU_COUNT) // config.threads)
    return ExpectedWorkers(count, worker_memory(config), config.threads, usable_gpus())


def worker_memory(config: ClusterConfig) -> int:
    """The limit at which Dask kills a worker, or what is free on this machine now [bytes].

    Free memory is not divided by the workers: one of them that starts late shares the memory
    of programs that are loaded already, and a plan's needs are upper bounds.
    """
    return min(config.memory_limit, free_memory())


@contextmanager
def open_workers(
    config: ClusterConfig,
    workers: int,
    start: Callable[[ClusterConfig, int, Path], Any],
    listener: Listener = silent,
    **settings: str,
) -> Iterator[DaskExecutor]:
    """The cluster that ``start`` makes of a scratch folder, with a client and an executor.

    ``settings``: of Dask, beside those that every backend shares.
    """
    check_address(config.dashboard)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        stack.enter_context(dask.config.set(dask_settings(folder, config.threads) | settings))
        cluster, client = start_workers(lambda: start(config, workers, folder), workers, listener)
        stack.push(partial(stop, cluster, client))
        link = cluster.dashboard_link if config.dashboard is not None else None
        yield DaskExecutor(client, config, workers=workers, dashboard=link)


def check_address(dashboard: str | None) -> None:
    """Refuse a dashboard that cannot listen.

    Dask would begin a cluster, fail, and leave a socket open.

    Raises
    ------
    ClusterError : it cannot; says why.
    """
    if dashboard is None:
        return
    host, _, port = dashboard.rpartition(":")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"the dashboard cannot listen at {dashboard!r} ({error})",
            expected="address:port of this machine, such as 127.0.0.1:8787, port 0 for any free",
            cure="Set cluster.dashboard, or cluster.dashboard=null for none.",
        ) from None


def arguments(config: ClusterConfig, workers: int, folder: Path) -> dict[str, Any]:
    """What every cluster on this machine is started with."""
    return {
        "n_workers": workers,
        "threads_per_worker": 1,  # tasks at a time; the threads of their arithmetic are others
        "host": "127.0.0.1",
        "memory_limit": config.memory_limit,
        "scheduler_kwargs": scheduler_arguments(config),
        "local_directory": str(folder),
        "silence_logs": logging.CRITICAL,
    }


def scheduler_arguments(config: ClusterConfig) -> dict[str, Any]:
    """What every scheduler in this process is started with."""
    return {
        # One that is told to have no dashboard still listens on port 8787: name any free one.
        "dashboard": config.dashboard is not None,
        "dashboard_address": config.dashboard or "127.0.0.1:0",
        "extensions": scheduler_extensions(),
    }


def dashboard_of(config: ClusterConfig, cluster: Any) -> str | None:
    """Link to the dashboard of a scheduler in this process that listens elsewhere.

    Dask would say that the dashboard is there too; it is where it was asked for.
    """
    if config.dashboard is None:
        return None
    host = config.dashboard.rpartition(":")[0]
    return f"http://{host}:{cluster.scheduler.http_server.port}/status"


def _start(config: ClusterConfig, workers: int, folder: Path) -> Any:
    start: Callable[..., Any] = LocalCluster
    return start(
        env=thread_variables(config.threads),
        processes=True,
        **arguments(config, workers, folder),
    )


def stop(cluster: Any, client: Any, kind: type[BaseException] | None, *_: object) -> None:
    """Let workers end what Dask tells them to; after Ctrl-C and the like nobody waits for that."""
    if kind is not None and not issubclass(kind, Exception):
        close_at_once(cluster)
        return
    client.close()
    try:
        cluster.close(timeout=STOP_TIMEOUT_S)
    except TimeoutError:  # a worker that dies while it starts or stops can leave Dask waiting
        close_at_once(cluster)
