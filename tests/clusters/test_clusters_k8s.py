"""The backend ``k8s`` on a real Kubernetes node: both conformance kits, losses, and refusals."""

import hashlib
import logging
import os
import shutil
import subprocess
from contextlib import contextmanager

import boto3
import pytest
import yaml
from conformance.cluster_checks import WorkerChecks, square, wait_until
from conformance.cluster_runs import (
    ROOT,
    LossChecks,
    RefusalChecks,
    RunChecks,
    Site,
    StageChecks,
    chunks,
    done,
    events,
    until,
)
from machines.kubernetes_node import IMAGE, NODE_ADDRESS, running_node
from moto.server import ThreadedMotoServer

from distcnn.clusters import open_cluster
from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.k8s import KubernetesConfig, render, run
from distcnn.clusters.k8s.api import refused as refused_by_api
from distcnn.clusters.k8s.settings import Volume
from distcnn.config.run import TlsConfig
from distcnn.errors import ClusterError
from distcnn.events import Notice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COMPLETE = pytest.mark.skipif(
    os.environ.get("DISTCNN_KUBERNETES") != "all",
    reason="takes ten minutes on two cores: runs with DISTCNN_KUBERNETES=all",
)
MEMORY = 1_000_000_000
RESOURCES = {"memory": 1_500_000_000, "planned_memory": MEMORY}
PLAIN_USER = {"user": 1000, "group": 1000, "allow_root": False}
NO_TLS = TlsConfig(mode="off")
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


@pytest.fixture(scope="class")
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
        path.write_text(yaml.safe_dump({"cluster": section, "resources": RESOURCES}))
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


@COMPLETE
class TestCommands(RunChecks, LossChecks, RefusalChecks, StageChecks):
    """Whole commands."""

    def test_after_a_lost_scheduler_the_run_is_complete_in_the_end(self, site, inputs):
        """Without the user."""
        super().test_after_a_lost_scheduler_the_run_is_complete_in_the_end(site, inputs)
        told = [event.get("text", "") for event in events(inputs / "headless.jsonl")]
        assert any("going on from what is stored, with a new cluster (1 of 3)" in t for t in told)
        assert any(event["event"] == "StageEnded" for event in events(inputs / "headless.jsonl"))


@pytest.fixture
def refused(config, node):
    """Opens a cluster that cannot be; returns what is said, and sees that nothing is left."""

    def open_in_vain(**changes):
        heard = []
        with (
            pytest.raises(ClusterError) as caught,
            open_cluster(config.model_copy(update={"patience": 3.0, **changes}), heard.append),
        ):
            pass
        until(lambda: node.leftovers() == "", seconds=60)
        return str(caught.value)

    return open_in_vain


