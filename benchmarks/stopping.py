"""Commands stopped at random moments, as a terminal and a system do it.

    python benchmarks/stopping.py ARCHIVE PACKAGE [--tries 40] [--load 2] [--seed 1] [--json FILE]
                                  [--only predict,train] [--ways ctrl-c,twice]

Every try runs a command in a terminal of its own, stops it after a random time of what the command
takes, and looks at what is left: the seconds until its end, the exit code, the lines that it wrote
since, living processes of its session, folders of workers, named semaphores. A command that was
over before it could be stopped is no try. ``--load`` keeps so many processes busy beside it. The
ways: Ctrl-C, Ctrl-C twice, SIGTERM, SIGHUP, and a terminal that is closed. At the end each command
runs once more over what its last try left, to its end. Exits with 1 if a try ended otherwise than
it should.
"""

import argparse
import os
import pty
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil
from lib.origin import commit, hardware, keep, now

LIMIT_S = 30.0
"""Seconds in which a command has to end."""
FAREWELL_S = 5.0
"""Seconds that Python takes to end a process that has done its work, on a busy machine."""
CURE = "The same command again goes on from here."
BUSY = [sys.executable, "-c", "while True: pass"]
SEMAPHORES = Path("/dev/shm")
PROGRESS = ("0 of 2 workers", "1 of 2 workers", "2 of 2 workers", "Dask dashboard")
"""Beginnings of lines that begin with no date."""
HANG_UP = "closed"


@dataclass(frozen=True)
class Way:
    """One way to stop a command, and what it has to say and to return then."""

    code: int
    stop: Callable[[int, int], None]
    """Takes the process and its terminal."""
    says: str = ""

    @property
    def line(self) -> str:
        return f"distcnn: stopped{self.says}. {CURE}"


def _type_twice(_: int, terminal: int) -> None:
    os.write(terminal, b"\x03")
    time.sleep(random.uniform(0.01, 1.0))  # as a finger does it
    with suppress(OSError):  # nobody is there any more
        os.write(terminal, b"\x03")


WAYS = {
    "ctrl-c": Way(130, lambda _, terminal: os.write(terminal, b"\x03") and None),
    "twice": Way(130, _type_twice),
    "term": Way(143, lambda number, _: os.kill(number, signal.SIGTERM), " by SIGTERM"),
    "hup": Way(129, lambda number, _: os.kill(number, signal.SIGHUP), " by SIGHUP"),
    HANG_UP: Way(129, lambda _, terminal: os.close(terminal)),
}


@dataclass(frozen=True)
class Try:
    """What came of stopping one command."""

    command: str
    way: str
    after_s: float
    ended_s: float
    code: int
    lines: list[str]
    left: list[str]

    @property
    def finished(self) -> bool:
        """It was asked to stop when all was done; one that goes on for long has not heard it."""
        done = self.code in {0, 3} and self.ended_s < FAREWELL_S
        return done and not self.left and not self.said

    @property
    def said(self) -> bool:
        return any("stopped" in line or "Traceback" in line for line in self.lines)

    @property
    def right(self) -> bool:
        way = WAYS[self.way]
        lines = [] if self.way == HANG_UP else [way.line]
        return (
            self.code == way.code
            and self.lines == lines
            and not self.left
            and self.ended_s < LIMIT_S
        )

    def __str__(self) -> str:
        verdict = f"WRONG {self.lines[-30:]} {self.left}"
        if self.right or self.finished:
            verdict = "right" if self.right else "finished before"
        return (
            f"{self.command:8} {self.way:6} after {self.after_s:6.2f} s: exit {self.code} "
            f"{self.ended_s:5.2f} s later, {len(self.lines)} line, {verdict}"
        )


@dataclass(frozen=True)
class Inputs:
    """What commands read."""

    archive: Path
    package: Path
    survey: Path
    predictions: Path


