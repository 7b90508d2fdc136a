"""Manifests: the objects that a run makes, as the API server takes them. Pure functions.

The operator of dask-kubernetes makes a DaskCluster into a Deployment and a Service for the
scheduler and a Deployment for each worker, which Kubernetes keeps alive. Labels of the DaskCluster
are on all of them. What differs from the operator's own defaults:

- ``dask scheduler`` and ``dask worker``: ``dask-scheduler`` and ``dask-worker`` are no more;
- the memory limit is given: a worker without one takes the whole node's memory for its own;
- pods run as a plain user, write to ``/scratch`` and their volumes alone, and have no token;
- the dashboard listens inside its pod only, and is seen through a tunnel;
- connections are encrypted with certificates of a Secret that belongs to the DaskCluster.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distcnn.clusters.dask_workers.security import tls_variables_of
from distcnn.clusters.dask_workers.settings import (
    dask_settings,
    dask_variable,
    thread_variables,
)
from distcnn.clusters.k8s.settings import KubernetesConfig, Toleration, Volume
from distcnn.errors import ClusterError

Manifest = dict[str, Any]

GROUP, VERSION, PLURAL = "kubernetes.dask.org", "v1", "daskclusters"
COMM_PORT = 8786
DASHBOARD_PORT = 8787
NANNY_BYTES = 300_000_000
"""What the process that watches over a worker needs beside the worker's own memory [bytes]."""
CERTIFICATES = "/etc/distcnn/tls"
SCRATCH = "/scratch"
OF_A_CLUSTER = "dask.org/cluster-name"
"""Label that the operator puts on all objects of a DaskCluster."""
COMPONENT = "dask.org/component"
POD_NAME = "DISTCNN_POD"
"""Variable with the name of a worker's pod, which is its name for Dask too: a pod that replaces
another one must not be taken for that one, which the scheduler may not miss yet."""


def scheduler_service(name: str) -> str:
    """Name of the Service of the scheduler, and of its Deployment."""
    return f"{name}-scheduler"


def dask_cluster(
    config: KubernetesConfig, name: str, namespace: str, *, workers: int, encrypted: bool
) -> Manifest:
    """The DaskCluster ``name`` in ``namespace``, with certificates if ``encrypted``.

    Raises
    ------
    ClusterError : ``cluster.image`` is not said.
    """
    if config.image is None:
        raise ClusterError(
            "cluster.image is not said",
            expected="an image with the versions of this environment",
            cure="Build one with deploy/docker/Dockerfile and push it, then give its name: "
            "--set cluster.image=REGISTRY/distcnn:TAG.",
        )
    protocol = "tls" if encrypted else "tcp"
    address = f"{protocol}://{scheduler_service(name)}.{namespace}.svc:{COMM_PORT}"
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "DaskCluster",
        "metadata": _metadata(config, name, namespace),
        "spec": {
            "scheduler": {
                "spec": _pod(config, name, _scheduler(config, protocol)),
                "service": _service(config, name),
            },
            "worker": {
                "replicas": workers,
                "spec": _pod(config, name, _worker(config, address, protocol))
                | _of_workers(config),
            },
        },
    }


