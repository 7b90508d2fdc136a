"""The backend ``k8s``: pods that the Dask operator runs in a Kubernetes cluster.

This side makes one DaskCluster (``manifests``), waits for its scheduler and its workers and says
what Kubernetes knows of those that do not come (``states``), and takes everything down. It looks at
pods and services themselves, not at the phase of the DaskCluster: a race in the operator of
dask-kubernetes 2026.3 leaves that at Pending for good although everything runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distcnn.clusters.k8s.settings import KubernetesConfig
from distcnn.events import Listener, silent
from distcnn.executor import ExpectedWorkers

if TYPE_CHECKING:
    from distcnn.clusters.dask_workers.executor import DaskExecutor

__all__ = ["KubernetesConfig", "expect", "open_executor", "render"]

DEFAULT_WORKERS = 2


@contextmanager
def open_executor(
    config: KubernetesConfig, listener: Listener = silent
) -> Iterator["DaskExecutor"]:
    """Workers in pods, reached with or without this process being in the cluster.

    Raises
    ------
    ClusterError : the API server refuses, the operator does not act, or pods do not run; says why.
    MissingExtra : the client of Kubernetes is not installed.
    """
    from distcnn.clusters.k8s import run

    with run.open_workers(config, expect(config).count, listener) as executor:
        yield executor


def expect(config: KubernetesConfig) -> ExpectedWorkers:
    """As many as are asked for; nobody can know what a cluster has room for.

    Each gets the memory at which Kubernetes kills it.
    """
    count = config.workers or DEFAULT_WORKERS
    return ExpectedWorkers(count, config.memory_limit, config.threads, config.gpus)


def render(config: KubernetesConfig) -> str:
    """The objects that a run would make, as YAML; asks no cluster.

    Raises
    ------
    ClusterError : no image is named.
    """
    from distcnn.clusters.k8s import run

    return run.render(config, expect(config).count)
