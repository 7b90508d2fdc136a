"""Conformance kit of clusters: a backend is finished when these pass.

A subclass gives the fixtures ``config`` (a ``ClusterConfig``) and ``executor`` (the cluster of
that configuration, open, at best shared by the module).
``WorkerChecks`` are for backends whose workers are processes of their own.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from distcnn.clusters import expect_workers
from distcnn.errors import ClusterError, DistcnnError, StoreError
from distcnn.executor import WorkerContext

_HELD: list[Any] = []


def square(number: int) -> int:
    return number * number


def refuse_odd(number: int) -> int:
    if number % 2:
        raise StoreError(f"{number} is odd", cure="Take an even one.")
    return number


def fail(kind: str) -> int:
    if kind == "value":
        raise ValueError("not this one")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "unpicklable":
        raise Unpicklable(threading.Lock())
    return int(kind)


def is_worker(process: psutil.Process) -> bool:
    """Spawned, or forked by a fork server, which has the same command line."""
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        parent = process.parent()
        forked = parent is not None and "forkserver import" in " ".join(parent.cmdline())
        return "spawn_main" in line or ("forkserver import" in line and forked)
    return False


class Unpicklable(Exception):
    """Cannot leave its process."""

    def __init__(self, lock: object) -> None:
        super().__init__("holds a lock")
        self.lock = lock


def die_first(marker: Path) -> int:
    """Kill this very process unless the marker is there already."""
    if not marker.exists():
        marker.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die_if(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def give_lock(number: int) -> object:
    return threading.Lock()


def wait_until(condition, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)


def hold_semaphore(_: int) -> Path:
    """Have a semaphore as long as the worker lives; returns its file."""
    _HELD.append(get_context("spawn").Lock())
    return Path(f"/dev/shm/sem.{_HELD[-1]._semlock.name.lstrip('/')}")


def meet(task: tuple[Path, int, int]) -> tuple[str, int]:
    """Wait for the others of its call; returns the worker (host and name) and the process."""
    folder, number, count = task
    (folder / f"in_{number}").touch()
    wait_until(lambda: len(list(folder.glob("in_*"))) == count)
    context = WorkerContext.current()
    return f"{context.host} {context.worker}", os.getpid()


def release_and_meet(task: tuple[Path, int, int]) -> tuple[str, int]:
    """Let the worker begin its next task, then wait for all the others."""
    WorkerContext.current().secede()
    return meet(task)


def take_turns(task: tuple[Path, int, int]) -> list[str]:
    """Meet the others of its call; returns the tasks of other calls that are at work now."""
    folder, number, count = task
    mark = folder.parent / f"at_work_{folder.name}_{number}"
    mark.touch()
    meet(task)
    seen = [path.name for path in folder.parent.glob("at_work_*") if folder.name not in path.name]
    (folder / f"out_{number}").touch()
    wait_until(lambda: len(list(folder.glob("out_*"))) == count)
    mark.unlink()
    return seen


def wait_in_vain(task: tuple[Path, int]) -> str:
    """The first fails, or dies, once the second works; the second waits until it is cancelled."""
    folder, number = task
    (folder / f"in_{number}").touch()
    wait_until(lambda: len(list(folder.glob("in_*"))) == 2)
    if number == 0:
        if (folder / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        raise StoreError("the first one fails")
    context = WorkerContext.current()
    wait_until(context.cancelled)
    (folder / "cancelled").touch()
    return "stopped"


class Trap:
    """A task that no worker can unpack."""

    def __reduce__(self) -> tuple:
        return int, ("not a number",)


def environment(name: str) -> str:
    return os.environ.get(name, "")


def threads_of_worker(number: int) -> int:
    return WorkerContext.current().threads


def process(number: int) -> int:
    return os.getpid()


class Numbers:
    """A lazy series that knows how many were asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken += 1
            yield number


class ClusterChecks:
    """What every backend does."""

    def test_what_is_expected_is_what_comes(self, executor, config):
        expected = expect_workers(config)
        assert expected.count == executor.workers
        assert 10_000_000 < expected.memory < 10**15
        assert executor.dashboard is None or executor.dashboard.startswith("http")

    def test_a_question_starts_no_process(self, executor, config):
        before = set(psutil.Process().children(recursive=True))
        expect_workers(config)
        assert set(psutil.Process().children(recursive=True)) <= before

    def test_every_task_comes_once(self, executor):
        results = list(executor(square, range(20)))
        assert sorted(result.task for result in results) == list(range(20))
        assert all(result.unwrap() == result.task**2 for result in results)
        assert all(result.attempts == 1 for result in results)

    def test_a_task_is_told_how_many_threads_it_may_use(self, executor, config):
        (one,) = executor(threads_of_worker, [0])
        assert one.unwrap() == config.threads
        (together,) = executor.together(threads_of_worker, [0])
        assert together.unwrap() == config.threads

    def test_nothing_to_do_ends_at_once(self, executor):
        assert list(executor(square, [])) == []

    def test_exceptions_come_as_results_and_the_rest_goes_on(self, executor):
        results = {result.task: result for result in executor(refuse_odd, range(6))}
        assert len(results) == 6
        assert results[4].unwrap() == 4
        assert isinstance(results[3].error, StoreError)
        assert results[3].error.cure == "Take an even one."
        with pytest.raises(StoreError, match="5 is odd"):
            results[5].unwrap()

    def test_tasks_are_taken_as_workers_need_them(self, executor):
        numbers = Numbers(1_000_000)
        results = executor(square, numbers)
        for _ in range(5):
            next(results)
        results.close()
        assert numbers.taken <= 5 + 4 * executor.workers

    def test_the_cluster_works_on_after_a_cancelled_call(self, executor):
        results = executor(square, Numbers(1_000_000))
        next(results)
        results.close()
        assert [result.value for result in executor(square, [7])] == [49]

    def test_an_error_in_the_tasks_comes_out(self, executor):
        def tasks():
            yield 1
            raise RuntimeError("no more")

        with pytest.raises(RuntimeError, match="no more"):
            list(executor(square, tasks()))

    def test_two_calls_may_take_turns(self, executor):
        first, second = executor(square, range(6)), executor(refuse_odd, range(0, 12, 2))
        both = [(a.task, b.task) for a, b in zip(first, second, strict=True)]
        assert sorted(a for a, _ in both) == list(range(6))
        assert sorted(b for _, b in both) == list(range(0, 12, 2))


