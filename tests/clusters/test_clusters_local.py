"""Local and serial clusters pass the kit; local ones leave nothing behind, however they end."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import psutil
import pytest
from conformance.cluster_checks import (
    ClusterChecks,
    Numbers,
    WorkerChecks,
    die_if,
    environment,
    is_worker,
    process,
    square,
    threads_of_worker,
    wait_until,
)
from distributed import get_worker

from distcnn import stopping
from distcnn.clusters import expect_workers, open_cluster
from distcnn.clusters.dask_workers import executor as executor_module
from distcnn.clusters.dask_workers.executor import MAX_BATCH_TASKS
from distcnn.clusters.dask_workers.private import clusters_here
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0
"""Longest wait for another process, on a machine that is busy with other things."""


class TestSerial(ClusterChecks):
    @pytest.fixture
    def config(self):
        return ClusterConfig(backend="serial", threads=2)

    @pytest.fixture
    def executor(self, config):
        with open_cluster(config) as executor:
            yield executor

    def test_it_works_here_alone_without_a_dashboard(self, executor):
        assert [result.value for result in executor(process, [1])] == [os.getpid()]
        assert (executor.workers, executor.dashboard) == (1, None)


LOCAL = ClusterConfig(workers=2)


@pytest.fixture(scope="module")
def local():
    with open_cluster(LOCAL) as executor:
        yield executor


class TestLocal(WorkerChecks):
    @pytest.fixture
    def config(self):
        return LOCAL

    @pytest.fixture
    def executor(self, local):
        return local

    def test_the_dashboard_is_on_the_loopback_interface(self, executor):
        assert executor.workers == 2
        assert executor.dashboard.startswith("http://127.0.0.1:")

    def test_nothing_listens_beyond_the_loopback_interface(self, executor):
        me = psutil.Process()
        family = [me, *me.children(recursive=True)]
        listening = [
            c.laddr.ip
            for one in family
            for c in one.net_connections()
            if c.status == psutil.CONN_LISTEN and c.type == socket.SOCK_STREAM
        ]
        assert listening
        assert set(listening) == {"127.0.0.1"}

    def test_workers_and_scheduler_seldom_look_at_themselves(self, executor):
        (worker,) = executor(looks_of_worker, [0])
        here = {name: one.callback_time for name, one in looks_of_scheduler(executor)}
        for looks in (worker.unwrap(), here):
            assert "profile" not in looks
            assert looks["tick"] == 200
            assert looks["monitor"] == 2000
        assert worker.unwrap()["memory_monitor"] == 100  # what keeps memory from running out

    def test_the_window_stays_bounded_over_many_tasks(self, executor):
        numbers = Numbers(2000)
        for done, result in enumerate(executor(square, numbers), start=1):
            assert result.error is None
            batch = min(MAX_BATCH_TASKS, max(1, done // MAX_BATCH_TASKS + 1))
            assert numbers.taken - done <= (2 * executor.workers + 1) * batch
        assert done == 2000

    def test_short_tasks_are_sent_together(self, executor, monkeypatch):
        sent = tasks_sent_together(monkeypatch)
        results = list(executor(square, range(2000)))
        assert sorted(result.value for result in results) == [n * n for n in range(2000)]
        assert sent[:MAX_BATCH_TASKS] == [1] * MAX_BATCH_TASKS
        assert max(sent) == MAX_BATCH_TASKS

    def test_long_tasks_are_sent_alone(self, executor, monkeypatch):
        monkeypatch.setattr("distcnn.clusters.dask_workers.executor.BATCH_S", 0.0)
        sent = tasks_sent_together(monkeypatch)
        assert len(list(executor(square, range(300)))) == 300
        assert set(sent) == {1}

    def test_a_deadly_task_takes_none_of_its_batch_along(self, executor, monkeypatch):
        sent = tasks_sent_together(monkeypatch)
        deadly = 700
        tasks = (-n if n == deadly else n for n in range(1000))
        results = {result.task: result for result in executor(die_if, tasks)}
        assert max(sent) > 1
        assert len(results) == 1000
        lost = [result for result in results.values() if result.error is not None]
        assert [result.task for result in lost] == [-deadly]
        assert lost[0].attempts == executor.config.attempts

    def test_nothing_is_kept_after_a_call(self, executor):
        list(executor(square, range(10)))
        executor.client.nthreads()  # an answer comes after everything asked for before
        assert executor.client.futures == {}

    def test_results_that_die_with_their_worker_are_computed_again(self, executor):
        results = executor(process, range(40))
        first = next(results)
        os.kill(first.unwrap(), signal.SIGKILL)
        found = [first, *results]
        assert sorted(result.task for result in found) == list(range(40))
        assert all(result.error is None for result in found)


def looks_of_worker(_: int) -> dict[str, float]:
    """Milliseconds between the looks of a worker's process at itself, by name."""
    looks = get_worker().periodic_callbacks.items()
    return {name: one.callback_time for name, one in looks}


