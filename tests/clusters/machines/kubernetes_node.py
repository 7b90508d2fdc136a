"""A real Kubernetes of one node for tests, with the Dask operator and an image of this checkout.

The node is started by the scripts in the folder named by DISTCNN_TESTCLUSTERS: API server,
scheduler, controllers, kubelet and containerd as processes in network, mount and process namespaces
of their own. Nothing of it is reached from outside, so a test enters the network first.
"""

import base64
import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi
import pytest
import yaml

ROOT = Path(__file__).parents[3]
IMAGE = "localhost/distcnn:test"
PROGRAMS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "curl": "curl",
    "openssl": "openssl",
}
NODE_ADDRESS = "10.98.0.1"
"""Where pods and tests reach what listens in the network of the node."""
CLONE_NEWNET = 0x40000000
LIMIT_S = 240
"""Longest wait for a script, on a machine that is busy with other things."""


class Node:
    """A cluster that runs; ``folder`` has its kubeconfig, logs and programs.

    Pods see the checkout at ``code``.
    """

    def __init__(self, folder: Path, code: Path) -> None:
        self.folder, self.code = folder, code
        self.kubeconfig = folder / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which pods find the checkout."""
        path = f"{self.code}:{self.code}/tests:{self.code}/tests/clusters"
        # The image has none of the system's certificates, without which no client of an object
        # store can be made.
        return {"PYTHONPATH": path, "SSL_CERT_FILE": str(Path(certifi.where()).resolve())}

    def command(self, *words: object) -> list[str]:
        """A command that runs in the network of the node."""
        return [str(self.folder / "run"), *map(str, words)]

    def kubectl(self, *words: object, text: str | None = None, check: bool = True) -> str:
        """What kubectl prints; ``text`` is its standard input."""
        done = subprocess.run(
            [str(self.folder / "kubectl"), *map(str, words)],
            input=text,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def names(self, kind: str, selector: str = "", namespace: str = "default") -> list[str]:
        """Names of the objects of a kind, without those that are being deleted."""
        form = '{range .items[*]}{.metadata.name}{" "}{.metadata.deletionTimestamp}{"\\n"}{end}'
        words = ("get", kind, "-n", namespace, "-l", selector, "-o", f"jsonpath={form}")
        lines = [line.split() for line in self.kubectl(*words).splitlines()]
        return [line[0] for line in lines if len(line) == 1]

    def leftovers(self, namespace: str = "default") -> str:
        """Whatever a run has left."""
        kinds = "pods,services,deployments,replicasets,secrets,daskclusters,daskworkergroups"
        ours = "app.kubernetes.io/managed-by=distcnn"
        return self.kubectl("get", kinds, "-n", namespace, "-l", ours, "-o", "name")

    def ended(self, job: str, namespace: str) -> str:
        """``Complete`` or ``Failed``; empty as long as the Job goes on."""
        form = 'jsonpath={.status.conditions[?(@.status=="True")].type}'
        return self.kubectl("get", "job", "-n", namespace, job, "-o", form)

    def kubeconfig_of(self, account: str, folder: Path) -> Path:
        """A KUBECONFIG of a service account of the namespace ``default``."""
        (secret,) = [s for s in self.names("secrets") if s.startswith(f"{account}-token-")]
        coded = self.kubectl("get", "secret", secret, "-o", "jsonpath={.data.token}")
        settings = yaml.safe_load(self.kubeconfig.read_text())
        settings["users"][0]["user"] = {"token": base64.b64decode(coded).decode()}
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(settings))
        return path

    def stop_operator(self) -> None:
        """The operator hears and does nothing until it is woken."""
        self._signal_operator(signal.SIGSTOP)

    def wake_operator(self) -> None:
        """It goes on from where it was."""
        self._signal_operator(signal.SIGCONT)

    def _signal_operator(self, number: signal.Signals) -> None:
        os.kill(int((self.folder / "operator.pid").read_text()), number)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and those that it starts meanwhile, are in the network of the node."""
        script = (self.folder / "run").read_text()
        name = re.search(r"netns exec (\S+)", script)
        assert name is not None
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{name.group(1)}", os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            assert libc.setns(there, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            libc.setns(before, CLONE_NEWNET)
            os.close(before)
            os.close(there)


@contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """A node below ``folder`` with the operator at work; skips, naming what is missing."""
    scripts = _scripts()
    crds = sorted(_operator_folder().glob("deployment/helm/*/crds/*.yaml"))
    _script(scripts / "k8s-build.sh", folder / "programs")
    # Not below ``folder``: an image keeps the modes of folders, and pytest's are for root alone,
    # while pods run as anyone.
    code = Path(tempfile.mkdtemp(prefix="distcnn-code-", dir="/tmp"))
    node = Node(folder / "node", code)
    try:
        _copy_code(code)
        _script(scripts / "k8s-up.sh", node.folder, folder / "programs", *crds)
        image, tag = IMAGE.removeprefix("localhost/").split(":")
        _script(scripts / "k8s-image.sh", node.folder, image, tag, Path(sys.prefix).resolve(), code)
        with _operator(node, folder / "operator.log"):
            yield node
    finally:
        _script(scripts / "k8s-down.sh", node.folder)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(code, ignore_errors=True)


def _scripts() -> Path:
    named = os.environ.get("DISTCNN_TESTCLUSTERS")
    if not named or not (Path(named) / "k8s-up.sh").is_file():
        pytest.skip("DISTCNN_TESTCLUSTERS names no folder with k8s-up.sh")
    scripts = Path(named).resolve()
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if not Path("/usr/lib/cni/ptp").exists():
        missing.append("containernetworking-plugins")
    if missing:
        pytest.skip(f"missing: apt-get install {' '.join(missing)}")
    if os.getuid() != 0:
        pytest.skip("only root may start a node")
    if not (scripts / "k8s-bin.tar.xz").is_file():
        pytest.skip(f"missing: {scripts}/k8s-bin.tar.xz")
    return scripts


def _operator_folder() -> Path:
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None or found.origin is None:
        pytest.skip("dask-kubernetes is not installed")
    return Path(found.origin).parent / "operator"


def _copy_code(code: Path) -> None:
    """What changes, without what git and tools keep beside it."""
    code.chmod(0o755)
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("distcnn", "conf", "tests"):
        shutil.copytree(ROOT / name, code / name, ignore=ignored)


def _script(script: Path, *arguments: Path | str) -> None:
    done = subprocess.run(
        ["bash", str(script), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{script.name}: {done.stdout}{done.stderr}"


@contextmanager
def _operator(node: Node, log: Path) -> Iterator[None]:
    words = ("-m", "kopf", "run", "-m", "dask_kubernetes.operator.controller", "--all-namespaces")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            node.command(sys.executable, *words),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    (node.folder / "operator.pid").write_text(str(process.pid))
    try:
        yield
    finally:
        process.kill()
        process.wait()
