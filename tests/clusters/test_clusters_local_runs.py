"""Whole commands on local workers."""

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conformance.cluster_checks import is_worker
from conformance.cluster_runs import LossChecks, RunChecks, Site, StageChecks

pytestmark = pytest.mark.slow


class LocalSite(Site):
    """Workers below the command itself; scratch folders in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        cluster = folder / "site.yaml"
        cluster.write_text("cluster:\n  backend: local\n  workers: 2\n  dashboard: null\n")
        (folder / "tmp").mkdir()
        super().__init__(folder, str(cluster))
        self.environment = {"TMPDIR": str(folder / "tmp")}

    def leftovers(self) -> list[str]:
        files = [str(path) for path in (self.folder / "tmp").glob("distcnn-*")]
        return files + [str(one) for one in self._processes()]

    def kill_worker(self) -> None:
        self._workers()[0].kill()

    def kill_all_workers(self) -> None:
        for one in self._workers():
            one.kill()

    def _processes(self) -> list[psutil.Process]:
        """Of all commands of this site, told by their folder for temporary files."""
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.environ().get("TMPDIR") == self.environment["TMPDIR"]:
                    found.append(one)
        return found

    def _workers(self) -> list[psutil.Process]:
        return [one for one in self._processes() if is_worker(one)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return LocalSite(tmp_path_factory.mktemp("local"))


class TestLocal(RunChecks, LossChecks, StageChecks):
    """Workers are those of the command: they cannot have other versions, nor see less."""
