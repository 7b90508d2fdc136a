"""A scheduler and workers that run already."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conformance.cluster_checks import WorkerChecks, meet, process, take_turns, wait_until

from distcnn.clusters import expect_workers, open_cluster
from distcnn.clusters.dask_workers.settings import thread_variables
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
    **thread_variables(1),
}


@contextmanager
def running(*arguments, folder):
    """A process of Dask, in ``folder``; gone at exit with its children."""
    with (folder / "log").open("ab") as log:
        started = psutil.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            cwd=folder,
            env={**os.environ, **SETTINGS, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield started
    finally:
        family = [started, *started.children(recursive=True)]
        for one in family:
            one.kill()
        psutil.wait_procs(family, timeout=30)


def worker(address, folder, name, *more):
    return running(
        *("dask_worker", address, "--nthreads", "1", "--name", name, "--no-dashboard"),
        *("--host", "127.0.0.1", "--preload", "distcnn.clusters.preload", *more),
        folder=folder,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("existing")


@pytest.fixture(scope="module")
def address(folder):
    scheduler = (
        *("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--no-show", "--scheduler-file", "where.json"),
    )
    with running(*scheduler, folder=folder):
        wait_until((folder / "where.json").exists)
        wait_until(lambda: (folder / "where.json").read_text().rstrip().endswith("}"))
        yield json.loads((folder / "where.json").read_text())["address"]


@pytest.fixture(scope="module")
def two_workers(address, folder):
    with worker(address, folder, "1"), worker(address, folder, "2"):
        yield address


def config_of(address, **settings):
    return ClusterConfig(backend=address, **settings)


@pytest.fixture(scope="module")
def connected(two_workers):
    with open_cluster(config_of(two_workers)) as executor:
        wait_until(lambda: executor.alive_workers() == 2)
        executor.workers = 2
        yield executor


def test_a_scheduler_without_workers_is_said(address):
    with (
        pytest.raises(
            ClusterError,
            match=r"0 of 1 workers.*at the scheduler tcp:.*Start some: dask worker tcp:",
        ),
        open_cluster(config_of(address, patience=0.5)),
    ):
        pass


def test_an_address_where_no_scheduler_answers_is_said():
    with (
        pytest.raises(ClusterError, match="no scheduler answers at tcp://"),
        open_cluster(config_of("tcp://127.0.0.1:9", patience=0.5)),
    ):
        pass


class TestExisting(WorkerChecks):
    @pytest.fixture
    def config(self, two_workers):
        return config_of(two_workers)

    def test_memory_is_asked_of_the_workers_and_not_of_this_machine(self, config, folder):
        with worker(config.backend, folder, "small", "--memory-limit", "123 MB"):
            wait_until(lambda: expect_workers(config).count == 3)
            assert expect_workers(config).memory == 123_000_000
        wait_until(lambda: expect_workers(config).count == 2)

    @pytest.fixture
    def executor(self, connected):
        return connected

    def test_workers_are_left_running(self, two_workers):
        with open_cluster(config_of(two_workers)) as executor:
            (first,) = executor(process, [1])
        assert psutil.pid_exists(first.unwrap())
        with open_cluster(config_of(two_workers)) as executor:
            assert executor.alive_workers() == 2

    def test_a_worker_that_joins_late_works_too(self, executor, folder, two_workers, tmp_path):
        with worker(two_workers, folder, "3"):
            wait_until(lambda: executor.alive_workers() == 3)
            results = executor.together(meet, [(tmp_path, number, 3) for number in range(3)])
            assert [result.unwrap()[0] for result in results] == ["1", "2", "3"]
        wait_until(lambda: executor.alive_workers() == 2)

    def test_two_clients_take_turns(self, two_workers, tmp_path):
        found = []

        def client(name):
            (tmp_path / name).mkdir()
            tasks = [(tmp_path / name, number, 2) for number in range(2)]
            with open_cluster(config_of(two_workers)) as executor:
                found.extend(result.unwrap() for result in executor.together(take_turns, tasks))

        threads = [threading.Thread(target=client, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
        assert found == [[], [], [], []]
