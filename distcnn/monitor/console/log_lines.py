"""Plain lines with the time, for logs: a start, an end, and now and then between them."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import TextIO

from distcnn.events import EpochEnded, StageEnded
from distcnn.monitor.console.display import Screen
from distcnn.monitor.console.rates import Tally, duration, facts_text, number

INTERVAL = 5.0


class Lines(Screen):
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
        super().__init__(clock)
        self.stream, self.interval = stream, interval
        self.last: dict[str, float] = {}

    def started(self, tally: Tally) -> None:
        self.last[tally.stage] = self.clock()
        self._write(f"{tally.stage}: begins, {tally.text(self.clock())}")

    def advanced(self, tally: Tally, count: int) -> None:
        if self._due(tally.stage):
            self._write(f"{tally.stage}: {tally.text(self.clock())}")

    def trained(self, event: EpochEnded, pace: Tally) -> None:
        if not self._due(pace.stage) and event.epoch < event.epochs:
            return
        left = pace.left(self.clock())
        self._write(
            f"{pace.stage}: epoch {event.epoch} of {event.epochs}, loss {event.loss:.4f}, "
            f"validation {event.validation:.4f}, {number(event.stars_per_second)} stars/s"
            # Members may stop early, so this is a bound.
            + (f", at most {duration(left)} left" if left else "")
        )

    def say(self, text: str, level: str) -> None:
        self._write(text if level == "info" else f"{level}: {text}")

    def ended(self, event: StageEnded, tally: Tally | None) -> None:
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
