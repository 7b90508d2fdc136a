"""Progress bars on a terminal: one per stage, and one per member while members train."""

import atexit
from collections.abc import Callable
from time import monotonic
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from distcnn.events import EpochEnded, StageEnded
from distcnn.formatting import format_duration, format_number
from distcnn.monitor.console.display import Display, RateEstimate, facts_text

MAX_MEMBER_BARS = 12
"""Members shown at a time; the one without news for longest gives its place to another."""


class SpeedColumn(TextColumn):
    """Units per second of the last half minute, or of the whole run where units are rare."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("")
        self.clock = clock

    def render(self, task: Task) -> Text:
        overall = task.fields["estimate"].rate(self.clock())
        speed = task.fields.get("speed") or task.speed or overall
        unit = task.fields.get("unit", "")
        return Text(f"{format_number(float(speed))} {unit}/s" if speed else "", style="cyan")


class LeftColumn(TextColumn):
    """Time left, as the estimate has it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("")
        self.clock = clock

    def render(self, task: Task) -> Text:
        left = task.fields["estimate"].seconds_left(self.clock())
        return Text("" if left is None else f"{format_duration(left)} left", style="magenta")


class ProgressBars(Display):
    """Bars with counts, speed and time left; what is finished becomes a line above them."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self.console = Console(file=stream)
        self.progress: Progress | None = None
        self.stages: dict[str, TaskID] = {}
        self.members: dict[int, TaskID] = {}

    def stage_started(self, estimate: RateEstimate) -> None:
        if estimate.stage in self.stages:
            self._live().remove_task(self.stages[estimate.stage])
        self.stages[estimate.stage] = self._live().add_task(
            escape(estimate.stage),
            total=estimate.total,
            completed=estimate.before,
            unit=estimate.unit,
            estimate=estimate,
        )

    def stage_advanced(self, estimate: RateEstimate, count: int) -> None:
        self._live().advance(self.stages[estimate.stage], count)

    def epoch_ended(self, event: EpochEnded, estimate: RateEstimate) -> None:
        bar = self.members.pop(event.member, None)
        self.members[event.member] = self._new_member(estimate) if bar is None else bar
        self._live().update(
            self.members[event.member],
            completed=event.epoch,
            description=f"  {estimate.stage}  loss {event.loss:.3f} / {event.validation:.3f}",
            speed=event.stars_per_second,
            estimate=estimate,
        )

    def _new_member(self, estimate: RateEstimate) -> TaskID:
        while len(self.members) >= MAX_MEMBER_BARS:
            self._live().remove_task(self.members.pop(next(iter(self.members))))
        return self._live().add_task(
            estimate.stage, total=estimate.total, unit="stars", estimate=estimate
        )

    def notice(self, text: str, level: str) -> None:
        style = "yellow" if level == "warning" else ""
        self.console.print(escape(text), style=style, highlight=False)

    def stage_ended(self, event: StageEnded, estimate: RateEstimate | None) -> None:
        time = ""
        if estimate is not None:
            self._live().remove_task(self.stages.pop(event.stage))
            time = f" {format_duration(self.clock() - estimate.since)}"
        line = f"[green]✓[/] {escape(event.stage)}{time}  {escape(facts_text(event.facts))}"
        self.console.print(line, highlight=False)
        if not self.stages:
            self.close()

    def _live(self) -> Progress:
        """The bars on the screen, put there when they are first needed."""
        if self.progress is None:
            self.progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                SpeedColumn(self.clock),
                LeftColumn(self.clock),
                console=self.console,
                transient=True,
                expand=True,
            )
            self.progress.start()
            atexit.register(self.close)  # an error must not leave the terminal without a cursor
        return self.progress

    def close(self) -> None:
        """Take the bars off the screen."""
        if self.progress is not None:
            self.progress.stop()
            atexit.unregister(self.close)
        self.progress = None
        self.stages.clear()
        self.members.clear()
