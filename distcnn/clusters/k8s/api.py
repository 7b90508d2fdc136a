"""The API server: the few questions and orders of this backend, and its refusals in words.

Objects go in and come out as the API server writes them, as dictionaries.
"""

import json
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from distcnn.clusters.k8s.manifests import GROUP, PLURAL, VERSION, Manifest
from distcnn.clusters.k8s.settings import KubernetesConfig
from distcnn.errors import ClusterError, MissingExtra

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""What a pod has of its service account."""
RETRIES = 2
"""Of a question whose connection breaks."""
TIMEOUT_S = (10.0, 30.0)
"""Time to connect and time to answer."""
OPERATOR = (
    "helm install --repo https://helm.dask.org --create-namespace -n dask-operator "
    "--generate-name dask-kubernetes-operator"
)
CRDS = "kubectl get crd daskclusters.kubernetes.dask.org"
RIGHTS = "deploy/kubernetes/base/rbac.yaml"
FORBIDDEN, NOT_FOUND, UNAUTHORIZED = 403, 404, 401


class Api:
    """One namespace of a cluster.

    Attributes
    ----------
    inside : whether this process runs in a pod of the cluster.
    """

    def __init__(self, client: Any, namespace: str, *, inside: bool) -> None:
        import kubernetes.client

        self.client, self.namespace, self.inside = client, namespace, inside
        self.core = kubernetes.client.CoreV1Api(client)
        self._custom = kubernetes.client.CustomObjectsApi(client)
        self._rights = kubernetes.client.AuthorizationV1Api(client)

    def create_cluster(self, manifest: Manifest) -> Manifest:
        """Make a DaskCluster; returns it as it is now, with its identity."""
        return self._ask(self._custom.create_namespaced_custom_object, *self._place, manifest)

    def delete_cluster(self, name: str) -> None:
        """Order the end of a DaskCluster and of all that belongs to it, if it is there."""
        with suppress(Gone):
            self._ask(
                self._custom.delete_namespaced_custom_object,
                *self._place,
                name,
                propagation_policy="Foreground",
            )

    def find_cluster(self, name: str) -> Manifest | None:
        """The DaskCluster, or None."""
        return self._find(self._custom.get_namespaced_custom_object, *self._place, name)

    def create_secret(self, manifest: Manifest) -> None:
        """Make a Secret."""
        self._ask(self.core.create_namespaced_secret, self.namespace, manifest)

    def find_service(self, name: str) -> Manifest | None:
        """The Service, or None."""
        return self._find(self.core.read_namespaced_service, name, self.namespace)

    def pods(self, selector: str) -> list[Manifest]:
        """The pods with these labels."""
        found = self._ask(self.core.list_namespaced_pod, self.namespace, label_selector=selector)
        return list(found["items"])

    def own_pod(self) -> Manifest | None:
        """The pod that this process runs in, if that is in the namespace."""
        if not self.inside:
            return None
        selector = f"metadata.name={socket.gethostname()}"
        found = self._ask(self.core.list_namespaced_pod, self.namespace, field_selector=selector)
        return next(iter(found["items"]), None)

    def events(self, pod: str) -> list[Manifest]:
        """What Kubernetes has noted of a pod."""
        selector = f"involvedObject.kind=Pod,involvedObject.name={pod}"
        found = self._ask(self.core.list_namespaced_event, self.namespace, field_selector=selector)
        return list(found["items"])

    def last_words(self, pod: str, *, lines: int, before: bool) -> str:
        """The end of a pod's log, or of that of its container before the last start."""
        text: str = self._raw(
            self.core.read_namespaced_pod_log,
            pod,
            self.namespace,
            tail_lines=lines,
            previous=before,
        )
        return text

    def may(self, verb: str, resource: str, group: str = "") -> bool:
        """Whether the account in use may do this in the namespace."""
        resource, _, sub = resource.partition("/")
        what = {"namespace": self.namespace, "verb": verb, "resource": resource, "group": group}
        body = {"spec": {"resourceAttributes": what | ({"subresource": sub} if sub else {})}}
        answer = self._ask(self._rights.create_self_subject_access_review, body)
        return bool(answer["status"]["allowed"])

    @property
    def _place(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Manifest:
        answer = self._raw(call, *arguments, **options)
        plain: Manifest = self.client.sanitize_for_serialization(answer)
        return plain

    def _find(self, call: Callable[..., Any], *arguments: Any) -> Manifest | None:
        try:
            return self._ask(call, *arguments)
        except Gone:
            return None

    def _raw(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*arguments, _request_timeout=TIMEOUT_S, **options)
        except ApiException as error:
            raise refused(error.status, error.body, error.reason, self.namespace) from None
        except (HTTPError, OSError) as error:
            raise unreachable(self.client.configuration.host, error) from None


class Gone(ClusterError):
    """The object that was asked for is not there."""


def connect(config: KubernetesConfig) -> Api:
    """The cluster of KUBECONFIG, else the one that this process runs in.

    Raises
    ------
    ClusterError : there is neither, or its files cannot be used.
    MissingExtra : the client of Kubernetes is not installed.
    """
    try:
        import kubernetes.client
        import kubernetes.config
    except ImportError:
        raise MissingExtra.of("Kubernetes clusters", "kubernetes", "k8s") from None
    settings = kubernetes.client.Configuration()
    load: Callable[..., Any] = kubernetes.config.load_kube_config
    try:
        file = _kubeconfig()
        load(config_file=file, context=config.context, client_configuration=settings)
        namespace, inside = _namespace_of_context(config.context), ACCOUNT.is_dir()
    except kubernetes.config.ConfigException as error:
        if not ACCOUNT.is_dir() or config.context is not None:
            raise _no_cluster(error) from None
        load = cast(Any, kubernetes.config).load_incluster_config
        load(client_configuration=settings)
        namespace, inside = (ACCOUNT / "namespace").read_text(encoding="utf-8").strip(), True
    settings.retries = RETRIES
    client = kubernetes.client.ApiClient(settings)
    return Api(client, config.namespace or namespace, inside=inside)


def _namespace_of_context(context: str | None) -> str:
    import kubernetes.config

    listing: Callable[..., Any] = kubernetes.config.list_kube_config_contexts
    contexts, current = listing(config_file=_kubeconfig())
    chosen = next((one for one in contexts if one["name"] == context), current)
    return str(chosen["context"].get("namespace", "default"))


def _kubeconfig() -> str | None:
    """As it is named now: the client of Kubernetes has looked when it was imported."""
    return os.environ.get("KUBECONFIG") or None


def _no_cluster(error: Exception) -> ClusterError:
    return ClusterError(
        f"no Kubernetes cluster is known here ({error})",
        expected="a file named by KUBECONFIG, ~/.kube/config, or a pod with a service account",
        cure="Try `kubectl get pods`; where that works, this does.",
    )


def unreachable(host: str, error: Exception) -> ClusterError:
    """The API server does not answer."""
    return ClusterError(
        f"the API server at {host} does not answer ({error})",
        cure="Try `kubectl get pods`; where that works, this does.",
    )


def refused(status: int | None, body: object, reason: object, namespace: str) -> ClusterError:
    """What the API server's refusals mean to a user."""
    said = _message(body) or str(reason)
    if status == UNAUTHORIZED:
        return ClusterError(
            f"the API server does not know who asks ({said})",
            cure="Renew the credentials of KUBECONFIG.",
        )
    if status == FORBIDDEN:
        return forbidden([_right(said)], namespace) if _right(said) else ClusterError(said)
    if status == NOT_FOUND and said == f'namespaces "{namespace}" not found':
        return no_namespace(namespace)
    if status == NOT_FOUND and "not found" in said and '"' in said:
        return Gone(said)
    if status == NOT_FOUND:  # not this object: the very kind of it
        return no_operator("the cluster does not know what a DaskCluster is")
    return ClusterError(f"the API server refuses ({status}: {said})")


def _message(body: object) -> str:
    try:
        return str(json.loads(body)["message"]) if isinstance(body, str | bytes) else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _right(said: str) -> str:
    """``create daskclusters.kubernetes.dask.org`` from the API server's sentence."""
    found = re.search(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"', said)
    if found is None:
        return ""
    verb, resource, group = found.groups()
    return f"{verb} {resource}" + (f" ({group})" if group else "")


def forbidden(missing: list[str], namespace: str) -> ClusterError:
    """The account in use lacks rights, each ``verb resource``."""
    return ClusterError(
        f"this account may not {', '.join(missing)} in the namespace {namespace!r}",
        expected="the rights of the Role `distcnn-client`",
        cure=f"Ask who runs the cluster for `kubectl apply -n {namespace} -f {RIGHTS}` and a "
        "RoleBinding of it to your account.",
    )


def no_namespace(namespace: str) -> ClusterError:
    """There is none of this name."""
    return ClusterError(
        f"there is no namespace {namespace!r}",
        expected="one that exists",
        cure=f"Make it with `kubectl create namespace {namespace}`, or name another: "
        "--set cluster.namespace=NAME.",
    )


def no_operator(problem: str) -> ClusterError:
    """The CRDs, or the operator that acts on them, are missing."""
    return ClusterError(
        problem,
        expected="the Dask operator and its CRDs in the cluster",
        cure=f"Look for them with `{CRDS}`, or have them installed: {OPERATOR}",
    )
