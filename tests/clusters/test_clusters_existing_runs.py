"""Whole commands with a scheduler and workers that a user has started."""

import os
import shutil
import socket
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from conformance.cluster_checks import is_worker
from conformance.cluster_runs import LossChecks, RefusalChecks, RunChecks, Site, StageChecks, done
from dask_processes import running, scheduler, worker
from distributed import Client

pytestmark = pytest.mark.slow


class ExistingSite(Site):
    """A scheduler and two workers with nannies, at a port that stays the same."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        super().__init__(folder, f"tcp://127.0.0.1:{self.port}")
        self.processes = ExitStack()
        self.environment = {"DISTCNN_KIT": str(folder)}  # to know the commands by
        self.start()

    def start(self) -> None:
        words = ("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        self.scheduler = self.processes.enter_context(
            running(*words, "--no-dashboard", "--no-show", folder=self.folder)
        )
        self.nannies = [
            self.processes.enter_context(worker(self.cluster, self.folder, name))
            for name in ("1", "2")
        ]
        self.wait()

    def wait(self) -> None:
        with Client(self.cluster, set_as_default=False, timeout=120) as client:
            client.wait_for_workers(2, timeout=120)

    def stop(self) -> None:
        self.processes.close()

    def leftovers(self) -> list[str]:
        with Client(self.cluster, set_as_default=False, timeout=120) as client:
            tasks = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        left = [f"{tasks} tasks"] if tasks else []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.environ().get("DISTCNN_KIT") == str(self.folder):
                    left.append(str(one))
        return left

    def kill_worker(self) -> None:
        self._workers(self.nannies[0])[0].kill()

    def kill_all_workers(self) -> None:
        for nanny in self.nannies:
            for one in self._workers(nanny):
                one.kill()

    def kill_scheduler(self) -> None:
        self.scheduler.kill()

    def after_scheduler_lost(self) -> None:
        self.stop()
        self.start()

    def _workers(self, nanny: psutil.Process) -> list[psutil.Process]:
        return [one for one in nanny.children() if is_worker(one)]

    @contextmanager
    def strange_workers(self, first_on_path):
        with scheduler(first_on_path) as address, worker(address, first_on_path, "usual"):
            words = ("dask_worker", address, "--nthreads", "1", "--no-dashboard")
            words += ("--host", "127.0.0.1")
            with running(*words, folder=first_on_path, first_on_path=first_on_path):
                yield self._choice(first_on_path, address)

    @contextmanager
    def blind_workers(self, folder):
        if os.geteuid() or shutil.which("unshare") is None:
            pytest.skip("a mount namespace needs root and unshare (util-linux)")
        hide = 'mount -t tmpfs none "$0" && exec "$@"'
        prefix = ("unshare", "--mount", "sh", "-c", hide, str(folder))
        with scheduler(self.folder) as address:
            words = ("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny")
            words += ("--host", "127.0.0.1", "--preload", "distcnn.clusters.preload")
            with (
                worker(address, self.folder, "seeing"),
                running(*words, folder=self.folder, prefix=prefix),
            ):
                yield self._choice(self.folder, address)

    def _choice(self, folder: Path, address: str) -> str:
        """Both workers are waited for."""
        path = folder / "two.yaml"
        path.write_text(f"cluster:\n  backend: {address}\n  workers: 2\n")
        return str(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = ExistingSite(tmp_path_factory.mktemp("existing"))
    yield site
    site.stop()


class TestExisting(RefusalChecks, RunChecks, LossChecks, StageChecks):
    def test_a_scheduler_with_other_settings_is_refused_with_the_lines_to_export(
        self, inputs, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("dask_processes.SETTINGS", {"OMP_NUM_THREADS": "3"})
        with scheduler(tmp_path) as address, worker(address, tmp_path, "1"):
            text = self.refused(Site(tmp_path, address), inputs, address, "settings")
            words = ["--set", "cluster.accept_settings=true", "--cluster", address]
            simulated = ("simulate", tmp_path / "archive", "--stars", "5", *words)
            told = done(Site(tmp_path, address), *simulated)
        assert "export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0" in text
        assert "export DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0" in text
        assert "export DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING=False" in text
        assert "1 of 1 workers were not told by OMP_NUM_THREADS to use 1 thread" in told
