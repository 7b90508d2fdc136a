"""Examine: what hosts there are, before anything is started on one of them.

All are asked at once. A host is fit if it lets us in, has the Python that is named, and in it the
versions that run here; it says how many cores and how much memory it has, and which addresses.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import distcnn
from distcnn.clusters.dask_workers.preflight.verdict import minor_version, public_version
from distcnn.clusters.ssh.connection import HostRefused, connected, python_command, python_of
from distcnn.clusters.ssh.settings import HostConfig, SshConfig

PROBE = Path(__file__).with_name("probe.py")
MARK = "distcnn-probe: "
ANSWER_S = 60.0
"""Time for a host's Python to say what it is, on a slow shared disk."""


@dataclass(frozen=True)
class Host:
    """A host that is fit.

    Parameters
    ----------
    address : where its workers listen.
    seen : the address of this machine, as it sees it.
    cores, memory : those there are [bytes free now].
    worker_names : of the workers that it is to have.
    """

    config: HostConfig
    address: str
    seen: str
    cores: int
    memory: int
    worker_names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.config.name


@dataclass(frozen=True)
class Unfit:
    """A host that is not, and why."""

    config: HostConfig
    why: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.config.name}: {self.why}"


async def examine_hosts(config: SshConfig, hosts: tuple[HostConfig, ...]) -> list[Host | Unfit]:
    """Every host, in their order."""
    return list(await asyncio.gather(*(_examine(config, host) for host in hosts)))


async def _examine(config: SshConfig, host: HostConfig) -> Host | Unfit:
    try:
        return judge(config, host, await _ask(config, host))
    except HostRefused as refused:
        return Unfit(host, refused.why, refused.cure)


async def _ask(config: SshConfig, host: HostConfig) -> dict[str, Any]:
    source = PROBE.read_text(encoding="utf-8")
    async with connected(config, host) as connection:
        try:
            # Python reads its program from the connection: nothing is left on the host.
            command = python_command(config, host, "-")
            done = await asyncio.wait_for(connection.run(command, input=source), ANSWER_S)
        except TimeoutError:
            raise HostRefused(f"its Python says nothing for {ANSWER_S:g} s") from None
    output, errors = str(done.stdout or ""), str(done.stderr or "")
    for line in output.splitlines():
        if line.startswith(MARK):
            answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return answer
    raise _no_python(config, host, done.exit_status, errors)


def _no_python(config: SshConfig, host: HostConfig, status: int | None, errors: str) -> HostRefused:
    last = (errors.strip().splitlines() or [f"exit code {status}"])[-1]
    python = python_of(config, host)
    cure = "Name its Python with python=PATH in its line, or with cluster.python"
    if config.setup:
        cure += "; see that the lines of cluster.setup work there"
    return HostRefused(f"{python} does not run there ({last})", f"{cure}.")


def judge(config: SshConfig, host: HostConfig, said: dict[str, Any]) -> Host | Unfit:
    """Whether a host is fit, from what its Python said."""
    python, missing = python_of(config, host), [n for n, v in said["versions"].items() if v is None]
    if missing:
        which = f"{python} (Python {'.'.join(map(str, said['python']))})"
        why = f"{which} has no {', '.join(missing)} ({said['problem']})"
        cure = f"Install it there with {python} -m pip install 'distcnn[ssh]'"
        return Unfit(host, why, f"{cure}, or name another Python with python=PATH.")
    others = _other_versions(said)
    if others:
        why = f"{python} has {', '.join(others)}"
        return Unfit(host, why, "Install the same versions there, as deploy/constraints.txt pins.")
    address = _address(host, said)
    if address is None:
        names = ", ".join(sorted(said["interfaces"]))
        return Unfit(host, f"has no interface {host.interface!r} with an address: {names}")
    return Host(host, address, said["connection"][0], int(said["cores"]), int(said["memory"]))


def _other_versions(said: dict[str, Any]) -> list[str]:
    """Each as ``numpy 2.1.0 (here 2.4.6)``."""
    here = {name: version(name) for name in said["versions"] if name != "distcnn"}
    here["distcnn"] = distcnn.__version__
    pairs = [(n, *map(public_version, (v, here[n]))) for n, v in said["versions"].items()]
    pythons = (".".join(map(str, one[:3])) for one in (said["python"], sys.version_info))
    pairs.append(("Python", *map(minor_version, pythons)))
    return [f"{name} {there} (here {ours})" for name, there, ours in pairs if there != ours]


def _address(host: HostConfig, said: dict[str, Any]) -> str | None:
    """Where its workers listen: where ssh found it, unless an interface is named."""
    if host.interface is None:
        return str(said["connection"][2])
    return next(iter(said["interfaces"].get(host.interface, ())), None)
