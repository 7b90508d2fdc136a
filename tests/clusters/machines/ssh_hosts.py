"""Hosts with ssh servers on this machine: network namespaces on a switch that can cut their links.

Each host has an address, a link and an sshd of its own; files and processes are those of this
machine. The switch lives in a namespace too, so nothing of the machine's own network changes.
"""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from distcnn.clusters.ssh import SshConfig
from tests.conftest import kill_unless_tracker

ROOT = Path(__file__).parents[3]
CLONE_NEWNET = 0x40000000
NETWORK = "10.77.0"
LIMIT_S = 30.0


class Hosts:
    """``count`` hosts and one more, number 0, for who uses them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.prefix = f"distcnn{os.getpid()}"
        self.servers: dict[int, psutil.Popen] = {}

    @property
    def key(self) -> Path:
        """Private key that they let in."""
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        """File with their keys."""
        return self.folder / "known_hosts"

    def namespace(self, number: int) -> str:
        return f"{self.prefix}-h{number}"

    def address(self, number: int) -> str:
        return f"{NETWORK}.{10 + number}"

    @contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """This thread, and those that it starts, are on that host meanwhile."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open() as home,
            Path(f"/run/netns/{self.namespace(number)}").open() as there,
        ):
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0

    def command_on(self, number: int, *command: str) -> list[str]:
        """The command that runs there instead of here."""
        return ["ip", "netns", "exec", self.namespace(number), *command]

    @contextmanager
    def cut(self, number: int) -> Iterator[None]:
        """Its link is down meanwhile; what is sent is lost without a word."""
        self._link(number, "down")
        try:
            yield
        finally:
            self._link(number, "up")

    def _link(self, number: int, state: str) -> None:
        run("ip", "-n", f"{self.prefix}-sw", "link", "set", f"p{number}", state)

    def processes(self, number: int) -> list[psutil.Process]:
        """All that run there, the ssh server left out."""
        pids = run("ip", "netns", "pids", self.namespace(number)).split()
        found = [psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))]
        return [one for one in found if one != self.servers.get(number) and not is_server(one)]

    def start(self) -> None:
        """Namespaces, links, servers."""
        switch = f"{self.prefix}-sw"
        run("ip", "netns", "add", switch)
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        for number in range(self.count + 1):
            self._plug_in(number, switch)
        keys = (self.key, self.folder / "host_key")
        for key in keys:
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        public = (self.folder / "host_key.pub").read_text()
        names = [self.address(number) for number in range(self.count + 1)]
        self.known_hosts.write_text("".join(f"{name} {public}" for name in names))
        for number in range(1, self.count + 1):
            self.start_server(number)

    def _plug_in(self, number: int, switch: str) -> None:
        name, link = self.namespace(number), f"v{os.getpid()}n{number}"
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            *("ip", "link", "add", link, "netns", name, "type", "veth"),
            *("peer", "name", f"p{number}", "netns", switch),
        )
        run("ip", "-n", name, "link", "set", link, "name", "eth0")
        run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", switch, "link", "set", f"p{number}", "master", "br0")
        run("ip", "-n", switch, "link", "set", f"p{number}", "up")

    def start_server(self, number: int) -> None:
        """Let its ssh server listen."""
        Path("/run/sshd").mkdir(exist_ok=True)
        keys = self.folder / "authorized_keys"
        shutil.copy(f"{self.key}.pub", keys)
        options = {
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": keys,
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",
            "UsePAM": "no",
        }
        file = self.folder / f"sshd{number}.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        with (self.folder / f"sshd{number}.log").open("ab") as log:
            command = self.command_on(number, "/usr/sbin/sshd", "-D", "-e", "-f", str(file))
            self.servers[number] = psutil.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        wait_for(lambda: "Server listening" in (self.folder / f"sshd{number}.log").read_text())

    def stop_server(self, number: int) -> None:
        """Let nobody in any more; who is in stays."""
        (self.folder / f"sshd{number}.log").write_text("")
        server = self.servers.pop(number)
        server.kill()
        server.wait()

    def stop(self) -> None:
        """Nothing is left: no process, no namespace."""
        # Host 0 is where the tests themselves are, with processes of Python's that outlive these.
        for number in range(1, self.count + 1):
            for one in [*self.processes(number), *servers_below(self, number)]:
                kill_unless_tracker(one)
        for server in self.servers.values():
            server.kill()
            server.wait()
        for name in (f"{self.prefix}-sw", *map(self.namespace, range(self.count + 1))):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def servers_below(hosts: Hosts, number: int) -> list[psutil.Process]:
    server = hosts.servers.get(number)
    return server.children(recursive=True) if server is not None else []


def is_server(process: psutil.Process) -> bool:
    try:
        return process.name() == "sshd"
    except psutil.Error:
        return True


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def wait_for(condition, seconds: float = LIMIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.05)


@contextmanager
def hosts_in(folder: Path, count: int) -> Iterator[Hosts]:
    """Hosts for a test; skips where this machine cannot have them."""
    for program, package in (
        ("ip", "iproute2"),
        ("/usr/sbin/sshd", "openssh-server"),
        ("ssh-keygen", "openssh-client"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent (Debian package {package})")
    probe = subprocess.run(
        ["unshare", "--net", "true"], capture_output=True, text=True, check=False
    )
    if os.geteuid() != 0 or probe.returncode:
        pytest.skip("network namespaces need root")
    with ExitStack() as stack:
        hosts = Hosts(folder, count)
        stack.callback(hosts.stop)
        hosts.start()
        yield hosts


def config_of(hosts, scratch, *, lines=None, **settings):
    """A worker on each of two hosts, or what ``lines`` say."""
    return SshConfig(
        backend="ssh",
        hosts=lines or tuple(f"{hosts.address(n)} workers=1" for n in (1, 2)),
        key=hosts.key,
        known_hosts=hosts.known_hosts,
        setup=(f"export PYTHONPATH={ROOT}:{ROOT / 'tests'}:{ROOT / 'tests/clusters'}",),
        scratch=str(scratch),
        **settings,
    )
