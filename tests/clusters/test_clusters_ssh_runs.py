"""Whole commands on hosts by ssh: two network namespaces, and a third for the command."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml
from conformance.cluster_checks import is_worker
from conformance.cluster_runs import LossChecks, RefusalChecks, RunChecks, Site, StageChecks
from machines.ssh_hosts import Hosts, hosts_in

from tests.conftest import kill_unless_tracker

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class SshSite(Site):
    """A worker on each of two hosts, which share the files of this machine."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        super().__init__(folder, str(folder / "site.yaml"))
        self.hosts = hosts
        self.command_prefix = hosts.command_on(0)
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.write(Path(self.cluster), ())

    def write(self, path: Path, first_on_path: tuple[Path, ...], second: str = "") -> None:
        """A file for ``--cluster``; workers look for modules in some folders first.

        ``second``: more for the line of the second host.
        """
        places = ":".join(map(str, (*first_on_path, ROOT, ROOT / "tests")))
        cluster = {
            "backend": "ssh",
            "hosts": [
                f"{self.hosts.address(1)} workers=1",
                f"{self.hosts.address(2)} workers=1 {second}",
            ],
            "key": str(self.hosts.key),
            "known_hosts": str(self.hosts.known_hosts),
            "python": sys.executable,
            "setup": [f"export PYTHONPATH={places}"],
            "scratch": str(self.scratch),
            "dashboard": None,
        }
        path.write_text(yaml.safe_dump({"cluster": cluster}))

    def leftovers(self) -> list[str]:
        there = [str(one) for n in (1, 2) for one in self.hosts.processes(n)]
        return there + [str(path) for path in self.scratch.iterdir()]

    def kill_worker(self) -> None:
        kill_unless_tracker(self._workers(1)[0])

    def kill_all_workers(self) -> None:
        # With all that keeps them, so that the hosts themselves have to be started again.
        for number in (1, 2):
            for one in self.hosts.processes(number):
                kill_unless_tracker(one)

    def _workers(self, number: int) -> list[psutil.Process]:
        there = self.hosts.processes(number)
        return [one for one in there if is_worker(one)]

    @contextmanager
    def strange_workers(self, first_on_path: Path) -> Iterator[str]:
        path = self.folder / "strange.yaml"
        self.write(path, (first_on_path,))
        yield str(path)

    @contextmanager
    def blind_workers(self, folder: Path) -> Iterator[str]:
        if shutil.which("unshare") is None:
            pytest.skip("a mount namespace needs unshare (util-linux)")
        path, python = self.folder / "blind.yaml", self.folder / "blind_python"
        hide = 'mount -t tmpfs none "$0" && exec "$@"'
        words = ("unshare", "--mount", "sh", "-c", hide, str(folder), sys.executable)
        python.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        python.chmod(0o755)
        self.write(path, (), f"python={python}")
        yield str(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ssh")
    with hosts_in(tmp_path_factory.mktemp("hosts"), 2) as hosts:
        yield SshSite(folder, hosts)


class TestSsh(RunChecks, LossChecks, RefusalChecks, StageChecks):
    """The scheduler is in the command: it is not lost without it."""

    def test_no_key_is_in_what_a_run_prints_or_leaves(self, finished, site):
        assert "PRIVATE KEY" not in finished
        files = [path for path in site.folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".jsonl" for path in files)
        assert not any(b"PRIVATE KEY" in path.read_bytes() for path in files)