def certificates(
    config: KubernetesConfig, name: str, namespace: str, files: Mapping[str, str]
) -> Manifest:
    """The Secret with ``ca.pem``, ``cert.pem`` and ``key.pem``."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(config, secret_name(name), namespace),
        "type": "Opaque",
        "stringData": dict(files),
    }


def secret_name(name: str) -> str:
    """Name of the Secret with the certificates of a cluster."""
    return f"{name}-tls"


def image_of(pod: Manifest) -> str:
    """The image of a pod's first container, as it was asked for."""
    return str(pod["spec"]["containers"][0]["image"])


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """The same; it goes when ``owner`` goes, which is as the API server gave it back."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": False,
    }
    return manifest | {"metadata": manifest["metadata"] | {"ownerReferences": [reference]}}


def _metadata(config: KubernetesConfig, name: str, namespace: str) -> Manifest:
    ours = {"app.kubernetes.io/name": "distcnn", "app.kubernetes.io/managed-by": "distcnn"}
    metadata: Manifest = {"name": name, "namespace": namespace, "labels": config.labels | ours}
    return metadata | ({"annotations": config.annotations} if config.annotations else {})


def _service(config: KubernetesConfig, name: str) -> Manifest:
    port = {"name": "tcp-comm", "protocol": "TCP", "port": COMM_PORT, "targetPort": "tcp-comm"}
    selector = {OF_A_CLUSTER: name, COMPONENT: "scheduler"}
    return {"type": config.service, "selector": selector, "ports": [port]}


def _pod(config: KubernetesConfig, name: str, container: Manifest) -> Manifest:
    tls = [{"name": "tls", "secret": {"secretName": secret_name(name), "defaultMode": 0o440}}]
    encrypted = any(mount["name"] == "tls" for mount in container["volumeMounts"])
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": config.grace,
        "securityContext": {
            "runAsNonRoot": config.user != 0,
            "runAsUser": config.user,
            "runAsGroup": config.group,
            "fsGroup": config.group,
            # A volume of many files would otherwise be gone through by every pod.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            *(tls if encrypted else []),
            *(_volume(number, volume) for number, volume in enumerate(config.volumes)),
        ],
        "containers": [container],
    }
    optional = {
        "serviceAccountName": config.service_account,
        "imagePullSecrets": [{"name": secret} for secret in config.pull_secrets],
        "priorityClassName": config.priority_class,
        "tolerations": [_toleration(one) for one in config.tolerations],
    }
    return pod | {key: value for key, value in optional.items() if value}


def _of_workers(config: KubernetesConfig) -> Manifest:
    return {"nodeSelector": config.node_selector} if config.node_selector else {}


def _container(
    config: KubernetesConfig, name: str, command: list[str], encrypted: bool
) -> Manifest:
    tls = [{"name": "tls", "mountPath": CERTIFICATES, "readOnly": True}] if encrypted else []
    env = variables(config) | (_certificate_variables() if encrypted else {})
    container: Manifest = {
        "name": name,
        "image": config.image,
        "imagePullPolicy": config.pull_policy,
        "command": command[:2],
        "args": command[2:],
        "env": [
            {"name": POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *({"name": key, "value": value} for key, value in env.items()),
        ],
        "envFrom": [{"secretRef": {"name": secret}} for secret in config.secrets],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            *tls,
            *(_mount(number, volume) for number, volume in enumerate(config.volumes)),
        ],
    }
    return container if config.secrets else {k: v for k, v in container.items() if k != "envFrom"}


def _scheduler(config: KubernetesConfig, protocol: str) -> Manifest:
    command = [
        *("dask", "scheduler", "--protocol", protocol, "--port", str(COMM_PORT)),
        *("--dashboard-address", f"127.0.0.1:{DASHBOARD_PORT}", "--no-show"),
    ]
    if config.dashboard is None:
        command += ["--no-dashboard"]
    # A port that takes connections is all that can be asked without a certificate.
    probe = {"tcpSocket": {"port": "tcp-comm"}}
    return {
        **_container(config, "scheduler", command, protocol == "tls"),
        "ports": [{"name": "tcp-comm", "containerPort": COMM_PORT, "protocol": "TCP"}],
        "resources": _resources(config.scheduler_cpu, config.scheduler_memory),
        "readinessProbe": {**probe, "periodSeconds": 1, "failureThreshold": 10},
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 120},
        "livenessProbe": {**probe, "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 6},
    }


def _worker(config: KubernetesConfig, address: str, protocol: str) -> Manifest:
    command = [
        *("dask", "worker", address, "--protocol", protocol),
        *("--name", f"$({POD_NAME})", "--nthreads", "1"),
        *("--memory-limit", str(config.memory_limit), "--local-directory", SCRATCH),
        # Without an address Dask would show its numbers at every address of the pod.
        *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
        *("--preload", "distcnn.clusters.preload"),
        *("--preload-nanny", "distcnn.clusters.dask_workers.memory_watch"),
        # A worker that finds no scheduler ends, and its pod starts it again.
        *("--death-timeout", "60"),
    ]
    resources = _resources(config.cpu, config.memory_limit + NANNY_BYTES)
    if config.gpus:
        resources["limits"][config.gpu_resource] = str(config.gpus)
    return {
        **_container(config, "worker", command, protocol == "tls"),
        "resources": resources,
    }


def _resources(cpu: float, memory: int) -> Manifest:
    """Memory is a hard limit; cores are a share, for a limit would slow down what could run."""
    cores = f"{round(cpu * 1000)}m"
    return {"requests": {"cpu": cores, "memory": str(memory)}, "limits": {"memory": str(memory)}}


def variables(config: KubernetesConfig) -> dict[str, str]:
    """Environment of every pod: our settings of Dask, threads, places to write, the user's own."""
    settings = dask_settings(Path(SCRATCH), config.threads)
    # The preload of workers stands on their command line; here it would be read twice.
    settings.pop("distributed.worker.preload")
    # Kubernetes kills at the limit, and says so; Dask would be a little faster, and silent.
    settings["distributed.worker.memory.terminate"] = False
    return {
        **{dask_variable(key): str(value) for key, value in sorted(settings.items())},
        **thread_variables(config.threads),
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "DISTCNN_CACHE": f"{SCRATCH}/distcnn",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **config.env,
    }


def _certificate_variables() -> dict[str, str]:
    return tls_variables_of(*(f"{CERTIFICATES}/{part}.pem" for part in ("ca", "cert", "key")))


def _volume(number: int, volume: Volume) -> Manifest:
    source: Manifest
    if volume.host_path is not None:
        source = {"hostPath": {"path": volume.host_path, "type": "Directory"}}
    elif volume.claim is not None:
        source = {"persistentVolumeClaim": {"claimName": volume.claim}}
    elif volume.secret is not None:
        source = {"secret": {"secretName": volume.secret}}
    else:
        source = {"configMap": {"name": volume.config_map}}
    return {"name": f"volume-{number}", **source}


def _mount(number: int, volume: Volume) -> Manifest:
    mount: Manifest = {"name": f"volume-{number}", "mountPath": volume.mount}
    return mount | ({"readOnly": True} if volume.read_only else {})


def _toleration(toleration: Toleration) -> Manifest:
    return toleration.model_dump(exclude_none=True)
