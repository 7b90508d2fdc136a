"""Run monitor: follows one run, shows it wherever it can be seen, and notices when it is stuck.

One thread of the driver looks at the run's state once a second. It sends a snapshot to the Dask
scheduler, puts one beside the prediction store now and then, and says when nothing has been
finished for too long, what is in flight, and which worker has it.
"""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, Protocol

from distcnn.config import MonitorConfig
from distcnn.errors import DistcnnError
from distcnn.events import Event as RunEvent
from distcnn.events import Listener, Notice
from distcnn.formatting import format_duration
from distcnn.location import Location
from distcnn.monitor.run_note import NOTE_S, NoteWriter
from distcnn.monitor.run_state import RunState, Snapshot, run_name

TICK_S = 1.0
"""Time between two looks at a run."""
END_S = 3.0
"""How long the end of a run waits for those who watch it."""
MIN_STALL_S = 300.0
"""Without a setting, a run is given this long ..."""
STALL_FACTOR = 10.0
"""... or so many times the longest time between two regions, epochs or units so far."""
MAX_HOLDERS_NAMED = 3
MAX_TASK_TEXT = 150
SAY_AGAIN = 4.0
"""A run that stays stuck says so again after so many times the time before."""


class Link(Protocol):
    """Where snapshots go, and who knows which worker has a task."""

    def send(self, snapshot: Snapshot, *, last: bool = False) -> bool: ...

    def holders(self, keys: list[str]) -> dict[str, Snapshot]: ...


def typed_command() -> str:
    """The command that this process is running; empty where it is no command of ours."""
    program = Path(sys.argv[0])
    if program.name not in {"distcnn", "__main__.py"}:
        return ""
    return shlex.join(["distcnn", *sys.argv[1:]])


@contextmanager
def watch_run(
    executor: Any,
    config: MonitorConfig,
    listener: Listener,
    *,
    output: Location | None = None,
    cluster: str = "",
) -> Iterator[Listener]:
    """Follow what runs in the block; the listener to hand to the work is what comes of it.

    Parameters
    ----------
    executor : with a ``client`` (Dask) the run is shown on the scheduler's dashboard.
    config : ``stalled_after`` [s].
    output : where the result goes; its free space is watched. A prediction store gets a note.
    cluster : name of the backend.
    """
    facts = {
        "command": typed_command(),
        "folder": str(Path.cwd()),
        "host": platform.node(),
        "process": os.getpid(),
        "output": "" if output is None else str(output),
        "cluster": cluster,
        "workers_expected": getattr(executor, "workers", 1),
    }
    state = RunState(getattr(listener, "run", None) or run_name(), facts)
    link = _open_link(executor, state, listener)
    monitor = RunMonitor(state, listener, link=link, executor=executor, output=output)
    monitor.stalled_after = config.stalled_after
    monitor.start()
    status = "failed"
    try:
        yield monitor
        status = "complete"
    except Exception:
        raise
    except BaseException:  # Ctrl-C and the like
        status = "stopped"
        raise
    finally:
        monitor.stop(status)


def _open_link(executor: Any, state: RunState, listener: Listener) -> Link | None:
    client = getattr(executor, "client", None)
    if client is None:
        return None
    from distcnn.monitor.dashboard.link import DaskLink

    link = DaskLink(client, getattr(executor, "dashboard", None))
    where = link.open()
    if where:
        state.facts["page"] = where
        listener(Notice(where))
    return link


