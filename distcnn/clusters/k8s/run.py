"""A run in a Kubernetes cluster: its objects made, waited for, and taken away again."""

import logging
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import dask
import yaml
from distributed import Client

from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.dask_workers.gang import RERUN
from distcnn.clusters.dask_workers.security import choose_security, pem_texts
from distcnn.clusters.dask_workers.settings import dask_settings
from distcnn.clusters.dask_workers.starting.arrival import wait_for_workers
from distcnn.clusters.k8s import manifests, states
from distcnn.clusters.k8s.api import Api, connect, forbidden, no_operator
from distcnn.clusters.k8s.manifests import Manifest
from distcnn.clusters.k8s.settings import KubernetesConfig
from distcnn.clusters.k8s.tunnel import open_tunnel
from distcnn.errors import ClusterError, SchedulerLost
from distcnn.events import Listener, Notice

POLL_S = 0.25
"""Time between two questions to the API server."""
OPERATOR_TIMEOUT_S = 30.0
"""Time in which the operator makes the pod of a scheduler; it needs a second."""
NAMES_TRIED = 3
"""Clusters that are made anew if nothing comes of one."""
NEWS_S = 3.0
"""Time after the death of a worker until Kubernetes has written down why."""
CONNECT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
"""Time for pods to end."""
SIGNAL_TIMEOUT_S = 7.0
"""The same after Ctrl-C, when the command has to end within seconds."""
RIGHTS = (
    *(("create", "daskclusters", manifests.GROUP), ("get", "daskclusters", manifests.GROUP)),
    *(("delete", "daskclusters", manifests.GROUP), ("list", "pods", "")),
    ("get", "services", ""),
)
SECRETS = ("create", "secrets", "")
TUNNEL = ("create", "pods/portforward", "")


@contextmanager
def open_workers(
    config: KubernetesConfig, workers: int, listener: Listener
) -> Iterator[DaskExecutor]:
    """A cluster of our own with a client and an executor."""
    api = connect(config)
    # In a pod of many users nobody else reaches the loopback interface; here everything is beyond.
    security = choose_security(config.tls, loopback=False)
    _check_rights(api, config, encrypted=security is not None)
    pod = api.own_pod()
    if pod is not None and config.image is None:
        config = config.model_copy(update={"image": manifests.image_of(pod)})
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(dask.config.set(dask_settings(Path(tempfile.gettempdir()))))
        cluster = _start(
            stack,
            lambda end: Cluster(api, config, f"{config.name}-{end}", listener, pod),
            workers,
            security,
        )
        address = stack.enter_context(cluster.reach())
        client = _client(address, security)
        stack.push(partial(_close_client, client))
        dashboard = stack.enter_context(cluster.dashboard())
        came = wait_for_workers(
            client,
            workers,
            patience=config.patience,
            least=1,
            listener=listener,
            why=cluster.why,
            look=cluster.check_workers,
        )
        stack.push(cluster.stopping)
        yield DaskExecutor(client, config, workers=came, dashboard=dashboard, why=cluster.why)


def render(config: KubernetesConfig, workers: int) -> str:
    """See ``distcnn.clusters.k8s.render``."""
    name, namespace = f"{config.name}-xxxxxxxx", config.namespace or "default"
    encrypted = config.tls.mode != "off"
    made = manifests.dask_cluster(config, name, namespace, workers=workers, encrypted=encrypted)
    documents = [made]
    if encrypted:
        words = dict.fromkeys(("ca.pem", "cert.pem", "key.pem"), "made for the run")
        documents.append(manifests.certificates(config, name, namespace, words))
    return yaml.safe_dump_all(documents, sort_keys=False, width=100)


def _check_rights(api: Api, config: KubernetesConfig, *, encrypted: bool) -> None:
    """All that is missing at once, before anything is made."""
    tunnel = config.service == "ClusterIP" and not api.inside
    needed = (*RIGHTS, *((SECRETS,) if encrypted else ()), *((TUNNEL,) if tunnel else ()))
    missing = [f"{v} {r}" + (f".{g}" if g else "") for v, r, g in needed if not api.may(v, r, g)]
    if missing:
        raise forbidden(missing, api.namespace)


def _start(
    stack: ExitStack,
    named: Callable[[str], "Cluster"],
    workers: int,
    security: Any,
) -> "Cluster":
    """A cluster whose scheduler is ready, under one name or the next."""
    for tried in range(1, NAMES_TRIED + 1):
        cluster = named(secrets.token_hex(4))
        stack.push(cluster.close)
        cluster.make(workers, security)
        try:
            cluster.wait_for_scheduler()
        except NothingCame as nothing:
            if tried == NAMES_TRIED:
                raise
            text = f"{nothing.problem}; trying again under another name"
            cluster.listener(Notice(text, "warning"))
            cluster.api.delete_cluster(cluster.name)
            continue
        return cluster
    raise AssertionError