def looks_of_scheduler(executor):
    return executor.client.cluster.scheduler.periodic_callbacks.items()


def tasks_sent_together(monkeypatch):
    """Sizes of the batches that are sent from now on."""
    sent, submit = [], executor_module.submit

    def noting(client, key, function, packed, tasks, *more):
        sent.append(len(tasks))
        return submit(client, key, function, packed, tasks, *more)

    monkeypatch.setattr(executor_module, "submit", noting)
    return sent


def test_workers_with_two_threads_are_half_as_many(monkeypatch):
    monkeypatch.setattr("distcnn.clusters.local.CPU_COUNT", 5)
    assert expect_workers(ClusterConfig(threads=2)).count == 2
    assert expect_workers(ClusterConfig(threads=8)).count == 1


def test_threads_are_set_for_the_libraries_of_a_worker_and_for_its_tasks():
    with open_cluster(ClusterConfig(workers=1, threads=2, dashboard=None)) as executor:
        (variable,) = executor(environment, ["OMP_NUM_THREADS"])
        (threads,) = executor(threads_of_worker, [0])
    assert (variable.unwrap(), threads.unwrap()) == ("2", 2)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Temporary files go to a folder that can be looked at."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def interrupted(workers: list) -> None:
    """Begin a lot of work and stop at the first result, as Ctrl-C does."""
    with open_cluster(ClusterConfig(workers=1, dashboard=None)) as executor:
        for result in executor(process, Numbers(1_000_000)):
            workers.append(result.unwrap())
            raise KeyboardInterrupt


