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

if TYPE_CHECKING:
    from distcnn.clusters.dask_workers.executor import DaskExecutor

__all__ = ["KubernetesConfig", "expected_workers", "open_executor", "render", "worker_memory"]

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

    with run.open_workers(config, expected_workers(config), listener) as executor:
        yield executor


def expected_workers(config: KubernetesConfig) -> int:
    """As many as are asked for; nobody can know what a cluster has room for."""
    return config.workers or DEFAULT_WORKERS


def worker_memory(config: KubernetesConfig) -> int:
    """The memory of a worker, at which Kubernetes kills it [bytes]."""
    return config.memory_limit


def render(config: KubernetesConfig) -> str:
    """The objects that a run would make, as YAML; asks no cluster.

    Raises
    ------
    ClusterError : no image is named.
    """
    from distcnn.clusters.k8s import run

    return run.render(config, expected_workers(config))
