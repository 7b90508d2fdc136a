"""Workers on this machine are forked from a process that has imported for all of them."""

import multiprocessing
import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing import forkserver

import dask
import psutil
import pytest
from conformance.cluster_checks import environment, is_worker, process, wait_until

from distcnn.clusters import import_ahead, open_cluster
from distcnn.clusters.dask_workers.private import stop_fork_server
from distcnn.clusters.dask_workers.settings import START_METHOD
from distcnn.clusters.dask_workers.starting.fork_server import fork_server
from distcnn.config import ClusterConfig, SerialConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux alone")
ONE = ClusterConfig(workers=1, dashboard=None)


def imported(name: str) -> bool:
    return name in sys.modules


def servers() -> list[psutil.Process]:
    """The fork servers below this process, of which one may not have its command line yet."""
    number = forkserver._forkserver._forkserver_pid
    here = psutil.Process().children()
    return [one for one in here if one.pid == number or says_so(one)]


def says_so(child: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "forkserver import" in " ".join(child.cmdline())
    return False


def test_a_worker_finds_what_was_imported_ahead():
    with import_ahead(ONE, "distcnn.baselines"), open_cluster(ONE) as executor:
        (found,) = executor(imported, ["distcnn.baselines"])
        (other,) = executor(imported, ["distcnn.simulate"])
    assert (found.unwrap(), other.unwrap()) == (True, False)


def test_workers_are_forked_and_the_server_ends_with_the_last_cluster():
    with open_cluster(ONE) as executor:
        (number,) = executor(process, [1])
        worker = psutil.Process(number.unwrap())
        assert is_worker(worker)
        assert servers() == [worker.parent()]
        assert os.getpgid(worker.pid) == worker.parent().pid  # signals of a terminal pass it by
    assert servers() == []
    assert not worker.is_running()


def test_nothing_that_was_imported_ahead_is_left_of_a_refused_command():
    with pytest.raises(ZeroDivisionError), import_ahead(ONE, "distcnn.model"):
        raise ZeroDivisionError
    assert servers() == []
    with import_ahead(ONE, "distcnn.model"):  # while it still imports
        assert len(servers()) == 1
    assert servers() == []


def test_a_cluster_within_another_one_gets_its_own_environment(monkeypatch):
    with open_cluster(ONE) as outer:
        monkeypatch.setenv("DISTCNN_TEST_VALUE", "inner")
        with open_cluster(ONE) as inner:
            assert dask.config.get(START_METHOD) == "spawn"
            (answer,) = inner(environment, ["DISTCNN_TEST_VALUE"])
        (first,) = outer(environment, ["DISTCNN_TEST_VALUE"])
    assert (first.unwrap(), answer.unwrap()) == ("", "inner")


def test_a_cluster_after_another_one_gets_its_own_environment(monkeypatch):
    with open_cluster(ONE):
        pass
    monkeypatch.setenv("DISTCNN_TEST_VALUE", "later")
    with open_cluster(ONE) as executor:
        assert dask.config.get(START_METHOD) == "forkserver"
        (answer,) = executor(environment, ["DISTCNN_TEST_VALUE"])
    assert answer.unwrap() == "later"


def test_the_fork_server_of_the_program_around_is_left_alone():
    context = multiprocessing.get_context("forkserver")
    with context.Pool(1) as pool, import_ahead(ONE) as way:
        assert way == "spawn"
        assert pool.apply(abs, [-1]) == 1
    assert len(servers()) == 1
    stop_fork_server()


def test_threads_of_a_worker_are_told_to_the_server_and_not_to_this_process():
    before = dict(os.environ)
    with fork_server({"OMP_NUM_THREADS": 3}) as way:
        assert way == "forkserver"
        wait_until(lambda: says_so(servers()[0]))
        assert servers()[0].environ()["OMP_NUM_THREADS"] == "3"
        assert dict(os.environ) == before


def test_other_backends_import_nothing_ahead():
    with import_ahead(SerialConfig(), "distcnn.model"):
        assert servers() == []


FORKED_TOO_LATE = """
import os, sys
from multiprocessing import forkserver, get_context, synchronize
from pathlib import Path

from distcnn.clusters.dask_workers.starting.fork_server import fork_server


class Unreadable:
    def __reduce__(self):
        return Path.read_text, (Path("/nowhere/at/all"),)


if __name__ == "__main__":
    with fork_server({}):
        context = get_context("forkserver")
        given = {"semaphore": context.Lock(), "file": Unreadable()}[sys.argv[1]]
        if sys.argv[1] == "semaphore":
            synchronize.SemLock._cleanup(given._semlock.name)
        late = context.Process(target=print, args=(given,))
        late.start()
        late.join(60)
        sys.stderr.flush()
        os.write(1, f"{late.exitcode}".encode())
        forkserver._forkserver._stop()
        os._exit(0)  # Python would remove the semaphore once more
"""


@pytest.mark.parametrize("lacking", ["semaphore", "file"])
def test_a_worker_that_nobody_waits_for_ends_without_a_word(lacking, tmp_path):
    script = tmp_path / "late.py"
    script.write_text(FORKED_TOO_LATE)
    found = subprocess.run(
        [sys.executable, script, lacking], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout == "1"
    assert ("Traceback" in found.stderr) == (lacking == "file"), found.stderr
    assert ("/nowhere/at/all" in found.stderr) == (lacking == "file")
