"""The backend without workers: every item runs here, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from distcnn.config import ClusterConfig
from distcnn.flow import SerialFlow


class SerialCluster(SerialFlow):
    """A serial flow that answers like a cluster."""

    dashboard: str | None = None


@contextmanager
def open_flow(config: ClusterConfig) -> Iterator[SerialCluster]:
    """Nothing to start and nothing to stop."""
    yield SerialCluster()