def commands(inputs: Inputs, out: Path) -> dict[str, list[str]]:
    """The words of each command, with two workers and an output below ``out``."""
    archive, package, survey, predictions = map(str, asdict(inputs).values())
    end = ["--set", "cluster.workers=2", "--conf", "demo"]
    train = ["train", survey, "--set", "train.epochs=4", *end]
    ranks = ["--set", "train.members=1", "--set", "train.distribute.strategy=data"]
    distil = ["distil", package, f"{out}/small", "--survey", survey, *end]
    return {
        "predict": ["predict", package, survey, f"{out}/predictions.zarr", *end],
        "train": [*train, f"{out}/package", "--set", "train.members=2"],
        "ranks": [*train, f"{out}/ranks", *ranks],
        "ingest": ["ingest", archive, f"{out}/survey.zarr", *end],
        "report": ["report", predictions, f"{out}/report", "--conf", "demo"],
        "compare": ["compare", survey, f"{out}/baselines.parquet", "--package", package],
        "distil": [*distil, "--set", "distil.epochs=2"],
        "export": ["export", predictions, f"{out}/catalogue.vot"],
        "verify": ["verify", predictions],
    }


def whole(words: list[str], temporary: Path) -> tuple[int, float]:
    """Run a command to its end; returns code and seconds."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "distcnn", *words],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        print(done.stderr[-2000:])
    return done.returncode, time.monotonic() - begun


def stopped(name: str, words: list[str], way: str, after_s: float, temporary: Path) -> Try | None:
    """Run a command in a terminal and stop it after so many seconds; None: it was over by then."""
    before = set(SEMAPHORES.glob("sem.mp-*"))
    number, terminal = pty.fork()
    if number == 0:
        environment = {**os.environ, "TMPDIR": str(temporary), "TERM": "dumb", "COLUMNS": "200"}
        for ignored in (signal.SIGINT, signal.SIGHUP):  # where this script runs in the background
            signal.signal(ignored, signal.SIG_DFL)
        os.execve(sys.executable, [sys.executable, "-m", "distcnn", *words], environment)
    early = read_until(terminal, time.monotonic() + after_s)
    # Left to be waited for, so that its number is nobody else's.
    if os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
        os.waitpid(number, 0)
        os.close(terminal)
        return None
    family = psutil.Process(number).children(recursive=True)
    WAYS[way].stop(number, terminal)
    begun = time.monotonic()
    text = "" if way == HANG_UP else read_until(terminal, begun + 2 * LIMIT_S)
    if (status := waited(number, begun + 2 * LIMIT_S)) is None:
        os.killpg(number, signal.SIGKILL)
        status = os.waitpid(number, 0)[1]
    ended = time.monotonic() - begun
    left = [f"process {p.pid}" for p in psutil.wait_procs(family, timeout=5)[1]]
    left += ["the command itself"] if ended > 2 * LIMIT_S else []
    if way != HANG_UP:
        os.close(terminal)
    left += [str(p) for p in temporary.glob("distcnn-workers-*")]
    new = set(SEMAPHORES.glob("sem.mp-*")) - before
    while orphaned(new) and time.monotonic() < begun + LIMIT_S:
        time.sleep(0.1)  # Python's helper removes them once it sees that nobody is left
    left += orphaned(new)
    code = os.waitstatus_to_exitcode(status)
    return Try(name, way, round(after_s, 3), round(ended, 3), code, since(early, text), left)


def orphaned(semaphores: set[Path]) -> list[str]:
    """Those that no living process uses; other programs make some, too."""
    used = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            used += maps.read_text()
    return [str(path) for path in semaphores if path.exists() and path.name not in used]


def since(early: str, text: str) -> list[str]:
    """Lines that are no progress, which may have been on its way, nor the end of a line begun."""
    if early and not early.endswith("\n"):
        text = text.partition("\n")[2] if "\n" in text.replace("^C", "") else text
    lines = [line.strip() for line in text.replace("^C", "").splitlines()]
    lines = [line for line in lines if line and "+00:00 " not in line[:30]]
    return [line for line in lines if not line.startswith(PROGRESS)]


def read_until(terminal: int, deadline: float) -> str:
    """What comes from a terminal until a moment, or its end."""
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # nobody holds its other side any more
            break
        data += piece
    return data.decode(errors="replace")


def waited(number: int, deadline: float) -> int | None:
    """The status of a process, once it has ended."""
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)


def main() -> None:
    """Prints a line per try, then how many were right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("package", type=Path)
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--latest", type=float, help="Latest moment [s], instead of the end.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="predict,train,ranks,ingest", help="Which commands.")
    parser.add_argument("--ways", default="ctrl-c", help=f"Some of {', '.join(WAYS)}.")
    parser.add_argument("--json", type=Path, help="Where the result is kept.")
    asked = parser.parse_args()
    busy = [subprocess.Popen(BUSY) for _ in range(asked.load)]
    try:
        with tempfile.TemporaryDirectory(prefix="stopping-") as folder:
            sys.exit(run(asked, Path(folder)))
    finally:
        for one in busy:
            one.kill()
            one.wait()