class NothingCame(ClusterError):
    """The operator has made nothing of a DaskCluster."""


class Cluster:
    """A DaskCluster of ours; ``owner``: the pod in which this process runs, if it does."""

    def __init__(
        self,
        api: Api,
        config: KubernetesConfig,
        name: str,
        listener: Listener,
        owner: Manifest | None,
    ) -> None:
        self.api, self.config, self.name, self.listener = api, config, name, listener
        self.owner = owner
        self.service = manifests.scheduler_service(name)
        self.protocol = "tcp"

    def make(self, workers: int, security: Any) -> None:
        """Create the DaskCluster, and the Secret that its pods wait for."""
        place = self.config, self.name, self.api.namespace
        encrypted = security is not None
        self.protocol = "tls" if encrypted else "tcp"
        wanted = manifests.dask_cluster(*place, workers=workers, encrypted=encrypted)
        if self.owner is not None:  # goes with the pod that made it, if that dies unheard
            pod = {"apiVersion": "v1", "kind": "Pod"} | self.owner
            wanted = manifests.owned(wanted, pod)
        made = self.api.create_cluster(wanted)
        if encrypted:
            files = {f"{part}.pem": text for part, text in pem_texts(security).items()}
            secret = manifests.certificates(*place, files)
            self.api.create_secret(manifests.owned(secret, made))

    def wait_for_scheduler(self) -> None:
        """Until its pod is ready.

        Raises
        ------
        NothingCame : the operator has made no pod.
        ClusterError : the pod does not run; says why.
        """
        begun, patience = monotonic(), self.config.patience
        while not self._ready_schedulers():
            waited = monotonic() - begun
            troubles = states.find_troubles(self.api, self.name, "scheduler")
            if any(trouble.final for trouble in troubles) or (troubles and waited > patience):
                raise self._no_scheduler(troubles)
            if waited > OPERATOR_TIMEOUT_S and not self._pods("scheduler"):
                raise self._nothing_came(waited)
            if waited > max(patience, OPERATOR_TIMEOUT_S):
                raise self._no_scheduler(troubles)
            sleep(POLL_S)

    @contextmanager
    def reach(self) -> Iterator[str]:
        """Yields the scheduler's address as this process sees it."""
        if self.api.inside:
            host = f"{self.service}.{self.api.namespace}.svc"
            yield f"{self.protocol}://{host}:{manifests.COMM_PORT}"
        elif self.config.service == "ClusterIP":
            with open_tunnel(self.api, self._scheduler_pod(), manifests.COMM_PORT) as here:
                yield f"{self.protocol}://{here}"
        else:
            yield f"{self.protocol}://{self._outside()}"

    @contextmanager
    def dashboard(self) -> Iterator[str | None]:
        """Yields the dashboard's address on this machine, if there is a way to it."""
        wanted = self.config.dashboard
        if wanted is None or self.api.inside or not self.api.may(*TUNNEL[:2]):
            yield None
            return
        pod, port = self._scheduler_pod(), manifests.DASHBOARD_PORT
        with open_tunnel(self.api, pod, port, wanted) as here:
            yield f"http://{here}/status"

    def check_workers(self, came: int) -> None:
        """Look whether waiting for the first worker is in vain.

        Raises
        ------
        ClusterError : no pod of a worker runs, and none will; says why.
        """
        if came:
            return
        troubles = states.find_troubles(self.api, self.name, "worker")
        final = [trouble for trouble in troubles if trouble.final]
        if final and len(final) >= len(self._pods("worker")):
            raise ClusterError(
                f"no worker runs ({states.tell(final)})", cure=final[0].cure or RERUN
            )

    def why(self) -> str:
        """What Kubernetes knows of workers that are not there."""
        deadline = monotonic() + NEWS_S
        try:
            while not (known := states.find_troubles(self.api, self.name, "worker")):
                if monotonic() > deadline:
                    return ""
                sleep(POLL_S)
            return states.tell(known)
        except ClusterError as error:
            return f"what became of them is not known: {error.problem}"

    def stopping(self, kind: type[BaseException] | None, *_: object) -> None:
        """The first thing done at the end, while the pods are there still."""
        with suppress(ClusterError):
            if _signalled(kind):
                self.api.delete_cluster(self.name)
            elif kind is not None and issubclass(kind, SchedulerLost):
                self._tell_of_scheduler()
            elif killed := states.killed_for_memory(self.api, self.name):
                text = f"killed for memory meanwhile: {', '.join(killed)}"
                self.listener(Notice(f"{text}. {states.MEMORY}", "warning"))

    def _tell_of_scheduler(self) -> None:
        """Why it was lost, where its pod is there still and says so."""
        if known := states.tell(states.find_troubles(self.api, self.name, "scheduler")):
            text = f"of the scheduler, whose memory is cluster.scheduler_memory: {known}"
            self.listener(Notice(text, "warning"))

    def close(self, kind: type[BaseException] | None, *_: object) -> None:
        """Take everything down and see it gone; after Ctrl-C for seconds only."""
        deadline = monotonic() + (SIGNAL_TIMEOUT_S if _signalled(kind) else STOP_TIMEOUT_S)
        try:
            self.api.delete_cluster(self.name)
            while self.api.find_cluster(self.name) is not None or self._pods():
                if monotonic() > deadline:
                    self._say_what_is_left()
                    return
                sleep(POLL_S)
        except ClusterError as error:
            self._say_what_is_left(f" ({error.problem})")

    def _say_what_is_left(self, why: str = "") -> None:
        line = f"kubectl get -n {self.api.namespace} daskcluster {self.name}"
        text = f"the DaskCluster {self.name} was told to end and is not gone yet{why}: `{line}`"
        self.listener(Notice(text, "warning"))

    def _pods(self, component: str | None = None) -> list[Manifest]:
        if component is None:
            return self.api.pods(f"{manifests.OF_A_CLUSTER}={self.name}")
        return self.api.pods(states.selector(self.name, component))

    def _ready_schedulers(self) -> list[Manifest]:
        return [pod for pod in self._pods("scheduler") if ("Ready", "True") in _conditions(pod)]

    def _scheduler_pod(self) -> str:
        ready = self._ready_schedulers()
        if not ready:
            raise SchedulerLost(f"the scheduler of {self.name} is gone", cure=RERUN)
        return str(ready[0]["metadata"]["name"])

    def _outside(self) -> str:
        """``HOST:PORT`` of the Service, once it has one."""
        deadline = monotonic() + self.config.patience
        while monotonic() < deadline:
            service = self.api.find_service(self.service)
            if service is not None and (where := self._address_of(service)):
                return where
            sleep(POLL_S)
        raise ClusterError(
            f"the Service {self.service} has no address after {self.config.patience:g} s",
            expected=f"a cluster that has Services of the type {self.config.service}",
            cure="Take --set cluster.service=ClusterIP, which needs none.",
        )

    def _address_of(self, service: Manifest) -> str | None:
        (port,) = service["spec"]["ports"]
        if self.config.service == "NodePort":
            # The scheduler's own node: asking for nodes would need rights beyond the namespace.
            hosts = [pod["status"].get("hostIP") for pod in self._pods("scheduler")]
            return f"{hosts[0]}:{port['nodePort']}" if hosts else None
        for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress", ()):
            return f"{ingress.get('hostname') or ingress.get('ip')}:{port['port']}"
        return None

    def _no_scheduler(self, troubles: list[states.Trouble]) -> ClusterError:
        known = troubles[0] if troubles else states.Trouble("nothing is known of it", RERUN)
        problem = f"the pod of the scheduler does not run: {known.text}"
        return ClusterError(problem, cure=known.cure or RERUN)

    def _nothing_came(self, waited: float) -> NothingCame:
        cluster = self.api.find_cluster(self.name)
        phase = (cluster or {}).get("status", {}).get("phase")
        said = "no operator has taken notice of it" if phase is None else f"its phase is {phase}"
        known = no_operator(
            f"no pod came of the DaskCluster {self.name} within {waited:.0f} s: {said}"
        )
        return NothingCame(known.problem, expected=known.expected, cure=known.cure)


