"""A scheduler and workers that run already."""

import threading
from pathlib import Path

import psutil
import pytest
from conformance.cluster_checks import WorkerChecks, meet, process, take_turns, wait_until
from dask_processes import scheduler, worker

from distcnn import pipeline
from distcnn.clusters import expect_workers, open_cluster
from distcnn.config import ClusterConfig, load_config
from distcnn.errors import ClusterError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("existing")


@pytest.fixture(scope="module")
def address(folder):
    with scheduler(folder) as address:
        yield address


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
            names = [result.unwrap()[0].split()[-1] for result in results]
            assert names == ["1", "2", "3"]
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


def test_relative_paths_are_those_of_the_command(two_workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the workers are in a folder of their own
    config = load_config("demo", [f"cluster={{backend: '{two_workers}'}}"])
    pipeline.simulate_archive(Path("archive"), 40, 1, config)
    done = pipeline.ingest_archive(Path("archive"), Path("survey.zarr"), config)
    assert done.stars > 30
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "survey.zarr"}
