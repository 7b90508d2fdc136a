"""Progress: files to which members append a line per epoch, followed by the driver.

Files, because members train in other processes, on other machines, under whatever runs tasks
there: a survey and its package lie on a file system that all share, and need no further channel.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distcnn.events import Advanced, EpochEnded, Event, Listener, Notice

STAGE = "train"
PROGRESS = "progress.jsonl"
POLL_S = 0.5
"""Seconds between looks at the files."""


def append_progress(path: Path, epoch: dict[str, Any]) -> None:
    """One more line, for whoever follows the file; not forced to disk, since it is only news."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(epoch) + "\n")


def epochs_done(path: Path) -> int:
    """How many epochs a progress file has."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


class Follower:
    """Reads new lines of every member's progress file and passes them on as events."""

    def __init__(
        self, files: Mapping[int, Path], epochs: int, listener: Listener, stage: str = STAGE
    ) -> None:
        self.files = files
        self.stage = stage
        self.epochs = epochs
        self.listener = listener
        # A file that is there already belongs to an earlier run.
        self._read = {p: p.stat().st_size for p in self._all() if p.exists()}
        self._reported = dict.fromkeys(files, 0)
        self._lock = threading.Lock()

    def report(self, event: Event) -> None:
        """Pass an event on; one at a time, whichever thread it comes from."""
        with self._lock:
            self.listener(event)

    def look(self) -> None:
        """Report whatever is new."""
        for member, path in self.files.items():
            for line in self._new_lines(path):
                self._reported[member] += 1
                self.report(EpochEnded(member=member, epochs=self.epochs, **json.loads(line)))
                self.report(Advanced(self.stage, 1))
            for log in _logs(path):
                for line in self._new_lines(log):
                    if line.startswith("rank "):  # what libraries say stays in the file
                        self.report(Notice(f"member {member}, {line}"))

    def finish(self, member: int, before: int) -> None:
        """Count the epochs that a member did not need, so that the stage adds up."""
        self.look()
        left = self.epochs - before - self._reported.get(member, 0)
        if left > 0:
            self.report(Advanced(self.stage, left, note=f"member {member} has stopped"))

    def _all(self) -> list[Path]:
        return [path for file in self.files.values() for path in (file, *_logs(file))]

    def _new_lines(self, path: Path) -> list[str]:
        if not path.exists():
            return []
        with path.open("rb") as stream:
            stream.seek(self._read.get(path, 0))
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        return whole.decode(errors="replace").splitlines()


def _logs(progress: Path) -> list[Path]:
    """Logs of the ranks that train the member, if they are many."""
    return sorted(progress.parent.glob("attempt_*/rank_*.log"))


@contextmanager
def following(follower: Follower) -> Iterator[Follower]:
    """Look every half second while the block runs, and once more at its end."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_S):
            follower.look()

    thread = threading.Thread(target=watch, name="training progress", daemon=True)
    thread.start()
    try:
        yield follower
    finally:
        stop.set()
        thread.join()
        follower.look()