class GangChecks:
    """What every backend does with tasks that need each other; ``executor`` has two workers."""

    def test_tasks_that_belong_together_run_at_the_same_time(self, executor, tmp_path):
        results = executor.together(meet, [(tmp_path, 0, 2), (tmp_path, 1, 2)])
        assert [result.task[1] for result in results] == [0, 1]
        workers = [result.unwrap()[0] for result in results]
        assert workers == sorted(workers)
        assert len(set(workers)) == 2

    def test_when_one_fails_the_others_are_cancelled(self, executor, tmp_path):
        first, second = executor.together(wait_in_vain, [(tmp_path, 0), (tmp_path, 1)])
        assert isinstance(first.error, StoreError)
        assert second.error is not None or second.value == "stopped"
        wait_until((tmp_path / "cancelled").exists)

    def test_a_single_task_is_company_enough(self, executor):
        (result,) = executor.together(square, [7])
        assert result.unwrap() == 49

    def test_calls_take_turns(self, executor, tmp_path):
        found = {}

        def call(name):
            (tmp_path / name).mkdir()
            tasks = [(tmp_path / name, number, 2) for number in range(2)]
            found[name] = [result.unwrap() for result in executor.together(take_turns, tasks)]

        threads = [threading.Thread(target=call, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert found == {"one": [[], []], "two": [[], []]}


class WorkerChecks(ClusterChecks, GangChecks):
    """What a backend does whose workers are processes of their own."""

    def test_more_tasks_than_workers_are_refused(self, executor):
        with pytest.raises(ClusterError, match="expected a worker for each"):
            executor.together(square, range(executor.alive_workers() + 1))

    def test_a_worker_that_dies_takes_its_call_along(self, executor, tmp_path):
        (tmp_path / "deadly").touch()
        first, second = executor.together(wait_in_vain, [(tmp_path, 0), (tmp_path, 1)])
        assert isinstance(first.error, ClusterError)
        assert "died" in str(first.error)
        assert second.error is not None or second.value == "stopped"
        wait_until((tmp_path / "cancelled").exists)
        wait_until(lambda: executor.alive_workers() == executor.workers)
        (again,) = executor.together(square, [3])
        assert again.unwrap() == 9

    def test_what_needs_no_core_lets_the_next_task_begin(self, executor, tmp_path):
        count = 2 * executor.workers  # as many as are in flight
        results = list(executor(release_and_meet, [(tmp_path, n, count) for n in range(count)]))
        met = [result.unwrap() for result in results]
        assert len({process for _, process in met}) <= executor.workers
        assert len(met) == count
        assert [result.value for result in executor(square, [3])] == [9]

    def test_work_is_done_elsewhere_by_as_many_threads_as_asked(self, executor, config):
        assert os.getpid() not in {o.unwrap() for o in executor(process, range(4))}
        (variable,) = executor(environment, ["OMP_NUM_THREADS"])
        assert variable.unwrap() == str(config.threads)

    def test_an_unexpected_exception_tells_where_it_was_raised(self, executor):
        (result,) = executor(fail, ["value"])
        assert isinstance(result.error, ValueError)
        assert 'raise ValueError("not this one")' in "".join(result.error.__notes__)

    def test_what_cannot_travel_comes_as_text(self, executor):
        (failed,) = executor(fail, ["unpicklable"])
        assert type(failed.error) is DistcnnError
        assert "Unpicklable: holds a lock" in str(failed.error)
        (value,) = executor(give_lock, [1])
        assert value.value is None
        assert "pickle" in str(value.error)

    def test_a_task_that_cannot_be_unpacked_is_a_result(self, executor):
        first, second = sorted(executor(str, [Trap(), "a"]), key=lambda result: result.value or "z")
        assert first.value == "a"
        assert isinstance(second.error, Exception)
        assert second.value is None

    def test_a_task_that_leaves_does_not_take_its_worker_along(self, executor):
        (result,) = executor(fail, ["exit"])
        assert isinstance(result.error, SystemExit)

    def test_the_task_of_a_killed_worker_is_done_again(self, executor, tmp_path):
        markers = [tmp_path / "killed", *(tmp_path / f"{i}" for i in range(4))]
        for marker in markers[1:]:
            marker.write_text("")
        results = {result.task: result for result in executor(die_first, markers)}
        assert len(results) == 5
        again = results.pop(markers[0])
        assert again.attempts == 2
        assert again.unwrap() != int(markers[0].read_text())
        assert {result.attempts for result in results.values()} == {1}

    def test_a_task_that_always_kills_is_given_up_and_others_are_not_blamed(self, executor):
        results = {result.task: result for result in executor(die_if, [1, 2, -1, 3, 4, 5])}
        assert isinstance(results[-1].error, ClusterError)
        assert "died 3 times while it ran -1" in str(results[-1].error)
        assert results.pop(-1).attempts == 3
        assert sorted(result.unwrap() for result in results.values()) == [1, 2, 3, 4, 5]
        assert {result.attempts for result in results.values()} == {1}
