"""deploy/kubernetes and what a run creates, against the models of a new Kubernetes (client 37).

The same manifests are applied for real, to an old one, by tests/clusters/test_clusters_k8s.py.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes.client
import pytest
import yaml

from distcnn.clusters.k8s import KubernetesConfig, manifests, render, run
from distcnn.config import load_config
from distcnn.errors import ConfigError

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
EVERYTHING = {
    "image": "registry/distcnn:1",
    "namespace": "stars",
    "workers": 3,
    "gpus": 1,
    "service": "NodePort",
    "service_account": "worker",
    "pull_secrets": ["registry"],
    "priority_class": "low",
    "labels": {"team": "stars"},
    "annotations": {"note": "x"},
    "node_selector": {"disk": "fast"},
    "tolerations": [{"key": "gpu", "effect": "NoSchedule"}],
    "secrets": ["distcnn-s3"],
    "env": {"AWS_REGION": "eu"},
    "volumes": [
        {"claim": "data", "mount": "/data"},
        {"host_path": "/archive", "mount": "/archive", "read_only": True},
        {"secret": "keys", "mount": "/keys"},
        {"config_map": "conf", "mount": "/conf"},
    ],
}


def config_of(**changes):
    return KubernetesConfig.model_validate({"backend": "k8s", **changes})


def documents():
    """Whole objects of the files; patches and configurations are none."""
    for path in FILES:
        for one in yaml.safe_load_all(path.read_text()):
            if "kind" in one and not _is_patch(path, one):
                yield pytest.param(one, id=f"{path.relative_to(FOLDER)}:{one['kind']}")


def _is_patch(path, document):
    name = path.relative_to(path.parent).as_posix()
    beside = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
    return name in beside.get("patchesStrategicMerge", ()) or "$patch" in document


def model_of(kind):
    return getattr(kubernetes.client, f"V1{kind}")


def assert_valid(model, value, where="", open_keys=()):
    """Types and required keys by the model; no key that it does not know, at any depth."""
    model.from_dict(value)
    types = dict(zip(model.attribute_map.values(), model.openapi_types.values(), strict=True))
    for key, inner in value.items():
        assert key in types, f"{where}.{key} is unknown to {model.__name__}"
        _walk(types[key], inner, f"{where}.{key}")


def _walk(kind, value, where):
    inner = re.fullmatch(r"(?:List\[|Dict\[str, )(\w+)\]", kind)
    name = inner.group(1) if inner else kind
    model = getattr(kubernetes.client, name, None)
    if model is None or not hasattr(model, "openapi_types"):
        return
    parts = value if isinstance(value, list) else value.values() if inner else [value]
    for number, part in enumerate(parts):
        assert_valid(model, part, f"{where}[{number}]" if inner else where)


def pod_specs():
    for one in documents():
        (document,) = one.values
        if document["kind"] == "Job":
            yield pytest.param(document["spec"]["template"]["spec"], id=str(one.id))
    for name, settings in (("least", {"image": "a:1"}), ("everything", EVERYTHING)):
        spec = dask_cluster(**settings)["spec"]
        for part in ("scheduler", "worker"):
            yield pytest.param(spec[part]["spec"], id=f"{name}:{part}")


def dask_cluster(**settings):
    (cluster, *_) = yaml.safe_load_all(render(config_of(**settings)))
    return cluster


@pytest.mark.parametrize("document", list(documents()))
def test_every_file_is_valid_for_a_new_kubernetes(document):
    assert_valid(model_of(document["kind"]), document, document["kind"])


def test_an_unknown_key_would_be_found():
    with pytest.raises(AssertionError, match=r"Pod\.spec\.conteiners is unknown"):
        assert_valid(kubernetes.client.V1Pod, {"spec": {"conteiners": [], "containers": []}}, "Pod")


@pytest.mark.parametrize("spec", list(pod_specs()))
class TestEveryPod:
    def test_is_valid_for_a_new_kubernetes(self, spec):
        assert_valid(kubernetes.client.V1PodSpec, spec, "spec")

    def test_passes_the_restricted_standard(self, spec):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]

    def test_only_a_client_has_a_token(self, spec):
        client = spec.get("serviceAccountName") == "distcnn-client"
        assert spec["automountServiceAccountToken"] is client


@pytest.mark.parametrize("settings", [{"image": "a:1"}, EVERYTHING], ids=["least", "everything"])
def test_what_a_run_creates_is_what_the_operator_knows(settings):
    operator = Path(importlib.util.find_spec("dask_kubernetes").origin).parent / "operator"
    (path,) = operator.glob("deployment/helm/*/crds/daskcluster.yaml")
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    cluster = dask_cluster(**settings)
    jsonschema.validate(cluster["spec"], version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    assert cluster["apiVersion"].endswith(version["name"])
    assert_valid(kubernetes.client.V1ServiceSpec, cluster["spec"]["scheduler"]["service"])
    (_, secret) = yaml.safe_load_all(render(config_of(**settings)))
    assert_valid(kubernetes.client.V1Secret, secret)


class TestRender:
    def test_is_the_same_every_time(self):
        assert render(config_of(**EVERYTHING)) == render(config_of(**EVERYTHING))

    def test_has_what_the_settings_say(self):
        worker = dask_cluster(**EVERYTHING)["spec"]["worker"]
        (container,) = worker["spec"]["containers"]
        assert worker["replicas"] == 3
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert worker["spec"]["nodeSelector"] == {"disk": "fast"}
        assert container["envFrom"] == [{"secretRef": {"name": "distcnn-s3"}}]
        assert {"name": "AWS_REGION", "value": "eu"} in container["env"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/data", "/archive", "/keys", "/conf", "/scratch"} <= mounts

    def test_gives_the_worker_its_memory_and_the_pod_a_little_more(self):
        worker = dask_cluster(image="a:1", memory_limit=10**9)["spec"]["worker"]["spec"]
        (container,) = worker["containers"]
        given = container["args"][container["args"].index("--memory-limit") + 1]
        assert given == str(10**9)
        assert container["resources"]["limits"]["memory"] == str(10**9 + manifests.NANNY_BYTES)

    def test_without_encryption_has_no_certificates(self):
        text = render(config_of(image="a:1", tls="off"))
        assert "tls" not in text.replace("distributed.comm.tls", "")
        assert len(list(yaml.safe_load_all(text))) == 1

    def test_without_an_image_tells_how_to_get_one(self):
        with pytest.raises(run.ClusterError, match="deploy/docker/Dockerfile"):
            render(config_of())

    def test_of_the_preset_needs_an_image_only(self):
        config = load_config(None, ["cluster.image=a:1"], "k8s")
        assert "kind: DaskCluster" in render(config.cluster)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"volumes": [{"mount": "/a"}]}, "one of host_path, claim, secret and config_map"),
        ({"volumes": [{"mount": "a", "claim": "b"}]}, "mount"),
        ({"user": 0}, "allow_root"),
        ({"name": "Distcnn"}, "name"),
        ({"namespace": "a b"}, "namespace"),
        ({"service": "Ingress"}, "ClusterIP"),
    ],
)
def test_settings_that_kubernetes_would_refuse_are_refused_at_once(wrong, told):
    with pytest.raises(ValueError, match=told):
        config_of(**wrong)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_BEARER_TOKEN",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "HTTP_PASSWD",
    ],
)
def test_credentials_among_the_variables_are_refused_and_not_shown(name):
    with pytest.raises(ConfigError) as caught:
        config_of(env={name: "hush"})
    assert "cluster.secrets" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_the_command_prints_what_a_run_creates_and_creates_nothing():
    words = ("cluster", "render", "k8s", "--set", "cluster.image=a:1")
    printed = subprocess.run(
        [sys.executable, "-m", "distcnn", *words], capture_output=True, text=True, check=True
    ).stdout
    assert printed == render(load_config(None, ["cluster.image=a:1"], "k8s").cluster)


class TestRights:
    @pytest.fixture
    def rules(self):
        (role,) = [
            one
            for one in yaml.safe_load_all((FOLDER / "base" / "rbac.yaml").read_text())
            if one["kind"] == "Role"
        ]
        return {
            (verb, resource, group)
            for rule in role["rules"]
            for verb in rule["verbs"]
            for resource in rule["resources"]
            for group in rule["apiGroups"]
        }

    def test_are_all_that_a_run_asks_for(self, rules):
        assert {*run.RIGHTS, run.SECRETS, run.TUNNEL} <= rules

    def test_are_few(self, rules):
        assert not any("*" in part for rule in rules for part in rule)
        assert {verb for verb, resource, _ in rules if resource == "secrets"} == {"create"}
        assert len(rules) <= len({*run.RIGHTS, run.SECRETS, run.TUNNEL}) + 3


def test_no_file_has_a_password_and_no_image_is_latest():
    for path in FOLDER.rglob("*.yaml"):
        text = "\n".join(line.split("#")[0] for line in path.read_text().splitlines())
        assert not re.search(r"password|(?i:secret_access_key)|:latest|kind: Secret", text), path


def test_configurations_for_the_client_are_read(tmp_path):
    for path in FOLDER.rglob("cluster.yaml"):
        assert load_config(None, [], str(path)).cluster.backend == "k8s"
