"""States: what pods and events say of workers and schedulers that do not come, or that died.

Kubernetes writes down why; a user should not have to look for it with kubectl.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from distcnn.clusters.k8s.api import Api
from distcnn.clusters.k8s.manifests import COMPONENT, OF_A_CLUSTER, Manifest
from distcnn.errors import ClusterError
from distcnn.formatting import format_bytes

LOG_LINES = 1
"""Last lines of a log that are shown of a container that ends again and again."""
SHOWN = 200
"""Characters of a message that are shown."""
OOM = "OOMKilled"
MEMORY = "Raise resources.memory, or take fewer workers, and run the command again."


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not run.

    ``final``: waiting will not help. ``cure``: what the user can do about it.
    """

    text: str
    cure: str
    final: bool = False


_WAITING = {
    "ErrImagePull": ("its image cannot be pulled", False),
    "ImagePullBackOff": ("its image cannot be pulled", True),
    "InvalidImageName": ("its image has no valid name", True),
    "ErrImageNeverPull": ("its image is not on the node", True),
    "CreateContainerConfigError": ("its container cannot be set up", True),
    "CreateContainerError": ("its container cannot be made", True),
    "RunContainerError": ("its container cannot be started", True),
    "CrashLoopBackOff": ("it ends again and again", True),
}
_IMAGE = (
    "Look at cluster.image, cluster.pull_policy and, for a private registry, cluster.pull_secrets."
)
_OBJECTS = "Look at cluster.secrets and cluster.volumes: what they name must be in the namespace."
_PACKAGE = (
    "The image lacks it: build one from this version with deploy/docker/Dockerfile, or "
    "`pip install 'distcnn[k8s]'` where it is made."
)
_NODES = (
    "Ask for less with resources.memory, cluster.cpu, cluster.gpus or cluster.workers, "
    "or look at cluster.node_selector and cluster.tolerations."
)


def find_troubles(api: Api, name: str, component: str) -> list[Trouble]:
    """What keeps pods of a cluster from running, in words; empty if nothing is known."""
    pods = api.pods(selector(name, component))
    found = [(pod, trouble) for pod in pods if (trouble := trouble_of(pod))]
    if not found:
        waiting = [pod for pod in pods if pod["status"].get("phase") == "Pending"]
        warned = [(pod, events) for pod in waiting if (events := _warnings(api, pod))]
        found = [(pod, _of_events(events)) for pod, events in warned]
    return [_with_log(api, pod, trouble) for pod, trouble in found]


def selector(name: str, component: str) -> str:
    """Labels of the pods of one part of a cluster: ``scheduler`` or ``worker``."""
    return f"{OF_A_CLUSTER}={name},{COMPONENT}={component}"


def trouble_of(pod: Manifest) -> Trouble | None:
    """Why this pod does not run, from its own state; None if it does or nothing is known."""
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            text = f"it cannot be scheduled: {_short(condition.get('message', ''))}"
            return Trouble(text, _NODES)
    for container in pod["status"].get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if killed := _killed_for_memory(container, pod):
            return killed
        if waiting.get("reason") in _WAITING:
            return _of_waiting(container, waiting)
    return None


def _of_waiting(container: Manifest, waiting: Manifest) -> Trouble:
    reason = waiting["reason"]
    words, final = _WAITING[reason]
    message = _short(waiting.get("message", ""))
    if reason == "CrashLoopBackOff":
        code = container.get("lastState", {}).get("terminated", {}).get("exitCode")
        return Trouble(f"{words} (exit code {code})", "", final)
    cure = _IMAGE if "mage" in reason else _OBJECTS
    return Trouble(f"{words} ({reason}: {message or container.get('image', '')})", cure, final)


def _killed_for_memory(container: Manifest, pod: Manifest) -> Trouble | None:
    for state in (container.get("state", {}), container.get("lastState", {})):
        if state.get("terminated", {}).get("reason") == OOM:
            (limit,) = (
                one["resources"]["limits"]["memory"]
                for one in pod["spec"]["containers"]
                if one["name"] == container["name"]
            )
            text = f"it was killed for memory ({OOM}): its limit is {_size(limit)}"
            return Trouble(text, MEMORY)
    return None


def _size(limit: str) -> str:
    """``1300M`` as Kubernetes writes it back, in our way."""
    units = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    number, unit = limit.rstrip("kKMGi"), limit.lstrip("0123456789")
    return format_bytes(int(number) * units[unit]) if unit in units else limit


def _warnings(api: Api, pod: Manifest) -> list[Manifest]:
    with suppress(ClusterError):  # the right to list events is a convenience
        events = api.events(pod["metadata"]["name"])
        return [event for event in events if event.get("type") == "Warning"]
    return []


def _of_events(events: Sequence[Manifest]) -> Trouble:
    last = events[-1]
    text = f"{last.get('reason', 'Warning')}: {_short(last.get('message', ''))}"
    return Trouble(text, _OBJECTS)


def _with_log(api: Api, pod: Manifest, trouble: Trouble) -> Trouble:
    if "again and again" not in trouble.text:
        return trouble
    words = ""
    with suppress(ClusterError):  # so is that to read logs
        words = api.last_words(pod["metadata"]["name"], lines=LOG_LINES, before=True)
    said = _short(words)
    cure = _PACKAGE if "ModuleNotFoundError" in said else ""
    return Trouble(f"{trouble.text}{f', its last words: {said}' if said else ''}", cure, True)


def tell(troubles: Sequence[Trouble]) -> str:
    """``2 pods: it cannot be scheduled: ...``; the commonest first."""
    counts = Counter(trouble.text for trouble in troubles)
    return "; ".join(f"{n} pod{'s' if n > 1 else ''}: {text}" for text, n in counts.most_common(3))


def killed_for_memory(api: Api, name: str) -> list[str]:
    """Names of the worker pods that have been killed for memory."""
    troubles = ((pod, trouble_of(pod)) for pod in api.pods(selector(name, "worker")))
    return [pod["metadata"]["name"] for pod, why in troubles if why and OOM in why.text]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
