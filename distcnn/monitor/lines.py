"""Plain lines with the time, for logs: a start, an end, and now and then between them."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import TextIO

from distcnn.events import Advanced, EpochEnded, Event, Notice, StageEnded, StageStarted
from distcnn.monitor.tally import Tally, duration, facts_text, number

INTERVAL = 5.0


class Lines:
    """Writes at most one line per ``interval`` seconds and stage or member, beside start and end.

    Parameters
    ----------
    stream : where to.
    interval : least time between two lines on the same thing [s].
    clock : seconds, never going back.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.stream, self.interval, self.clock = stream, interval, clock
        self.tallies: dict[str, Tally] = {}
        self.last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._start(event)
            case Advanced():
                self._advance(event)
            case EpochEnded():
                self._epoch(event)
            case Notice():
                self._write(event.text if event.level == "info" else f"{event.level}: {event.text}")
            case StageEnded():
                self._end(event)

    def _start(self, event: StageStarted) -> None:
        tally = self.tallies[event.stage] = Tally.begin(event, self.clock())
        self.last[event.stage] = self.clock()
        self._write(f"{event.stage}: begins, {tally.text(self.clock())}")

    def _advance(self, event: Advanced) -> None:
        tally = self.tallies.get(event.stage)
        if tally is None:
            return
        tally.done += event.count
        if self._due(event.stage):
            self._write(f"{event.stage}: {tally.text(self.clock())}")

    def _epoch(self, event: EpochEnded) -> None:
        name = f"member {event.member}"
        if self._due(name) or event.epoch == event.epochs:
            self._write(
                f"{name}: epoch {event.epoch} of {event.epochs}, loss {event.loss:.4f}, "
                f"validation {event.validation:.4f}, {number(event.stars_per_second)} stars/s"
            )

    def _end(self, event: StageEnded) -> None:
        tally = self.tallies.pop(event.stage, None)
        time = f" after {duration(self.clock() - tally.since)}" if tally else ""
        facts = facts_text(event.facts)
        self._write(f"{event.stage}: done{time}" + (f"; {facts}" if facts else ""))

    def _due(self, name: str) -> bool:
        now = self.clock()
        if now - self.last.get(name, -self.interval) < self.interval:
            return False
        self.last[name] = now
        return True

    def _write(self, text: str) -> None:
        stamp = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        for line in text.splitlines() or [""]:
            self.stream.write(f"{stamp} {line}\n")
        self.stream.flush()