def client_process(folder: Path, *words: str) -> psutil.Popen:
    """A client in a session of its own, as one has that is started in a terminal."""
    (folder / "files").mkdir()
    script = Path(__file__).with_name("client_run.py")
    return psutil.Popen(
        [sys.executable, script, folder / "files", *words],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def client(temporary, killing):
    """A client, and its two workers once they are at work."""
    client = killing(client_process(temporary))
    workers = [psutil.Process(int(client.stdout.readline())) for _ in range(2)]
    return client, workers


class TestNothingIsLeftBehind:
    def test_by_an_orderly_end(self, temporary):
        before = set(multiprocessing.active_children())
        with open_cluster(ClusterConfig(workers=1, dashboard=None)) as executor:
            assert executor.dashboard is None
            (result,) = executor(process, [1])
            assert list(temporary.iterdir()) != []
        assert not psutil.pid_exists(result.unwrap())
        assert set(multiprocessing.active_children()) <= before
        assert list(temporary.iterdir()) == []

    def test_by_an_error_in_the_middle(self, temporary):
        workers = []
        with pytest.raises(KeyboardInterrupt):
            interrupted(workers)
        assert not psutil.pid_exists(workers[0])
        assert list(temporary.iterdir()) == []

    def test_by_a_stop_that_takes_too_long(self, temporary, monkeypatch):
        monkeypatch.setattr("distcnn.clusters.local.STOP_TIMEOUT_S", 1e-6)
        before = clusters_here()
        with open_cluster(ClusterConfig(workers=1, dashboard=None)) as executor:
            (result,) = executor(process, [1])
            worker = psutil.Process(result.unwrap())
            (cluster,) = clusters_here() - before
        worker.wait(timeout=LIMIT_S)
        # Dask would look for it as this process ends.
        assert not cluster.scheduler._workdir._finalizer.alive

    def test_by_a_client_that_is_killed(self, temporary, client):
        client, workers = client
        client.kill()
        client.communicate()
        _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
        assert alive == []
        assert list(temporary.glob("distcnn-workers-*")) != []
        with open_cluster(ClusterConfig(workers=1, dashboard=None)):
            assert len(list(temporary.glob("distcnn-workers-*"))) == 1
        assert list(temporary.glob("distcnn-workers-*")) == []

    @pytest.mark.parametrize(
        ("number", "code", "text"),
        [
            (signal.SIGINT, 130, "distcnn: stopped. "),
            (signal.SIGTERM, 143, "distcnn: stopped by SIGTERM. "),
        ],
    )
    def test_by_a_signal_to_everything_in_a_terminal(self, temporary, client, number, code, text):
        client, workers = client
        os.killpg(client.pid, number)
        _, errors = client.communicate(timeout=LIMIT_S)
        _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
        assert alive == []
        assert list(temporary.glob("distcnn-workers-*")) == []
        assert errors == f"{text}{stopping.CURE}\n"
        assert client.returncode == code

    def test_by_control_c_while_workers_start(self, temporary, killing):
        client = killing(client_process(temporary))
        wait_until(lambda: workers_of(client), LIMIT_S)
        workers = workers_of(client)
        os.killpg(client.pid, signal.SIGINT)
        _, errors = client.communicate(timeout=LIMIT_S)
        _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
        assert alive == []
        assert list(temporary.glob("distcnn-workers-*")) == []
        assert errors == f"distcnn: stopped. {stopping.CURE}\n"
        assert client.returncode == 130


def family() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def workers_of(client: psutil.Popen) -> list[psutil.Process]:
    """Processes of workers below a client, those too that have just begun."""
    return [one for one in client.children(recursive=True) if is_worker(one)]


def test_a_control_c_that_python_drops_is_raised_again(temporary, killing):
    client = killing(client_process(temporary, "deaf"))
    assert client.stdout.readline() == "deaf\n"
    client.send_signal(signal.SIGINT)
    output, errors = client.communicate(timeout=LIMIT_S)
    assert (output, errors) == ("", f"distcnn: stopped. {stopping.CURE}\n")
    assert client.returncode == 130


HOSTILE = {
    "distributed.comm.require-encryption": True,
    "distributed.comm.timeouts.connect": "1 ms",
    "distributed.dashboard.link": "{no_such_variable}",
    "distributed.nanny.preload": ["no_such_module"],
    "distributed.scheduler.idle-timeout": "1 s",
    "distributed.scheduler.work-stealing": True,
    "distributed.worker.daemon": False,
    "distributed.worker.lifetime.duration": "1 s",
    "distributed.worker.memory.terminate": 0.01,
    "temporary-directory": "/nonexistent",
}


def test_the_users_settings_of_dask_do_not_matter(temporary):
    with dask.config.set(HOSTILE), open_cluster(ClusterConfig(workers=1)) as executor:
        assert sum(result.unwrap() for result in executor(square, range(5))) == 30
        assert dask.config.get("distributed.worker.daemon") is True


class TestClearErrors:
    def test_a_system_without_semaphores(self, temporary, monkeypatch):
        def refuse(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
        config = ClusterConfig(workers=1, dashboard=None)
        with (
            pytest.raises(ClusterError, match=r"Read-only file system.*/dev/shm.*serial"),
            open_cluster(config),
        ):
            pass
        assert list(temporary.iterdir()) == []

    def test_workers_that_do_not_come_in_time(self, temporary, monkeypatch):
        monkeypatch.setattr("distcnn.clusters.dask_workers.starting.start.START_TIMEOUT_S", 0.0)
        before = family()
        config = ClusterConfig(workers=1, dashboard=None)
        with pytest.raises(ClusterError, match=r"did not start.*serial"), open_cluster(config):
            pass
        assert not any(map(is_worker, family() - before))
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize("address", ["192.0.2.1:0", "127.0.0.1", "127.0.0.1:123456"])
    def test_a_dashboard_that_cannot_be_opened(self, address):
        config = ClusterConfig(workers=1, dashboard=address)
        with pytest.raises(ClusterError, match="cannot listen at"), open_cluster(config):
            pass

    def test_workers_gone_for_good(self):
        config = ClusterConfig(workers=1, dashboard=None, patience=0.5)
        with open_cluster(config) as executor:
            executor.client.cluster.scale(0)
            with pytest.raises(ClusterError, match=r"alive for 0\.5 s.*same command again"):
                list(executor(square, [1]))

    def test_a_scheduler_that_is_gone(self):
        with open_cluster(ClusterConfig(workers=1, dashboard=None)) as executor:
            results = executor(square, range(10))
            next(results)
            executor.client.close()
            with pytest.raises(ClusterError, match="same command again"):
                list(results)


def test_a_scheduler_keeps_no_note_of_tasks_that_have_ended():
    with open_cluster(ClusterConfig(workers=1, dashboard=None)) as executor:
        assert sum(result.value for result in executor(abs, range(-50, 0))) == 25 * 51
        scheduler = executor.client.cluster.scheduler
        spans = scheduler.extensions["spans"].spans.values()
        assert spans
        assert not any(span.metadata for span in spans)
        assert "stealing" not in scheduler.extensions
