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
from pathlib import Path

import psutil
import pytest

from distcnn.clusters import expect_workers
from distcnn.errors import ClusterError, DistcnnError, StoreError
from distcnn.executor import WorkerContext


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


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)


def meet(task: tuple[Path, int, int]) -> tuple[str, int]:
    """Wait for the others of its call; returns the worker's name and the process."""
    folder, number, count = task
    (folder / f"in_{number}").touch()
    wait_until(lambda: len(list(folder.glob("in_*"))) == count)
    return WorkerContext.current().worker, os.getpid()


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
    """The first fails, or dies, once the second works; the second waits until it is told."""
    folder, number = task
    (folder / f"in_{number}").touch()
    wait_until(lambda: len(list(folder.glob("in_*"))) == 2)
    if number == 0:
        if (folder / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        raise StoreError("the first one fails")
    context = WorkerContext.current()
    wait_until(context.cancelled)
    (folder / "told").touch()
    return "stopped"


class Trap:
    """A task that no worker can unpack."""

    def __reduce__(self) -> tuple:
        return int, ("not a number",)


def environment(name: str) -> str:
    return os.environ.get(name, "")


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

    def test_every_item_comes_once(self, executor):
        outcomes = list(executor(square, range(20)))
        assert sorted(outcome.task for outcome in outcomes) == list(range(20))
        assert all(outcome.unwrap() == outcome.task**2 for outcome in outcomes)
        assert all(outcome.attempts == 1 for outcome in outcomes)

    def test_nothing_to_do_ends_at_once(self, executor):
        assert list(executor(square, [])) == []

    def test_exceptions_come_as_outcomes_and_the_rest_goes_on(self, executor):
        outcomes = {outcome.task: outcome for outcome in executor(refuse_odd, range(6))}
        assert len(outcomes) == 6
        assert outcomes[4].unwrap() == 4
        assert isinstance(outcomes[3].error, StoreError)
        assert outcomes[3].error.cure == "Take an even one."
        with pytest.raises(StoreError, match="5 is odd"):
            outcomes[5].unwrap()

    def test_items_are_taken_as_workers_need_them(self, executor):
        numbers = Numbers(1_000_000)
        outcomes = executor(square, numbers)
        for _ in range(5):
            next(outcomes)
        outcomes.close()
        assert numbers.taken <= 5 + 4 * executor.workers

    def test_the_cluster_works_on_after_a_cancelled_call(self, executor):
        outcomes = executor(square, Numbers(1_000_000))
        next(outcomes)
        outcomes.close()
        assert [outcome.value for outcome in executor(square, [7])] == [49]

    def test_an_error_in_the_items_comes_out(self, executor):
        def items():
            yield 1
            raise RuntimeError("no more")

        with pytest.raises(RuntimeError, match="no more"):
            list(executor(square, items()))

    def test_two_calls_may_take_turns(self, executor):
        first, second = executor(square, range(6)), executor(refuse_odd, range(0, 12, 2))
        both = [(a.task, b.task) for a, b in zip(first, second, strict=True)]
        assert sorted(a for a, _ in both) == list(range(6))
        assert sorted(b for _, b in both) == list(range(0, 12, 2))


class GangChecks:
    """What every backend does with tasks that need each other; ``executor`` has two workers."""

    def test_items_that_belong_together_run_at_the_same_time(self, executor, tmp_path):
        outcomes = executor.together(meet, [(tmp_path, 0, 2), (tmp_path, 1, 2)])
        assert [outcome.task[1] for outcome in outcomes] == [0, 1]
        workers = [outcome.unwrap()[0] for outcome in outcomes]
        assert workers == sorted(workers)
        assert len(set(workers)) == 2

    def test_when_one_fails_the_others_are_told(self, executor, tmp_path):
        first, second = executor.together(wait_in_vain, [(tmp_path, 0), (tmp_path, 1)])
        assert isinstance(first.error, StoreError)
        assert second.error is not None or second.value == "stopped"
        wait_until((tmp_path / "told").exists)

    def test_a_single_item_is_company_enough(self, executor):
        (outcome,) = executor.together(square, [7])
        assert outcome.unwrap() == 49

    def test_calls_take_turns(self, executor, tmp_path):
        found = {}

        def call(name):
            (tmp_path / name).mkdir()
            tasks = [(tmp_path / name, number, 2) for number in range(2)]
            found[name] = [outcome.unwrap() for outcome in executor.together(take_turns, tasks)]

        threads = [threading.Thread(target=call, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert found == {"one": [[], []], "two": [[], []]}


class WorkerChecks(ClusterChecks, GangChecks):
    """What a backend does whose workers are processes of their own."""

    def test_more_items_than_workers_are_refused(self, executor):
        with pytest.raises(ClusterError, match="expected a worker for each"):
            executor.together(square, range(executor.alive_workers() + 1))

    def test_a_worker_that_dies_takes_its_call_along(self, executor, tmp_path):
        (tmp_path / "deadly").touch()
        first, second = executor.together(wait_in_vain, [(tmp_path, 0), (tmp_path, 1)])
        assert isinstance(first.error, ClusterError)
        assert "died" in str(first.error)
        assert second.error is not None or second.value == "stopped"
        wait_until((tmp_path / "told").exists)
        wait_until(lambda: executor.alive_workers() == executor.workers)
        (again,) = executor.together(square, [3])
        assert again.unwrap() == 9

    def test_what_needs_no_core_lets_the_next_item_begin(self, executor, tmp_path):
        count = 2 * executor.workers  # as many as are in flight
        outcomes = list(executor(release_and_meet, [(tmp_path, n, count) for n in range(count)]))
        met = [outcome.unwrap() for outcome in outcomes]
        assert len({process for _, process in met}) <= executor.workers
        assert len(met) == count
        assert [outcome.value for outcome in executor(square, [3])] == [9]

    def test_work_is_done_elsewhere_by_one_thread(self, executor):
        assert os.getpid() not in {o.unwrap() for o in executor(process, range(4))}
        (threads,) = executor(environment, ["OMP_NUM_THREADS"])
        assert threads.unwrap() == "1"

    def test_an_unexpected_exception_tells_where_it_was_raised(self, executor):
        (outcome,) = executor(fail, ["value"])
        assert isinstance(outcome.error, ValueError)
        assert 'raise ValueError("not this one")' in "".join(outcome.error.__notes__)

    def test_what_cannot_travel_comes_as_text(self, executor):
        (failed,) = executor(fail, ["unpicklable"])
        assert type(failed.error) is DistcnnError
        assert "Unpicklable: holds a lock" in str(failed.error)
        (value,) = executor(give_lock, [1])
        assert value.value is None
        assert "pickle" in str(value.error)

    def test_an_item_that_cannot_be_unpacked_is_an_outcome(self, executor):
        first, second = sorted(
            executor(str, [Trap(), "a"]), key=lambda outcome: outcome.value or "z"
        )
        assert first.value == "a"
        assert isinstance(second.error, Exception)
        assert second.value is None

    def test_an_item_that_leaves_does_not_take_its_worker_along(self, executor):
        (outcome,) = executor(fail, ["exit"])
        assert isinstance(outcome.error, SystemExit)

    def test_the_item_of_a_killed_worker_is_done_again(self, executor, tmp_path):
        markers = [tmp_path / "killed", *(tmp_path / f"{i}" for i in range(4))]
        for marker in markers[1:]:
            marker.write_text("")
        outcomes = {outcome.task: outcome for outcome in executor(die_first, markers)}
        assert len(outcomes) == 5
        again = outcomes.pop(markers[0])
        assert again.attempts == 2
        assert again.unwrap() != int(markers[0].read_text())
        assert {outcome.attempts for outcome in outcomes.values()} == {1}

    def test_an_item_that_always_kills_is_given_up_and_others_are_not_blamed(self, executor):
        outcomes = {outcome.task: outcome for outcome in executor(die_if, [1, 2, -1, 3, 4, 5])}
        assert isinstance(outcomes[-1].error, ClusterError)
        assert "died 3 times while it ran -1" in str(outcomes[-1].error)
        assert outcomes.pop(-1).attempts == 3
        assert sorted(outcome.unwrap() for outcome in outcomes.values()) == [1, 2, 3, 4, 5]
        assert {outcome.attempts for outcome in outcomes.values()} == {1}
