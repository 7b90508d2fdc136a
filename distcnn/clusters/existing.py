"""Workers that run already: the address of their scheduler is the backend.

Start them with our settings (see ``settings``, which says why), one thread each:

    export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0
    export DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0
    export DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING=False
    dask scheduler --host ADDRESS
    export OMP_NUM_THREADS=1
    dask worker tcp://ADDRESS:8786 --nworkers N --nthreads 1 --preload distcnn.clusters.preload

Survey and package must lie on a file system that the workers and this machine share. A scheduler
and workers that were started with certificates (``tls://``) are met with those of ``cluster.tls``.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client

from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.dask_workers.security import check_answer, client_security
from distcnn.clusters.dask_workers.starting.arrival import wait_for_workers
from distcnn.config import ExistingConfig
from distcnn.errors import ClusterError
from distcnn.events import Listener, silent
from distcnn.executor import ExpectedWorkers
from distcnn.gpus import usable_gpus

REQUIRED = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
}
"""Settings of the scheduler, as exported above; ``preflight`` looks at them."""


@contextmanager
def open_executor(config: ExistingConfig, listener: Listener = silent) -> Iterator[DaskExecutor]:
    """Connect to a scheduler; its workers are left as they are at exit.

    Raises
    ------
    ClusterError : no scheduler answers at the address, or too few workers come within
        ``patience`` seconds.
    """
    with _connected(config) as client:
        yield DaskExecutor(
            client,
            config,
            workers=_count(client, config, listener),
            dashboard=client.dashboard_link or None,
            required_settings={} if config.accept_settings else REQUIRED,
        )


def expect(config: ExistingConfig) -> ExpectedWorkers:
    """The workers that are there now; waits for the first of them.

    Each gets the least memory at which one of them is killed; those that were started without
    a limit are taken to have ``resources.memory``. GPUs: as many as the worker with the fewest.

    Raises
    ------
    ClusterError : as ``open_executor``.
    """
    with _connected(config) as client:
        count = _count(client, config)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        memory = min(int(worker["memory_limit"] or config.memory_limit) for worker in workers)
        gpus = client.run(usable_gpus, on_error="return").values()
    known = all(isinstance(found, int) for found in gpus)
    return ExpectedWorkers(count, memory, config.threads, min(gpus) if known else None)


@contextmanager
def _connected(config: ExistingConfig) -> Iterator[Any]:
    client = _connect(config)
    log = logging.getLogger("distributed.client")
    level = log.level
    # A scheduler that goes prints a traceback here; what concerns the user is an error of its own.
    log.setLevel(logging.CRITICAL)
    try:
        yield client
    finally:
        client.close()
        log.setLevel(level)


def _connect(config: ExistingConfig) -> Any:
    connect: Callable[..., Any] = Client
    security = client_security(config)
    check_answer(config.backend, security)
    try:
        return connect(
            config.backend, set_as_default=False, timeout=config.patience, security=security
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {config.backend} ({error})",
            expected="the address of a running Dask scheduler",
            cure="Start one, or use --cluster local.",
        ) from None


def _count(client: Any, config: ExistingConfig, listener: Listener = silent) -> int:
    return wait_for_workers(
        client,
        config.workers or 1,
        patience=config.patience,
        listener=listener,
        why=lambda: f"at the scheduler {config.backend}",
        cure=f"Start some: dask worker {config.backend} --nthreads 1 --preload "
        "distcnn.clusters.preload",
    )
