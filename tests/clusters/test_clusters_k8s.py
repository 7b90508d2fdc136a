"""The backend ``k8s`` on a real Kubernetes node: the conformance kit, losses, and refusals."""

import os

import pytest
from conformance.cluster_checks import WorkerChecks, process, square, wait_until
from machines.kubernetes_node import IMAGE, running_node

from distcnn.clusters import open_cluster
from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.k8s import KubernetesConfig
from distcnn.errors import ClusterError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MEMORY = 1_000_000_000
REGIONS = 24


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """In the network of the node, with its KUBECONFIG."""
    with (
        running_node(tmp_path_factory.mktemp("k8s")) as node,
        node.entered(),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("KUBECONFIG", str(node.kubeconfig))
        yield node


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of all temporary folders, which pods see as well."""
    return tmp_path_factory.getbasetemp()


def settings_of(node, base, **changes):
    """Small pods, as root because the temporary folders are root's."""
    values = {
        "backend": "k8s",
        "image": IMAGE,
        "pull_policy": "Never",
        "workers": 2,
        "cpu": 0.1,
        "scheduler_cpu": 0.1,
        "memory_limit": MEMORY,
        "scheduler_memory": MEMORY,
        "volumes": [{"host_path": str(base), "mount": str(base)}],
        "env": node.environment,
        "user": 0,
        "group": 0,
        "allow_root": True,
        "grace": 1,
        "patience": 90.0,
    }
    return KubernetesConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def config(node, base):
    return settings_of(node, base)


@pytest.fixture(scope="module")
def executor(config):
    with open_cluster(config) as executor:
        yield executor


def eat(size):
    """Take so many bytes at once, and touch every page of them."""
    return len(bytearray(size)) if size else os.getpid()


class TestPods(WorkerChecks):
    """The kit, through the tunnel of the API server and with certificates of the run."""

    def test_connections_are_encrypted(self, executor):
        assert executor.client.scheduler.address.startswith("tls://127.0.0.1:")
        assert all(name.startswith("tls://") for name in executor.client.nthreads())

    def test_the_dashboard_is_seen_at_the_loopback_interface(self, executor):
        assert executor.dashboard.startswith("http://127.0.0.1:")

    def test_a_kill_for_memory_is_told_as_such(self, executor, config):
        once = config.model_copy(update={"attempts": 1})
        once_only = DaskExecutor(executor.client, once, workers=2, why=executor.why)
        (result,) = once_only(eat, [2 * MEMORY])
        assert isinstance(result.error, ClusterError)
        text = str(result.error)
        assert "killed for memory (OOMKilled): its limit is 1.3 GB" in text
        assert "Raise resources.memory" in text
        wait_until(lambda: executor.alive_workers() == config.workers)
        assert [one.unwrap() for one in executor(square, [3])] == [9]

    def test_a_deleted_pod_is_replaced(self, executor, config, node):
        lost = node.names("pods", "dask.org/component=worker")[0]
        node.kubectl("delete", "pod", lost, "--grace-period=0", "--force")
        wait_until(lambda: lost not in node.names("pods", "dask.org/component=worker"))
        wait_until(lambda: executor.alive_workers() == config.workers)
        assert len({one.unwrap() for one in executor(process, range(8))}) >= 1
