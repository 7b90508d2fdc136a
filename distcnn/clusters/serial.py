"""The backend without workers: every task runs here, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from distcnn.config import ClusterConfig
from distcnn.executor import SerialExecutor


class SerialCluster(SerialExecutor):
    """A serial executor that answers like a cluster."""

    dashboard: str | None = None


@contextmanager
def open_executor(config: ClusterConfig) -> Iterator[SerialCluster]:
    """Nothing to start and nothing to stop."""
    yield SerialCluster()