@COMPLETE
class TestRefusals:
    """What is wrong is told from the states of pods, not by a time that is over."""

    def test_an_image_that_nobody_has(self, refused):
        text = refused(image="localhost/nobody:1", pull_policy="IfNotPresent")
        assert "its image cannot be pulled" in text
        assert "localhost/nobody:1" in text
        assert "cluster.image" in text

    def test_an_image_that_is_not_on_the_node(self, refused):
        assert "its image is not on the node (ErrImageNeverPull" in refused(image="nobody:1")

    def test_more_memory_than_there_is(self, refused):
        text = refused(scheduler_memory=10**15)
        assert "it cannot be scheduled: 0/1 nodes are available: 1 Insufficient memory" in text
        assert "resources.memory" in text

    def test_a_secret_that_is_not_there(self, refused):
        text = refused(secrets=("nothing",))
        assert 'secret "nothing" not found' in text
        assert "cluster.secrets" in text

    def test_a_claim_that_is_not_there(self, refused):
        volume = Volume(claim="nothing", mount="/data")
        assert 'persistentvolumeclaim "nothing" not found' in refused(volumes=(volume,))

    def test_a_folder_that_the_node_does_not_have(self, refused):
        volume = Volume(host_path="/nowhere", mount="/data")
        assert "/nowhere is not a directory" in refused(volumes=(volume,))

    def test_a_namespace_that_is_not_there(self, refused):
        text = refused(namespace="nowhere")
        assert "there is no namespace 'nowhere'" in text
        assert "kubectl create namespace nowhere" in text

    def test_a_dashboard_that_cannot_listen(self, refused):
        assert "nothing can listen at '10.9.8.7:1'" in refused(dashboard="10.9.8.7:1")

    def test_an_operator_that_does_nothing(self, config, node, monkeypatch):
        """After a while another name is tried, for a race can leave one without a scheduler."""
        monkeypatch.setattr(run, "OPERATOR_TIMEOUT_S", 2.0)
        heard = []

        def listen(event):
            heard.append(event)
            if isinstance(event, Notice) and "under another name" in event.text:
                node.wake_operator()
                monkeypatch.setattr(run, "OPERATOR_TIMEOUT_S", 120.0)

        node.stop_operator()
        try:
            alone = config.model_copy(update={"workers": 1, "service": "NodePort", "tls": NO_TLS})
            with open_cluster(alone, listen) as executor:
                assert executor.client.scheduler.address.startswith(f"tcp://{NODE_ADDRESS}:3")
                assert [one.unwrap() for one in executor(square, [3])] == [9]
        finally:
            node.wake_operator()
        text = next(one.text for one in heard if "no pod came of the DaskCluster" in one.text)
        assert "no operator has taken notice of it" in text
        until(lambda: node.leftovers() == "", seconds=60)

    def test_rights_that_are_missing(self, config, node, tmp_path, monkeypatch):
        """All at once, as verb and resource, with the Role that has them."""
        node.kubectl("create", "serviceaccount", "stranger")
        monkeypatch.setenv("KUBECONFIG", str(node.kubeconfig_of("stranger", tmp_path)))
        with pytest.raises(ClusterError) as caught, open_cluster(config):
            pass
        text = str(caught.value)
        assert "this account may not create daskclusters.kubernetes.dask.org, " in text
        assert "list pods, get services, create secrets, create pods/portforward" in text
        assert "deploy/kubernetes/base/rbac.yaml" in text
        # With that Role it is let in; the refusal is then another one.
        node.kubectl("apply", "-n", "default", "-f", ROOT / "deploy/kubernetes/base/rbac.yaml")
        node.kubectl(
            *("create", "rolebinding", "stranger", "--role", "distcnn-client"),
            *("--serviceaccount", "default:stranger"),
        )
        nobody = config.model_copy(update={"image": "nobody:1"})
        with pytest.raises(ClusterError, match="ErrImageNeverPull"), open_cluster(nobody):
            pass

    def test_a_cluster_without_the_operator(self):
        said = refused_by_api(404, "404 page not found", "Not Found", "default")
        assert "does not know what a DaskCluster is" in str(said)
        assert "helm install --repo https://helm.dask.org" in str(said)


@COMPLETE
class TestJob:
    """deploy/kubernetes, applied: the command itself runs in the cluster, data on a claim."""

    def test_a_job_predicts_the_bytes_of_serial_and_leaves_nothing(self, node, inputs, tmp_path):
        data = tmp_path / "data"
        data.mkdir()
        for name in ("package", "survey.zarr", "my.yaml"):
            subprocess.run(["cp", "-r", inputs / name, data], check=True)
        subprocess.run(["chown", "-R", "1000:1000", data], check=True)
        overlay = kustomized(tmp_path, data, node)
        node.kubectl("apply", "-k", overlay)
        try:
            until(lambda: node.ended("distcnn-predict", "distcnn"), seconds=600)
            logs = node.kubectl("logs", "-n", "distcnn", "job/distcnn-predict")
            assert node.ended("distcnn-predict", "distcnn") == "Complete", logs
            assert "Traceback" not in logs
            assert chunks(data / "predictions.zarr") == chunks(inputs / "serial.zarr")
            until(lambda: node.leftovers("distcnn") == "", seconds=60)
        finally:
            node.kubectl("delete", "-k", overlay, "--wait=false")