def _conditions(pod: Manifest) -> list[tuple[str, str]]:
    if "deletionTimestamp" in pod["metadata"]:
        return []
    return [(one["type"], one["status"]) for one in pod["status"].get("conditions", ())]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's tracebacks of connections that break: what matters comes as an error."""
    dask_s = ("distributed", "tornado.application")
    found = {name: logging.getLogger(name) for name in logging.root.manager.loggerDict}
    levels = {one: one.level for name, one in found.items() if name.startswith(dask_s)}
    for one in levels:
        one.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for one, level in levels.items():
            one.setLevel(level)


def _client(address: str, security: Any) -> Any:
    make: Callable[..., Any] = Client
    try:
        return make(address, set_as_default=False, timeout=CONNECT_TIMEOUT_S, security=security)
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"the scheduler runs and does not answer at {address} ({error})",
            cure="Look for a NetworkPolicy or a firewall between here and there; "
            "cluster.service says how it is reached.",
        ) from None


def _close_client(client: Any, kind: type[BaseException] | None, *_: object) -> None:
    with suppress(Exception):  # of a scheduler that is gone
        client.close(timeout=1.0 if _signalled(kind) else 10.0)


def _signalled(kind: type[BaseException] | None) -> bool:
    """Whether Ctrl-C or the like ends the run, and not an error or success."""
    return kind is not None and not issubclass(kind, Exception)
