"""The backend without workers: every task runs here, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from distcnn.clusters.places import Findings, Places
from distcnn.clusters.this_machine import free_memory
from distcnn.config import BackendConfig
from distcnn.events import Listener, silent
from distcnn.executor import ExpectedWorkers, SerialExecutor
from distcnn.gpus import usable_gpus


class SerialCluster(SerialExecutor):
    """A serial executor that answers like a cluster."""

    dashboard: str | None = None
    findings = Findings()

    def preflight(self, places: Places, listener: Listener) -> Findings:
        """There is no one to look at."""
        return self.findings


@contextmanager
def open_executor(config: BackendConfig, listener: Listener = silent) -> Iterator[SerialCluster]:
    """Nothing to start and nothing to stop."""
    yield SerialCluster(config.threads)


def expect(config: BackendConfig) -> ExpectedWorkers:
    """The process of the command alone, with what is free on this machine now: no one watches
    over its memory, and any process here may use the GPUs.
    """
    return ExpectedWorkers(SerialCluster.workers, free_memory(), config.threads, usable_gpus())
