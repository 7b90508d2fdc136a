"""Clusters: where workers come from. Only this room starts them, and it leaves none behind.

``open_cluster`` gives a executor (see ``distcnn.executor``). A backend is imported when it is asked
for, so that nobody pays for one that is not used.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Protocol, cast

from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError
from distcnn.executor import Executor

__all__ = ["BACKENDS", "ClusterExecutor", "open_cluster"]

BACKENDS = {
    "cuda": "distcnn.clusters.cuda",
    "local": "distcnn.clusters.local",
    "serial": "distcnn.clusters.serial",
}
EXISTING = "distcnn.clusters.existing"
"""The backend whose name is an address."""


class ClusterExecutor(Executor, Protocol):
    """A executor with the workers behind it."""

    @property
    def dashboard(self) -> str | None:
        """Address of the Dask dashboard, if there is one."""
        ...


class _Backend(Protocol):
    def open_executor(self, config: ClusterConfig) -> AbstractContextManager[ClusterExecutor]: ...


@contextmanager
def open_cluster(config: ClusterConfig) -> Iterator[ClusterExecutor]:
    """Start workers as configured; stop them and remove their files at exit.

    Raises
    ------
    ClusterError : the backend is unknown, or its workers do not start.
    """
    module = EXISTING if "://" in config.backend else BACKENDS.get(config.backend)
    if module is None:
        raise ClusterError(
            f"there is no cluster backend {config.backend!r}",
            expected=f"one of {', '.join(BACKENDS)}, or the address of a scheduler",
        )
    backend = cast(_Backend, import_module(module))
    with backend.open_executor(config) as executor:
        yield executor
