"""What the API server and the states of pods say, in words; the answers are those of real ones."""

import json

import pytest

from distcnn.clusters.k8s import KubernetesConfig, api, manifests, run, states
from distcnn.clusters.registry import find_backend
from distcnn.errors import ClusterError


def pod(waiting=None, terminated=None, conditions=(), limit="1300M"):
    """As ``kubectl get pod -o json`` prints it."""
    container = {"name": "worker", "image": "a:1", "state": {}, "lastState": {}}
    if waiting:
        container["state"] = {"waiting": waiting}
    if terminated:
        container["lastState"] = {"terminated": terminated}
    return {
        "metadata": {"name": "w"},
        "spec": {"containers": [{"name": "worker", "resources": {"limits": {"memory": limit}}}]},
        "status": {"conditions": list(conditions), "containerStatuses": [container]},
    }


def test_a_pod_that_runs_has_no_trouble():
    running = pod(conditions=[{"type": "PodScheduled", "status": "True"}])
    assert states.trouble_of(running) is None


@pytest.mark.parametrize(
    ("reason", "message", "told", "final"),
    [
        (
            "ErrImagePull",
            "not found",
            "its image cannot be pulled (ErrImagePull: not found)",
            False,
        ),
        ("ImagePullBackOff", "", "its image cannot be pulled (ImagePullBackOff: a:1)", True),
        ("InvalidImageName", "", "its image has no valid name", True),
        ("CreateContainerConfigError", 'secret "x" not found', 'secret "x" not found', True),
        ("CrashLoopBackOff", "", "it ends again and again", True),
    ],
)
def test_what_a_container_waits_for_is_told(reason, message, told, final):
    trouble = states.trouble_of(pod(waiting={"reason": reason, "message": message}))
    assert told in trouble.text
    assert trouble.final is final


def test_a_container_that_is_being_made_is_no_trouble():
    assert states.trouble_of(pod(waiting={"reason": "ContainerCreating"})) is None


def test_a_pod_without_a_node_is_told_with_the_scheduler_s_words():
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }
    trouble = states.trouble_of(pod(conditions=[condition]))
    assert "3 Insufficient nvidia.com/gpu" in trouble.text
    assert "cluster.gpus" in trouble.cure
    assert not trouble.final


@pytest.mark.parametrize(
    ("limit", "told"), [("1300M", "1.3 GB"), ("2147483648", "2.15 GB"), ("2Gi", "2.15 GB")]
)
def test_a_kill_for_memory_is_told_with_its_limit(limit, told):
    trouble = states.trouble_of(pod(terminated={"reason": "OOMKilled"}, limit=limit))
    assert f"killed for memory (OOMKilled): its limit is {told}" in trouble.text
    assert "resources.memory" in trouble.cure


def test_equal_troubles_are_counted():
    trouble = states.trouble_of(pod(terminated={"reason": "OOMKilled"}))
    assert states.tell([trouble, trouble]).startswith("2 pods: it was killed for memory")
    assert states.tell([]) == ""


def said(message):
    return json.dumps({"kind": "Status", "message": message})


def test_a_refusal_names_verb_and_resource():
    message = (
        'daskclusters.kubernetes.dask.org is forbidden: User "system:serviceaccount:a:b" cannot '
        'create resource "daskclusters" in API group "kubernetes.dask.org" in the namespace "a"'
    )
    text = str(api.refused(403, said(message), "Forbidden", "a"))
    assert (
        "this account may not create daskclusters (kubernetes.dask.org) in the namespace 'a'"
        in (text)
    )
    assert "rbac.yaml" in text


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, said("the quota is used up"), "the quota is used up"),
        (401, said("Unauthorized"), "does not know who asks"),
        (404, said('namespaces "a" not found'), "there is no namespace 'a'"),
        (404, "404 page not found", "does not know what a DaskCluster is"),
        (500, said("etcd is gone"), "500: etcd is gone"),
        (422, said("spec.replicas: Invalid value"), "Invalid value"),
    ],
)
def test_every_refusal_is_told(status, body, told):
    assert told in str(api.refused(status, body, "Reason", "a"))


def test_what_is_gone_is_an_error_of_its_own():
    gone = api.refused(404, said('daskclusters.kubernetes.dask.org "x" not found'), "", "a")
    assert isinstance(gone, api.Gone)


def test_without_a_cluster_the_files_that_were_looked_for_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    config = KubernetesConfig(backend="k8s", image="a:1", context="elsewhere")
    with pytest.raises(ClusterError, match="no Kubernetes cluster is known here"):
        api.connect(config)


def test_an_api_server_that_does_not_answer_is_named(monkeypatch, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "k", "context": {"cluster": "k", "user": "k", "namespace": "stars"}}
    settings = {"clusters": [cluster], "contexts": [context], "current-context": "k"}
    kubeconfig.write_text(json.dumps(settings | {"users": [{"name": "k", "user": {}}]}))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    door = api.connect(KubernetesConfig(backend="k8s"))
    assert (door.namespace, door.inside) == ("stars", False)
    with pytest.raises(ClusterError, match=r"https://127\.0\.0\.1:1 does not answer"):
        door.pods("a=b")


def test_the_service_of_a_cloud_is_reached_where_it_says():
    config = KubernetesConfig(backend="k8s", image="a:1", service="LoadBalancer")
    cluster = run.Cluster(None, config, "x", print, None)
    service = {"spec": {"ports": [{"port": 8786}]}, "status": {"loadBalancer": {}}}
    assert cluster._address_of(service) is None
    service["status"]["loadBalancer"]["ingress"] = [{"hostname": "here.example"}]
    assert cluster._address_of(service) == "here.example:8786"


def test_every_setting_of_dask_survives_as_a_variable(monkeypatch):
    import dask

    from distcnn.clusters.dask_workers.settings import dask_settings

    variables = manifests.variables(KubernetesConfig(backend="k8s"))
    read = dask.config.collect(paths=[], env=variables)
    for key, value in dask_settings(manifests.Path(manifests.SCRATCH)).items():
        if key not in {"distributed.worker.preload", "distributed.worker.memory.terminate"}:
            assert dask.config.get(key, config=read) == value, key
    assert dask.config.get("distributed.worker.memory.terminate", config=read) is False


def test_its_settings_need_nothing_installed():
    assert find_backend("k8s").load_settings() is KubernetesConfig
