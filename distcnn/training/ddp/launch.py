"""Launch: one member trained by a group of ranks, processes on as many workers.

    driver    asks the gang for a launcher on each of N workers, all or none
    launcher  a task on a worker: starts its rank, watches it, stops it when not wanted any more
    rank      a process of its own (``worker``): daemonic workers may not have children through
              ``multiprocessing``, and a process group of torch lasts as long as its process

A group lives and dies together. When a rank or its worker dies, the rest is stopped and a new
group, of as many ranks as there are workers then, goes on from the last checkpoint.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import distcnn
from distcnn.errors import ClusterError, TrainingError
from distcnn.events import Listener, Notice
from distcnn.executor import Cancelled, Gang, TaskResult, WorkerContext
from distcnn.training.ddp.rendezvous import names
from distcnn.training.ddp.worker import EXIT_LOST_GROUP, RankTask, attempt_folder, error_from_json
from distcnn.training.loop.member import MemberResult, MemberTask

POLL_S = 0.1
"""Seconds between looks at a rank, and at whether it is still wanted."""
LOST_NEWS_WAIT_S = 2.0
"""Seconds that a launcher holds back the news that its rank lost another one. The launcher of the
one that died knows why, and the first error to arrive ends the attempt: it should be that one."""


class RankDied(Exception):
    """A rank ended without an answer; ``culprit`` unless it only lost another one."""

    def __init__(self, text: str, culprit: bool = True) -> None:
        super().__init__(text, culprit)
        self.text, self.culprit = text, culprit


def train_together(task: MemberTask, gang: Gang, listener: Listener) -> MemberResult:
    """Train a member by a group of ranks; returns the result of rank 0.

    Raises
    ------
    TrainingError : groups died more often than ``train.distribute.attempts`` allows.
    DistcnnError : what a rank met and no other attempt would cure.
    """
    config = task.config.distribute
    first = _attempts_before(task) + 1
    for attempt in range(first, first + config.attempts + 1):
        world = group_size(task, gang)
        attempt_folder(task, attempt).mkdir(parents=True)
        ranks = [RankTask(task, attempt, rank, world) for rank in range(world)]
        listener(Notice(f"member {task.number}: {world} ranks begin, attempt {attempt}"))
        try:
            outcomes = gang.together(launch, ranks)
        except ClusterError:
            if not gang.alive_workers():
                raise
            continue  # a worker went between counting and beginning
        if all(outcome.error is None for outcome in outcomes):
            return outcomes[0].unwrap()
        died = _what_happened(outcomes)
        listener(Notice(f"member {task.number}: {died}", "warning"))
    raise TrainingError(
        f"{task.name}: {died}, in attempt {config.attempts + 1} of {config.attempts + 1}",
        expected="ranks that live until their member is trained",
        cure=f"Look into {attempt_folder(task, attempt)}; the same command goes on from the "
        "last checkpoint.",
    )


def group_size(task: MemberTask, gang: Gang) -> int:
    """How many ranks a member gets: one virtual rank each at least."""
    wanted = task.config.distribute.ranks or gang.alive_workers()
    return max(1, min(wanted, task.sharding.virtual_ranks, gang.max_group_size()))


def _attempts_before(task: MemberTask) -> int:
    return max((int(p.name.rpartition("_")[2]) for p in task.folder.glob("attempt_*")), default=0)


def _what_happened(outcomes: Sequence[TaskResult[RankTask, MemberResult]]) -> str:
    """The reason in a sentence; raises what no other attempt would cure."""
    lost = []
    for outcome in outcomes:
        error, rank = outcome.error, outcome.task.rank
        if isinstance(error, ClusterError):
            lost.append((0, f"{names([rank])} lost its worker ({error.problem})"))
        elif isinstance(error, RankDied):
            lost.append((0 if error.culprit else 1, error.text))
        elif error is not None and not isinstance(error, Cancelled):
            raise error
    return min(lost)[1] if lost else "a rank was stopped"


def launch(task: RankTask) -> MemberResult:
    """Run one rank to its end as a child of this process; returns its result.

    Raises
    ------
    RankDied : it ended without an answer, or was stopped because no one wants it any more.
    DistcnnError : its own error.
    """
    context = WorkerContext.current()
    _wait_for_others(task, context)
    with task.log.open("ab") as log:
        rank = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "distcnn.training.ddp.worker"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=_environment(),
        )
    try:
        task.log.with_suffix(".pid").write_text(str(rank.pid))
        with suppress(BrokenPipeError):  # it died at once, which is found out below
            _send(rank, f"{task.to_json()}\n{context.host}\n{context.threads}\n")
        while rank.poll() is None and not context.cancelled():
            time.sleep(POLL_S)
    finally:
        _end(rank)
    return _answer(task, rank.returncode, context)


def _wait_for_others(task: RankTask, context: WorkerContext) -> None:
    """Until all launchers run: a worker may be busy with another task.

    Only then do ranks begin to count the seconds that they wait for each other.
    """
    _here(task, task.rank).write_text(context.host)
    while not context.cancelled() and not all(
        _here(task, rank).exists() for rank in range(task.world)
    ):
        time.sleep(POLL_S)


def _here(task: RankTask, rank: int) -> Path:
    return task.folder / f"rank_{rank}.here"


def _environment() -> dict[str, str]:
    root = str(Path(distcnn.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _send(rank: "subprocess.Popen[bytes]", text: str) -> None:
    # The pipe stays open: its end tells the rank that its launcher is gone.
    if rank.stdin is not None:
        rank.stdin.write(text.encode())
        rank.stdin.flush()


def _end(rank: "subprocess.Popen[bytes]") -> None:
    rank.kill()
    rank.wait()
    if rank.stdin is not None:
        with suppress(BrokenPipeError):
            rank.stdin.close()


def _answer(task: RankTask, code: int, context: WorkerContext) -> MemberResult:
    answer = json.loads(task.answer.read_bytes()) if task.answer.exists() else {}
    if "result" in answer:
        return MemberResult.from_json(answer["result"])
    if "error" in answer:
        raise error_from_json(answer)
    me = f"rank {task.rank} on {context.host}"
    if code == EXIT_LOST_GROUP:
        _give_way(context)
        raise RankDied(f"{me}: {answer.get('lost', 'it lost the others')}", culprit=False)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    raise RankDied(f"{me} {how}{_last_words(task)}", culprit=not context.cancelled())


def _give_way(context: WorkerContext) -> None:
    """Wait a little with the news, unless it is clear already that the group is over."""
    deadline = time.monotonic() + LOST_NEWS_WAIT_S
    while time.monotonic() < deadline and not context.cancelled():
        time.sleep(POLL_S)


def _last_words(task: RankTask) -> str:
    lines = task.log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
