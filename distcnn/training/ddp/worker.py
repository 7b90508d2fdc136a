"""Worker: one rank of a group, a process of its own: ``python -m distcnn.training.ddp.worker``.

Its work comes as one line of JSON on standard input, which stays open as long as its launcher
lives: when it ends, so does this process, whatever it is doing. What it has to say goes to
standard error, a line each; what it leaves is a file with its result or its error.
"""

import json
import os
import resource
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distcnn.errors
from distcnn.config import TrainConfig
from distcnn.errors import DistcnnError, TrainingError
from distcnn.executor import WorkerContext, worker_context
from distcnn.files import atomic_write_bytes
from distcnn.location import Location
from distcnn.model import InputSpec
from distcnn.model.devices import open_device
from distcnn.training.data.loader import Sharding
from distcnn.training.ddp.rendezvous import RankLost, rendezvous
from distcnn.training.loop.collective import DdpCollective
from distcnn.training.loop.member import MemberResult, MemberTask, train_on_rank

EXIT_LOST_GROUP = 75
"""Exit code of a rank that could not go on without the others."""
EXIT_ORPHANED = 76
"""Exit code of a rank whose launcher is gone."""


@dataclass(frozen=True)
class RankTask:
    """One rank of one attempt at a member; ``host`` is the address it is reached under."""

    member: MemberTask
    attempt: int
    rank: int
    world: int

    @property
    def folder(self) -> Path:
        """Files of the attempt."""
        return attempt_folder(self.member, self.attempt)

    @property
    def log(self) -> Path:
        return self.folder / f"rank_{self.rank}.log"

    @property
    def answer(self) -> Path:
        """Where the rank leaves its result, or its error."""
        return self.folder / f"rank_{self.rank}.json"

    def to_json(self) -> str:
        """One line."""
        member = self.member
        return json.dumps(
            {
                "survey": Location.parse(member.survey).address,
                "partial": str(member.partial),
                "number": member.number,
                "spec": member.spec.to_json(),
                "config": member.config.model_dump(mode="json"),
                "data": member.data,
                "sharding": member.sharding.to_json(),
                "attempt": self.attempt,
                "rank": self.rank,
                "world": self.world,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "RankTask":
        value = json.loads(text)
        member = MemberTask(
            value["survey"],
            Path(value["partial"]),
            value["number"],
            InputSpec.from_json(value["spec"]),
            TrainConfig.model_validate(value["config"]),
            value["data"],
            Sharding.from_json(value["sharding"]),
        )
        return cls(member, value["attempt"], value["rank"], value["world"])


def attempt_folder(member: MemberTask, attempt: int) -> Path:
    """Where the ranks of an attempt meet and write."""
    return member.folder / f"attempt_{attempt}"


def error_to_json(error: DistcnnError) -> dict[str, Any]:
    """An error as JSON; ``error_from_json`` makes it an error again."""
    return {
        "error": type(error).__name__,
        "problem": error.problem,
        "expected": error.expected,
        "cure": error.cure,
    }


def error_from_json(answer: dict[str, Any]) -> DistcnnError:
    """The error that a rank has left."""
    kind = getattr(distcnn.errors, answer["error"], TrainingError)
    made: DistcnnError = kind(answer["problem"], expected=answer["expected"], cure=answer["cure"])
    return made


def main() -> int:
    """Read the task, train, leave an answer; returns the exit code."""
    # Threads of torch die noisily when their group does; what matters is in the answer.
    threading.excepthook = lambda _: None
    task, host = RankTask.from_json(sys.stdin.readline()), sys.stdin.readline().strip()
    context = WorkerContext(host, f"rank-{task.rank}", int(sys.stdin.readline()))
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        with worker_context(context):
            result = _train(task, host)
    except RankLost as lost:
        _say(task, host, str(lost))
        _leave(task, {"lost": str(lost)})
        return EXIT_LOST_GROUP
    except DistcnnError as error:
        _say(task, host, str(error))
        _leave(task, error_to_json(error))
        return 1
    _leave(task, {"result": result.to_json()})
    return 0


def _train(task: RankTask, host: str) -> MemberResult:
    config = task.member.config.distribute
    device = open_device(config.device)
    with rendezvous(
        task.folder, task.rank, task.world, host=host, timeout=config.timeout, device=device
    ):
        every = task.member.sharding.virtual_ranks
        mine = len(range(task.rank, every, task.world))
        _say(task, host, f"begins, {mine} of {every} virtual ranks")
        result = train_on_rank(task.member, DdpCollective(device, lambda: _fence(task)), device)
        _say(task, host, f"ends, with at most {_peak() / 1e6:.0f} MB of memory")
        return result


def _peak() -> int:
    """Largest resident memory of this process so far [bytes]."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _fence(task: RankTask) -> None:
    """Stop a group that was given up but does not know it, before it writes.

    The folder of the next attempt is made before its ranks start: where there is one, the files
    of the member belong to them.
    """
    if attempt_folder(task.member, task.attempt + 1).exists():
        raise RankLost("another group has taken over")


def _leave(task: RankTask, answer: dict[str, Any]) -> None:
    atomic_write_bytes(task.answer, json.dumps(answer).encode())


def _say(task: RankTask, host: str, text: str) -> None:
    sys.stderr.write(f"rank {task.rank} on {host}: {text}\n")
    sys.stderr.flush()


def _end_with_launcher() -> None:
    sys.stdin.read()
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    code = main()
    # Threads of torch may wait for ranks that are gone.
    sys.stderr.flush()
    os._exit(code)
