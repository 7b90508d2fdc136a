"""Plain lines with the time, for logs: a start, an end, and now and then between them."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import TextIO

from distcnn.events import EpochEnded, StageEnded
from distcnn.formatting import format_duration, format_number
from distcnn.monitor.console.display import Display, RateEstimate, facts_text

INTERVAL = 5.0


class LogLines(Display):
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

    def stage_started(self, estimate: RateEstimate) -> None:
        self.last[estimate.stage] = self.clock()
        self._write(f"{estimate.stage}: begins, {estimate.text(self.clock())}")

    def stage_advanced(self, estimate: RateEstimate, count: int) -> None:
        if self._due(estimate.stage):
            self._write(f"{estimate.stage}: {estimate.text(self.clock())}")

    def epoch_ended(self, event: EpochEnded, estimate: RateEstimate) -> None:
        if not self._due(estimate.stage) and event.epoch < event.epochs:
            return
        left = estimate.seconds_left(self.clock())
        self._write(
            f"{estimate.stage}: epoch {event.epoch} of {event.epochs}, loss {event.loss:.4f}, "
            f"validation {event.validation:.4f}, {format_number(event.stars_per_second)} stars/s"
            # Members may stop early, so this is a bound.
            + (f", at most {format_duration(left)} left" if left else "")
        )

    def notice(self, text: str, level: str) -> None:
        self._write(text if level == "info" else f"{level}: {text}")

    def stage_ended(self, event: StageEnded, estimate: RateEstimate | None) -> None:
        time = f" after {format_duration(self.clock() - estimate.since)}" if estimate else ""
        facts = facts_text(event.facts)
        self._write(f"{event.stage}: done{time}" + (f"; {facts}" if facts else ""))

    def close(self) -> None:
        """Nothing to give back: the stream belongs to the caller."""

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
