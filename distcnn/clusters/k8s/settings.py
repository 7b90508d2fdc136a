"""Settings of the backend ``k8s``: what its pods are made of, and how they are reached."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from distcnn.config import ClusterConfig
from distcnn.config.base import Bytes, Frozen
from distcnn.config.secrets import holds_secret
from distcnn.errors import ConfigError

LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""What Kubernetes takes as a name (RFC 1123)."""
Name = Annotated[str, Field(pattern=LABEL, max_length=63)]


class Volume(Frozen):
    """A folder that every pod of a run has; exactly one of the kinds below.

    Paths of the survey, the package and the predictions are the same in every pod: give the
    client the same ones.
    """

    mount: str = Field(pattern="^/")
    """Where pods see it."""
    host_path: str | None = Field(None, pattern="^/")
    """A folder of the node: for one node, or a file system that all nodes mount."""
    claim: Name | None = None
    """A PersistentVolumeClaim of the namespace; several nodes need the mode ReadWriteMany."""
    secret: Name | None = None
    """A Secret of the namespace, as files."""
    config_map: Name | None = None
    """A ConfigMap of the namespace, as files."""
    read_only: bool = False
    """Whether pods may not write there."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = (self.host_path, self.claim, self.secret, self.config_map)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("one of host_path, claim, secret and config_map")
        return self


class Toleration(Frozen):
    """A taint of nodes that pods put up with; as in a pod's specification."""

    key: str | None = None
    """Of the taint; None = all."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """``Equal`` compares ``value``."""
    value: str | None = None
    """Of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Of the taint; None = all."""


class KubernetesConfig(ClusterConfig):
    """Pods that the Dask operator runs in a Kubernetes cluster; nothing is left of them.

    The cluster is that of KUBECONFIG (or ``~/.kube/config``), or the one that the command itself
    runs in. Labels, selectors and the like are handed to Kubernetes as they are.
    """

    backend: str = "k8s"
    """See above."""
    workers: int | None = Field(None, ge=1)
    """Worker pods; None = two, for nobody can know what a cluster has room for."""
    restarts: int = Field(3, ge=0)
    """Times a stage goes on with a new cluster when the scheduler is lost."""
    image: str | None = None
    """Image of all pods, with the versions of this environment (``deploy/docker/Dockerfile``);
    None = that of the pod in which the command runs."""
    namespace: Name | None = None
    """Where everything is made; None = that of the context, or of the pod that asks."""
    context: str | None = None
    """Context of KUBECONFIG; None = the current one."""
    name: Annotated[str, Field(pattern=LABEL, max_length=40)] = "distcnn"
    """What the names of all objects begin with; eight random letters follow, so that no two
    runs meet."""

    cpu: float = Field(1.0, gt=0)
    """Cores that a worker asks for; it may use more where they are idle. At least
    ``resources.threads``, or it is slowed down by its neighbours."""
    gpus: int = Field(0, ge=0)
    """GPUs of a worker."""
    gpu_resource: str = "nvidia.com/gpu"
    """What the nodes call their GPUs."""
    scheduler_cpu: float = Field(0.5, gt=0)
    """Cores that the scheduler asks for."""
    scheduler_memory: Bytes = 2_000_000_000
    """Memory of the scheduler; a worker's is ``resources.memory``."""

    volumes: tuple[Volume, ...] = ()
    """Folders that all pods have, at the same paths; see ``cluster.volumes`` below."""
    secrets: tuple[Name, ...] = ()
    """Secrets whose entries become environment variables of all pods: credentials of an object
    store (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."""
    env: dict[str, str] = Field(default_factory=dict)
    """Further environment variables of all pods (AWS_ENDPOINT_URL, AWS_REGION); no secrets."""

    service: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """How the scheduler is reached. ``ClusterIP``: by its name from inside the cluster, from
    elsewhere through a tunnel of the API server, which needs the right to create pods/portforward;
    ``NodePort``: by a port of its node; ``LoadBalancer``: by an address of the provider."""

    service_account: Name | None = None
    """Account of the pods; they are given no token of it."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is fetched."""
    pull_secrets: tuple[Name, ...] = ()
    """Secrets for the registry of the image."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Further labels of all objects."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of all objects."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a worker's node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that pods put up with."""
    priority_class: Name | None = None
    """PriorityClass of the pods."""
    user: int = Field(1000, ge=0)
    """User that pods run as; 0, root, only if ``allow_root``."""
    group: int = Field(1000, ge=0)
    """Group that pods run as, to which their volumes are given where the kind of volume can."""
    allow_root: bool = False
    """Whether pods may run as root; a namespace may refuse them."""
    grace: int = Field(3, ge=0)
    """Time that a pod has to end once it is told to [s]."""

    @field_validator("env", mode="before")
    @classmethod
    def _holds_no_secret(cls, value: Any) -> Any:
        for name in value if isinstance(value, dict) else ():
            if holds_secret(str(name)):
                # Not a ValueError, which would be shown with what was given.
                raise ConfigError(
                    f"cluster.env has {name}, which everyone who sees the pods can read",
                    expected="a Secret of the namespace, named by cluster.secrets",
                    cure=f"kubectl create secret generic NAME --from-literal={name}=...",
                )
        return value

    @model_validator(mode="after")
    def _not_by_chance_root(self) -> Self:
        if self.user == 0 and not self.allow_root:
            raise ValueError("cluster.user is root: set cluster.allow_root=true if that is meant")
        return self
