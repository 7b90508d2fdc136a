"""A real object store on this machine: OpenStack Swift with its S3 interface, on loopback.

One disk, one replica. Everything lies in one folder and listens at ports that were free just now;
what is started here ends here. Debian's packages: swift-proxy swift-account swift-container
swift-object memcached. Swift reads ``/etc/swift`` and nothing else, so each daemon sees the folder
there, in a mount namespace of its own: that takes root.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from conformance.cluster_checks import wait_until

SERVERS = ("account", "container", "object")
PROGRAMS = tuple(f"swift-{name}-server" for name in (*SERVERS, "proxy"))
KEY, REGION = "test:tester", "us-east-1"

HASHES = """
[swift-hash]
swift_hash_path_suffix = ci
swift_hash_path_prefix = ci
[storage-policy:0]
name = default
default = yes
"""
SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = root
swift_dir = {folder}
devices = {disk}
mount_check = false
log_udp_host = 127.0.0.1
log_udp_port = 9
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = root
swift_dir = {folder}
log_udp_host = 127.0.0.1
log_udp_port = 9
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
check_bucket_owner = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
user_other_reader = {secret}
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

RINGS = """
import json, sys
from swift.common.ring import RingBuilder
folder, ports = sys.argv[1], json.loads(sys.argv[2])
for name, port in ports.items():
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1",
                     "port": port, "device": "d1", "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""


def why_not() -> str:
    """What is missing for a store here; empty if nothing is."""
    missing = [name for name in (*PROGRAMS, "memcached", "unshare") if shutil.which(name) is None]
    if missing:
        return f"Swift is not installed: no {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "Swift needs root, to see its folder as /etc/swift"


class SwiftStore:
    """Daemons in ``folder``; ``endpoint`` is where S3 is spoken, with ``KEY`` and ``secret``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secret = folder, secrets.token_hex(16)
        self.settings, self.disk = folder / "etc", folder / "node"
        names = (*SERVERS, "proxy", "memcached")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.endpoint = f"http://127.0.0.1:{self.ports['proxy']}"
        self.running: dict[str, psutil.Popen] = {}
        self._configure()

    def _configure(self) -> None:
        (self.disk / "d1").mkdir(parents=True)
        self.settings.mkdir()
        (self.settings / "swift.conf").write_text(HASHES)
        for name in SERVERS:
            text = SERVER.format(
                name=name, port=self.ports[name], folder=self.settings, disk=self.disk
            )
            (self.settings / f"{name}-server.conf").write_text(text)
        proxy = PROXY.format(
            port=self.ports["proxy"],
            folder=self.settings,
            secret=self.secret,
            cache=self.ports["memcached"],
        )
        (self.settings / "proxy-server.conf").write_text(proxy)
        self._make_rings()

    def _make_rings(self) -> None:
        # One process of the system's Python, which has Swift, instead of nine programs.
        ports = json.dumps({name: self.ports[name] for name in SERVERS})
        command = ["/usr/bin/python3", "-c", RINGS, str(self.settings), ports]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> "SwiftStore":
        """Start what does not run, and wait until it answers."""
        cache = ["memcached", "-l", "127.0.0.1", "-p", str(self.ports["memcached"]), "-m", "32"]
        if os.geteuid() == 0:
            cache += ["-u", "root"]
        self._run("memcached", cache)
        for name in (*SERVERS, "proxy"):
            mounted = f'mkdir -p /etc/swift && mount --bind "{self.settings}" /etc/swift && exec '
            program = f'swift-{name}-server "{self.settings}/{name}-server.conf"'
            self._run(name, ["unshare", "-m", "sh", "-c", mounted + program])
        wait_until(self._answers)
        return self

    def _run(self, name: str, command: list[str]) -> None:
        if name in self.running:
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = psutil.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _answers(self) -> bool:
        for name, process in self.running.items():
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()
        try:
            self.make_bucket("ready")
        except OSError:
            return False
        return True

    def make_bucket(self, name: str) -> None:
        """Make a bucket, if it is not there."""
        # By Swift's own interface: there a bucket is a container.
        login = {"X-Auth-User": KEY, "X-Auth-Key": self.secret}
        request = urllib.request.Request(f"{self.endpoint}/auth/v1.0", headers=login)
        with urllib.request.urlopen(request, timeout=10) as answer:
            url, token = answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]
        request = urllib.request.Request(
            f"{url}/{name}", method="PUT", headers={"X-Auth-Token": token}
        )
        urllib.request.urlopen(request, timeout=10).close()

    @property
    def environment(self) -> dict[str, str]:
        """With it ``s3://`` leads here."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "AWS_CONFIG_FILE": str(self.folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "none"),
        }

    def kill(self, name: str = "proxy") -> None:
        """End a daemon at once, as a crash does; ``start`` starts it again."""
        process = self.running.pop(name)
        with suppress(psutil.NoSuchProcess):
            process.suspend()  # or it would start another child meanwhile
        family = [*process.children(recursive=True), process]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        psutil.wait_procs(family, timeout=20)

    def stop(self) -> None:
        """End everything."""
        with ExitStack() as stack:
            for name in list(self.running):
                stack.callback(self.kill, name)
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