def run(asked: argparse.Namespace, folder: Path) -> int:
    """All tries; returns the exit code."""
    temporary = folder / "tmp"
    temporary.mkdir()
    inputs = prepared(asked, folder, temporary)
    words, names = partial(commands, inputs), asked.only.split(",")
    takes = timed(words(folder / "whole"), names, asked.latest, temporary)
    draw, ways = random.Random(asked.seed), asked.ways.split(",")
    tries: list[Try] = []
    last: dict[str, Path] = {}
    over = 0
    while len(tries) < asked.tries:
        name, out = names[len(tries) % len(names)], folder / f"try_{len(tries)}_{over}"
        way, after = draw.choice(ways), draw.uniform(0.05, takes[name])
        out.mkdir()
        one = stopped(name, words(out)[name], way, after, temporary)
        if one is None or one.finished:
            over += 1
            continue
        tries.append(one)
        print(one, flush=True)
        last[name] = out
    again = {name: whole(words(out)[name], temporary)[0] for name, out in last.items()}
    print(f"again, over what the last try left: exit {again}")
    return told(asked, tries, over, again)


def prepared(asked: argparse.Namespace, folder: Path, temporary: Path) -> Inputs:
    """A survey and predictions of the package for it."""
    (folder / "whole").mkdir()
    survey, predictions = folder / "survey.zarr", folder / "predictions.zarr"
    inputs = Inputs(asked.archive, asked.package, survey, predictions)
    for words in (
        ["ingest", str(asked.archive), str(survey), "--conf", "demo"],
        ["predict", str(asked.package), str(survey), str(predictions), "--conf", "demo"],
    ):
        whole(words, temporary)
    return inputs


def timed(
    words: dict[str, list[str]], names: list[str], latest: float | None, temporary: Path
) -> dict[str, float]:
    """Seconds that each command takes if nobody stops it."""
    if latest is not None:
        return dict.fromkeys(names, latest)
    takes = {}
    for name in names:
        code, takes[name] = whole(words[name], temporary)
        print(f"{name:8} takes {takes[name]:.1f} s if nobody stops it, exit {code}", flush=True)
    return takes


def told(asked: argparse.Namespace, tries: list[Try], over: int, again: dict[str, int]) -> int:
    """Print the sum, keep it if asked to; returns the exit code."""
    fine, ended = sum(one.right for one in tries), sorted(one.ended_s for one in tries)
    median, longest = ended[len(ended) // 2], ended[-1]
    print(
        f"{fine} of {len(tries)} ended with one line and the signal's exit code and left nothing; "
        f"{over} more were over before; median {median:.1f} s, longest {longest:.1f} s"
    )
    if asked.json:
        result = {
            "hardware": hardware(),
            "commit": commit(),
            "date": now(),
            "busy_processes": asked.load,
            "load": os.getloadavg()[1],
            "right": fine,
            "tries": [{**asdict(one), "right": one.right} for one in tries],
            "over_before": over,
            "median_s": median,
            "longest_s": longest,
            "again": again,
        }
        keep("stopping", result, asked.json)
    return int(fine < len(tries) or not {0, 3}.issuperset(again.values()))


if __name__ == "__main__":
    main()