def kustomized(folder, data, node):
    """An overlay of ours on that for a local volume: this image, that folder, small pods."""
    shutil.copytree(ROOT / "deploy" / "kubernetes", folder / "kubernetes")
    overlay = folder / "kubernetes" / "overlays" / "test"
    overlay.mkdir()
    env = [{"name": name, "value": value} for name, value in node.environment.items()]
    container = {
        "name": "distcnn",
        "imagePullPolicy": "Never",
        "args": [
            *("predict", "/data/package", "/data/survey.zarr", "/data/predictions.zarr"),
            *("--cluster", "/etc/distcnn/cluster.yaml", "--conf", "/data/my.yaml"),
        ],
        "env": env,
        "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}},
    }
    job = {"spec": {"template": {"spec": {"containers": [container]}}}}
    cluster = {
        "backend": "k8s",
        "workers": 2,
        "cpu": 0.1,
        "scheduler_cpu": 0.1,
        "scheduler_memory": MEMORY,
        "pull_policy": "Never",
        "env": node.environment,
        "volumes": [{"claim": "distcnn-data", "mount": "/data"}],
    }
    files = {
        "cluster.yaml": {"cluster": cluster, "resources": RESOURCES},
        "job.yaml": patch_of("batch/v1", "Job", "distcnn-predict", job),
        "volume.yaml": patch_of(
            "v1", "PersistentVolume", "distcnn-data", {"spec": {"hostPath": {"path": str(data)}}}
        ),
        "kustomization.yaml": {
            "namespace": "distcnn",
            "bases": ["../local-volume"],
            "images": [{"name": "distcnn", "newName": "localhost/distcnn", "newTag": "test"}],
            "patchesStrategicMerge": ["job.yaml", "volume.yaml"],
            "configMapGenerator": [
                {"name": "distcnn-cluster", "behavior": "replace", "files": ["cluster.yaml"]}
            ],
        },
    }
    for name, content in files.items():
        (overlay / name).write_text(yaml.safe_dump(content))
    return overlay


def patch_of(version, kind, name, rest):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}


@COMPLETE
class TestObjectStore:
    """Survey, package and predictions in a bucket; pods without any volume, as a plain user."""

    def test_predict_gives_the_bytes_of_serial(self, node, section, inputs, tmp_path):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address=NODE_ADDRESS, port=0, verbose=False)
        server.start()
        try:
            endpoint = "http://{}:{}".format(*server.get_host_and_port())
            variables = {
                "AWS_ACCESS_KEY_ID": "tester",
                "AWS_SECRET_ACCESS_KEY": "not-to-be-seen",
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ALLOW_HTTP": "true",
            }
            literals = [f"--from-literal={name}={value}" for name, value in variables.items()]
            node.kubectl("create", "secret", "generic", "distcnn-s3", *literals)
            bucket = bucket_of(endpoint)
            upload(bucket, inputs, ("package", "survey.zarr"))
            changes = {"volumes": [], "secrets": ["distcnn-s3"], **PLAIN_USER}
            site = KubernetesSite(node, section | changes, tmp_path)
            site.environment = variables
            places = [f"s3://stars/{name}" for name in ("package", "survey.zarr", "out.zarr")]
            words = ("--conf", inputs / "my.yaml", "--cluster", site.cluster)
            said = done(site, "predict", *places, *words)
            assert "not-to-be-seen" not in said
            assert digests(bucket, "out.zarr/") == chunks(inputs / "serial.zarr")
        finally:
            server.stop()
            node.kubectl("delete", "secret", "distcnn-s3", "--ignore-not-found")


def bucket_of(endpoint):
    keys = {"aws_access_key_id": "tester", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    bucket = boto3.resource("s3", endpoint_url=endpoint, **keys).Bucket("stars")
    bucket.create()
    return bucket


def upload(bucket, folder, names):
    for name in names:
        for path in (folder / name).rglob("*"):
            if path.is_file():
                bucket.upload_file(str(path), str(path.relative_to(folder)))


def digests(bucket, prefix):
    """As ``chunks``, of a store in a bucket."""
    found = {}
    for item in bucket.objects.filter(Prefix=prefix):
        name = item.key.removeprefix(prefix)
        if "c" in name.split("/"):
            found[name] = hashlib.sha256(item.get()["Body"].read()).hexdigest()
    return found


@COMPLETE
@pytest.mark.parametrize("overlay", ["local-volume", "s3", "gpu"])
def test_every_overlay_is_taken_by_the_api_server(node, overlay):
    folder = ROOT / "deploy" / "kubernetes" / "overlays" / overlay
    if not node.names("namespaces", "kubernetes.io/metadata.name=distcnn"):
        node.kubectl("apply", "-f", ROOT / "deploy/kubernetes/base/namespace.yaml")
    said = node.kubectl("apply", "--dry-run=server", "-k", folder)
    assert "job.batch/distcnn-predict" in said


@COMPLETE
def test_what_is_rendered_is_taken_by_the_api_server(node, config):
    said = node.kubectl("create", "--dry-run=server", "-f", "-", text=render(config))
    assert "daskcluster.kubernetes.dask.org/distcnn-xxxxxxxx created" in said
    assert "secret/distcnn-xxxxxxxx-tls created" in said
