"""Ctrl-C at random moments of predict, train, ingest and report, as a terminal sends it.

    python benchmarks/stopping.py ARCHIVE PACKAGE [--tries 40] [--load 2] [--latest 20] [--seed 1]

Every try runs a command in a terminal of its own, types Ctrl-C after a random time of what the
command takes, and looks at what is left: the seconds until its end, the exit code, the lines that
it wrote since, living processes of its session, folders of workers, named semaphores. ``--load``
keeps so many processes busy beside it. At the end each command runs once more over what its last
try left, to its end. Exits with 1 if a try ended otherwise than it should.
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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LIMIT_S = 30.0
"""Seconds in which a command has to end."""
LINE = "distcnn: stopped. The same command again goes on from here."
BUSY = [sys.executable, "-c", "while True: pass"]
SEMAPHORES = Path("/dev/shm")


@dataclass(frozen=True)
class Try:
    """What came of one Ctrl-C."""

    command: str
    after_s: float
    ended_s: float
    code: int
    lines: list[str]
    left: list[str]
    product: bool
    """Whether the command's product is there."""

    @property
    def finished(self) -> bool:
        """Ctrl-C came when all was done."""
        return self.code in {0, 3} and self.product and not self.lines and not self.left

    @property
    def right(self) -> bool:
        return (
            self.code == 130 and self.lines == [LINE] and not self.left and self.ended_s < LIMIT_S
        )

    def __str__(self) -> str:
        verdict = f"WRONG {self.lines[-30:]} {self.left}"
        if self.right or self.finished:
            verdict = "right" if self.right else "finished before"
        return (
            f"{self.command:8} after {self.after_s:6.2f} s: exit {self.code} "
            f"{self.ended_s:5.2f} s later, {len(self.lines)} line, {verdict}"
        )


def commands(archive: Path, package: Path, survey: Path, out: Path) -> dict[str, list[str]]:
    """The words of each command, with two workers and an output below ``out``."""
    end = ["--set", "cluster.workers=2", "--conf", "demo"]
    train = ["train", str(survey), "--set", "train.epochs=4", *end]
    ranks = ["--set", "train.members=1", "--set", "train.distribute.strategy=data"]
    return {
        "predict": ["predict", str(package), str(survey), f"{out}/predictions.zarr", *end],
        "train": [*train, f"{out}/package", "--set", "train.members=2"],
        "ranks": [*train, f"{out}/ranks", *ranks],
        "ingest": ["ingest", str(archive), f"{out}/survey.zarr", *end],
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


def interrupted(name: str, words: list[str], after_s: float, temporary: Path) -> Try:
    """Run a command in a terminal and type Ctrl-C after so many seconds."""
    before = set(SEMAPHORES.glob("sem.mp-*"))
    number, terminal = pty.fork()
    if number == 0:
        environment = {**os.environ, "TMPDIR": str(temporary), "TERM": "dumb", "COLUMNS": "200"}
        os.execve(sys.executable, [sys.executable, "-m", "distcnn", *words], environment)
    read_until(terminal, time.monotonic() + after_s)
    family = psutil.Process(number).children(recursive=True)
    os.write(terminal, b"\x03")
    typed = time.monotonic()
    text = read_until(terminal, typed + 2 * LIMIT_S)
    left = [f"process {p.pid}" for p in psutil.wait_procs(family, timeout=5)[1]]
    if (status := waited(number, typed + 2 * LIMIT_S)) is None:
        left.append("the command itself")
        os.killpg(number, signal.SIGKILL)
        status = os.waitpid(number, 0)[1]
    ended = time.monotonic() - typed
    os.close(terminal)
    left += [str(p) for p in temporary.glob("distcnn-workers-*")]
    new = set(SEMAPHORES.glob("sem.mp-*")) - before
    while orphaned(new) and time.monotonic() < typed + LIMIT_S:
        time.sleep(0.1)  # Python's helper removes them once it sees that nobody is left
    left += orphaned(new)
    lines = [line.strip() for line in text.replace("^C", "").splitlines() if line.strip()]
    product = any(Path(word).exists() for word in words if "/try_" in word)
    code = os.waitstatus_to_exitcode(status)
    return Try(name, after_s, ended, code, since(lines), left, product)


def orphaned(semaphores: set[Path]) -> list[str]:
    """Those that no living process uses; other programs make some, too."""
    used = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            used += maps.read_text()
    return [str(path) for path in semaphores if path.exists() and path.name not in used]


def since(lines: list[str]) -> list[str]:
    """Lines that are no progress, which may have been on its way."""
    return [line for line in lines if "+00:00 " not in line[:30]]


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
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    busy = [subprocess.Popen(BUSY) for _ in range(asked.load)]
    try:
        with tempfile.TemporaryDirectory(prefix="stopping-") as folder:
            sys.exit(run(asked, draw, Path(folder)))
    finally:
        for one in busy:
            one.kill()
            one.wait()


def run(asked: argparse.Namespace, draw: random.Random, folder: Path) -> int:
    """All tries; returns the exit code."""
    survey, temporary = folder / "survey.zarr", folder / "tmp"
    temporary.mkdir()
    whole(["ingest", str(asked.archive), str(survey), "--conf", "demo"], temporary)
    (folder / "whole").mkdir()
    takes = dict.fromkeys(commands(asked.archive, asked.package, survey, folder), asked.latest)
    for name, words in commands(asked.archive, asked.package, survey, folder / "whole").items():
        if asked.latest is None:
            code, takes[name] = whole(words, temporary)
            print(f"{name:8} takes {takes[name]:.1f} s if nobody stops it, exit {code}", flush=True)
    tries, names = [], list(takes)
    for number in range(asked.tries):
        name, out = names[number % len(names)], folder / f"try_{number}"
        out.mkdir()
        words = commands(asked.archive, asked.package, survey, out)[name]
        tries.append(interrupted(name, words, draw.uniform(0.05, takes[name]), temporary))
        print(tries[-1], flush=True)
    fine, done = sum(one.right for one in tries), sum(one.finished for one in tries)
    again = []
    for number in range(max(0, asked.tries - len(names)), asked.tries):
        name, out = names[number % len(names)], folder / f"try_{number}"
        code, seconds = whole(commands(asked.archive, asked.package, survey, out)[name], temporary)
        again.append(code)
        print(f"{name:8} again, over what the last try left: exit {code}, {seconds:.1f} s")
    ended = sorted(one.ended_s for one in tries)
    print(
        f"{fine} of {len(tries)} ended with one line and exit 130 and left nothing, "
        f"{done} were finished before; "
        f"median {ended[len(ended) // 2]:.1f} s, longest {ended[-1]:.1f} s"
    )
    return int(fine + done < len(tries) or not {0, 3}.issuperset(again))


if __name__ == "__main__":
    main()
