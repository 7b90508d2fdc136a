"""Clusters: where workers come from. Only this package starts them, and it leaves none behind.

``open_cluster`` gives an executor (see ``distcnn.executor``), ``expect_workers`` what to expect
of it. ``registry`` has the backends; one is imported when it is asked for, so that no one pays
for one that is not used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distcnn.clusters.registry import find_backend

if TYPE_CHECKING:
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.config import BackendConfig
    from distcnn.events import Listener
    from distcnn.executor import ExpectedWorkers

__all__ = ["expect_workers", "open_cluster"]


@contextmanager
def open_cluster(
    config: "BackendConfig", listener: "Listener | None" = None
) -> Iterator["ClusterExecutor"]:
    """Start workers as configured; stop them and remove their files at exit.

    ``listener`` hears how many have come while they start (None = nobody).

    Raises
    ------
    ClusterError : the backend is unknown, or its workers do not start.
    MissingExtra : what the backend needs is not installed.
    """
    from distcnn.events import silent

    backend = find_backend(config.backend).load()
    with backend.open_executor(config, listener or silent) as executor:
        yield executor


def expect_workers(config: "BackendConfig") -> "ExpectedWorkers":
    """The workers that ``open_cluster`` would give; starts none.

    Raises
    ------
    ClusterError : the backend is unknown, or cannot be asked.
    MissingExtra : what the backend needs is not installed.
    """
    # Here, because the command line imports this package for the names of the backends alone.
    from distcnn.executor import ExpectedWorkers

    backend = find_backend(config.backend).load()
    return ExpectedWorkers(
        backend.expected_workers(config), backend.worker_memory(config), config.threads
    )
