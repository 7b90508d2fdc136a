"""The backend without workers: every item runs here, one after the other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from distcnn.config import ClusterConfig
from distcnn.flow import Item, Outcome, Result, SerialFlow


class SerialCluster:
    """A serial flow that answers like a cluster."""

    workers = 1
    dashboard: str | None = None

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        return SerialFlow()(function, items)


@contextmanager
def open_flow(config: ClusterConfig) -> Iterator[SerialCluster]:
    """Nothing to start and nothing to stop."""
    yield SerialCluster()
