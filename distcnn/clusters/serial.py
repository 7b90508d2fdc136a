"""The backend without workers: every task runs here, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from distcnn.clusters.places import Findings, Places
from distcnn.clusters.this_machine import free_memory
from distcnn.config import BackendConfig
from distcnn.events import Listener, silent
from distcnn.executor import SerialExecutor
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


def expected_workers(config: BackendConfig) -> int:
    """The process of the command alone."""
    return SerialCluster.workers


def worker_gpus(config: BackendConfig) -> int:
    """Those of this machine: any process here may use them."""
    return usable_gpus()


def worker_memory(config: BackendConfig) -> int:
    """What is free on this machine now [bytes]: no one watches over this process."""
    return free_memory()
