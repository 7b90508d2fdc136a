"""Progress: follows the files that members write, and tells the listener while they train."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distcnn.events import Advanced, EpochEnded, Event, Listener, Notice

STAGE = "train"
PERIOD = 0.5
"""Seconds between looks."""


class Follower:
    """Reads new lines of every member's progress file and tells them as events."""

    def __init__(
        self, files: Mapping[int, Path], epochs: int, listener: Listener, stage: str = STAGE
    ) -> None:
        self.files = files
        self.stage = stage
        self.epochs = epochs
        self.listener = listener
        # A file that is there already belongs to an earlier run.
        self._read = {p: p.stat().st_size for p in self._all() if p.exists()}
        self._told = dict.fromkeys(files, 0)
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Pass an event on; one at a time, whichever thread it comes from."""
        with self._lock:
            self.listener(event)

    def look(self) -> None:
        """Tell whatever is new."""
        for member, path in self.files.items():
            for line in self._new_lines(path):
                self._told[member] += 1
                self.tell(EpochEnded(member=member, epochs=self.epochs, **json.loads(line)))
                self.tell(Advanced(self.stage, 1))
            for log in _logs(path):
                for line in self._new_lines(log):
                    if line.startswith("rank "):  # what libraries say stays in the file
                        self.tell(Notice(f"member {member}, {line}"))

    def finish(self, member: int, before: int) -> None:
        """Count the epochs that a member did not need, so that the stage adds up."""
        self.look()
        left = self.epochs - before - self._told.get(member, 0)
        if left > 0:
            self.tell(Advanced(self.stage, left, note=f"member {member} has stopped"))

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
        while not stop.wait(PERIOD):
            follower.look()

    thread = threading.Thread(target=watch, name="training progress", daemon=True)
    thread.start()
    try:
        yield follower
    finally:
        stop.set()
        thread.join()
        follower.look()
