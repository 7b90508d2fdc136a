"""Workers that join after preflight: none computes that it would have refused."""

import pytest
from conformance.cluster_checks import meet, process, wait_until
from dask_processes import running, scheduler, worker

from distcnn.clusters import open_cluster
from distcnn.clusters.dask_workers.preflight.examine import identity
from distcnn.clusters.dask_workers.preflight.latecomers import check_worker
from distcnn.clusters.dask_workers.preflight.verdict import PACKAGES
from distcnn.clusters.places import Places
from distcnn.config import ClusterConfig
from distcnn.errors import WorkerUnfit
from distcnn.events import silent
from distcnn.location import Location

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'distcnn':
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""


def stranger(address, folder):
    """A worker that starts with ``folder`` before all else on its path of modules."""
    words = ("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
    return running(*words, folder=folder, first_on_path=folder)


@pytest.fixture
def begun(tmp_path):
    """A run on one worker that preflight has passed, and the address of its scheduler."""
    with (
        scheduler(tmp_path) as address,
        worker(address, tmp_path, "usual"),
        open_cluster(ClusterConfig(backend=address)) as executor,
    ):
        executor.preflight(Places(Location.parse(tmp_path / "out")), silent)
        assert [one.error for one in executor(process, [1, 2])] == [None, None]
        yield executor, address


def test_a_worker_like_this_process_is_welcome():
    check_worker(identity(PACKAGES), "here")


@pytest.mark.slow
def test_another_numpy_on_a_worker_that_joins_later_ends_the_run(begun, tmp_path):
    executor, address = begun
    record = tmp_path / "later" / "numpy-0.0.9.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.9\n")
    with stranger(address, record.parent):
        wait_until(lambda: executor.alive_workers() == 2)
        with pytest.raises(WorkerUnfit, match=r"joined later.* has numpy 0\.0\.9") as caught:
            executor.together(meet, [(tmp_path, number, 2) for number in range(2)])
        assert "pip install 'numpy==" in str(caught.value)
        executor.workers = 2
        with pytest.raises(WorkerUnfit, match="numpy"):
            print(
                {
                    (one.value, type(one.error), str(one.error)[:200])
                    for one in executor(process, range(100))
                }
            )


@pytest.mark.slow
def test_a_worker_without_our_code_leaves_by_itself(begun, tmp_path):
    executor, address = begun
    usual = {one.value for one in executor(process, [0])}
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKED)
    with stranger(address, folder):
        wait_until(lambda: executor.alive_workers() == 2)
        executor.workers = 2
        results = list(executor(process, range(100)))
        assert [one.error for one in results] == [None] * 100
        assert {one.value for one in results} == usual
        wait_until(lambda: executor.alive_workers() == 1)