@dataclass
class RunMonitor:
    """A listener that passes every event on, after the run's state has taken note of it.

    Parameters
    ----------
    link : the Dask scheduler, if there is one.
    executor : asked for what is ``in_flight`` when nothing comes.
    stalled_after : time without progress after which a run is stuck [s]; None = by its own pace.
    tick : time between two looks [s].
    """

    state: RunState
    listener: Listener
    link: Link | None = None
    executor: Any = None
    output: Location | None = None
    stalled_after: float | None = None
    tick: float = TICK_S

    def __post_init__(self) -> None:
        self._stop = Event()
        self._thread = Thread(target=self._run, name="run monitor", daemon=True)
        self._sent = -1
        self._noted = float("-inf")
        self._told = 0.0  # silence at which it was last said that the run is stuck [s]
        self._write_note = None if self.output is None else NoteWriter(self.output)

    def __call__(self, event: RunEvent) -> None:
        self.state(event)
        self.listener(event)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, status: str) -> None:
        """The run is over: ``complete``, ``failed`` or ``stopped``; it is shown so."""
        self._stop.set()
        self._thread.join(END_S)
        self.state.end(status)
        if not self._thread.is_alive():  # else it waits for a scheduler that is gone
            with suppress(Exception):
                self._show(last=True)

    def _run(self) -> None:
        while not self._stop.wait(self.tick):
            with suppress(Exception):  # whoever watches must not end the run
                self.look()

    def look(self) -> None:
        """What is done once a second."""
        self.state.tick()
        notice = self._watch()
        self._show()
        if notice is not None:
            self.listener(notice)

    def _show(self, *, last: bool = False) -> None:
        due = last or monotonic() - self._noted >= NOTE_S
        if self.state.version == self._sent and not due:
            return
        if due and self.output is not None:
            with suppress(OSError, DistcnnError):
                free = self.output.free_bytes()
                # An object store says that it has no end.
                self.state.facts["free_bytes"] = free if free < sys.maxsize else None
        snapshot = self.state.snapshot()
        self._sent = snapshot["version"]
        if self.link is not None:
            self.link.send(snapshot, last=last)
        if due:
            self._noted = monotonic()
            if self._write_note is not None:
                self._write_note(snapshot, last=last)

    def patience(self) -> float:
        """How long the run may make no progress before it is called stuck [s]."""
        if self.stalled_after is not None:
            return self.stalled_after
        return max(MIN_STALL_S, STALL_FACTOR * self.state.longest_gap)

    def _watch(self) -> Notice | None:
        """Notice that the run is stuck, or that it goes on; what there is to say of it."""
        silence = self.state.silence()
        if silence < self.patience():
            if not self._told:
                return None
            self._told = 0.0
            self.state.set_stalled("")
            return Notice("The run goes on")
        text = describe_holders(self.in_flight(), self.link)
        self.state.set_stalled(text)
        if self._told and silence < SAY_AGAIN * self._told:
            return None
        self._told = silence
        return Notice(f"No progress for {format_duration(silence)}: {text}", "warning")

    def in_flight(self) -> Mapping[str, str]:
        """Tasks that the executor waits for: key -> text."""
        ask: Callable[[], Mapping[str, str]] = getattr(self.executor, "in_flight", dict)
        return ask()


def describe_holders(tasks: Mapping[str, str], link: Link | None) -> str:
    """Which worker has which task, those first of whom nothing was heard for longest."""
    if not tasks:
        return "no task is in flight; the driver itself is at work, or waits for its disk"
    holders = link.holders(list(tasks)) if link is not None else {}
    if link is not None and not holders:
        return f"{len(tasks)} tasks wait at the scheduler, and no worker has one of them"
    ordered = sorted(holders, key=lambda key: -holders[key]["unheard"])
    named = [_holding(tasks[key], holders[key]) for key in ordered[:MAX_HOLDERS_NAMED]]
    named = named or [f"{text} is at work here" for text in list(tasks.values())[:1]]
    more = len(ordered) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def _holding(task: str, holder: Snapshot) -> str:
    if len(task) > MAX_TASK_TEXT:  # short regions are sent by the hundred
        task = f"{task[:MAX_TASK_TEXT].rpartition(',')[0]} and more"
    heard = f", not heard of for {format_duration(holder['unheard'])}"
    return f"{task} is on worker {holder['worker']} of host {holder['host']}" + (
        heard if holder["unheard"] > 5 else ""
    )
