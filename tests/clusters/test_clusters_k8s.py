"""The backend ``k8s`` on a real Kubernetes node: both conformance kits, losses, and refusals."""

from contextlib import contextmanager

import pytest
import yaml
from conformance.cluster_checks import WorkerChecks, square, wait_until
from conformance.cluster_runs import LossChecks, RunChecks, Site, StageChecks
from machines.kubernetes_node import IMAGE, running_node

from distcnn.clusters import open_cluster
from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.k8s import KubernetesConfig
from distcnn.errors import ClusterError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MEMORY = 1_000_000_000
WORKER, SCHEDULER = "dask.org/component=worker", "dask.org/component=scheduler"


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
def section(node, tmp_path_factory):
    """Small pods that see all temporary folders, as root because these are root's."""
    base = str(tmp_path_factory.getbasetemp())
    return {
        "backend": "k8s",
        "image": IMAGE,
        "pull_policy": "Never",
        "workers": 2,
        "cpu": 0.1,
        "scheduler_cpu": 0.1,
        "scheduler_memory": MEMORY,
        "volumes": [{"host_path": base, "mount": base}],
        "env": node.environment,
        "user": 0,
        "group": 0,
        "allow_root": True,
        "grace": 1,
        "patience": 90.0,
    }


@pytest.fixture(scope="module")
def config(section):
    return KubernetesConfig.model_validate(section | {"memory_limit": MEMORY})


@pytest.fixture(scope="module")
def executor(config):
    with open_cluster(config) as executor:
        yield executor


def eat(size):
    """Take so many bytes at once, and touch every page of them."""
    return len(bytearray(size))


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


class KubernetesSite(Site):
    """Commands in the network of the node; workers in its pods."""

    def __init__(self, node, section, folder):
        super().__init__(folder, str(self.written(folder / "site.yaml", section)))
        self.node, self.section = node, section
        self.command_prefix = node.command()

    @staticmethod
    def written(path, section):
        memory = {"memory": MEMORY}
        path.write_text(yaml.safe_dump({"cluster": section, "resources": memory}))
        return path

    def leftovers(self):
        return self.node.leftovers().split()

    def kill_worker(self):
        self.delete(self.node.names("pods", WORKER)[:1])

    def kill_all_workers(self):
        self.delete(self.node.names("pods", WORKER))

    def kill_scheduler(self):
        self.delete(self.node.names("pods", SCHEDULER))

    def delete(self, pods):
        assert pods
        self.node.kubectl("delete", "pod", "--grace-period=0", "--force", *pods)

    @contextmanager
    def strange_workers(self, first_on_path):
        env = dict(self.section["env"])
        env["PYTHONPATH"] = f"{first_on_path}:{env['PYTHONPATH']}"
        yield str(self.written(first_on_path / "cluster.yaml", self.section | {"env": env}))

    @contextmanager
    def blind_workers(self, folder):
        path = folder / "blind.yaml"
        yield str(self.written(path, self.section | {"volumes": []}))


@pytest.fixture(scope="module")
def site(node, section, tmp_path_factory):
    return KubernetesSite(node, section, tmp_path_factory.mktemp("site"))


class TestCommands(RunChecks, LossChecks, StageChecks):
    """Whole commands; a scheduler that is lost is survived without the user."""
