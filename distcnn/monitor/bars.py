"""Progress bars on a terminal: one per stage, and one per member while members train."""

import atexit
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
    TimeRemainingColumn,
)
from rich.text import Text

from distcnn.events import Advanced, EpochEnded, Event, Notice, StageEnded, StageStarted
from distcnn.monitor.tally import duration, facts_text, number


class SpeedColumn(TextColumn):
    """Units per second of the last half minute."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.fields.get("speed") or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{number(float(speed))} {unit}/s" if speed else "", style="cyan")


class Bars:
    """Bars with counts, speed and time left; what is finished becomes a line above them."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream)
        self.progress: Progress | None = None
        self.stages: dict[str, TaskID] = {}
        self.members: dict[int, TaskID] = {}
        self.since: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._start(event)
            case Advanced():
                self._advance(event)
            case EpochEnded():
                self._epoch(event)
            case Notice():
                style = "yellow" if event.level == "warning" else ""
                self.console.print(escape(event.text), style=style, highlight=False)
            case StageEnded():
                self._end(event)

    def _start(self, event: StageStarted) -> None:
        if event.stage in self.stages:
            self._live().remove_task(self.stages[event.stage])
        self.since[event.stage] = monotonic()
        self.stages[event.stage] = self._live().add_task(
            escape(event.stage), total=event.total, completed=event.done, unit=event.unit
        )

    def _advance(self, event: Advanced) -> None:
        if event.stage in self.stages:
            self._live().advance(self.stages[event.stage], event.count)

    def _epoch(self, event: EpochEnded) -> None:
        if event.member not in self.members:
            name = f"  member {event.member}"
            self.members[event.member] = self._live().add_task(
                name, total=event.epochs, unit="stars"
            )
        self._live().update(
            self.members[event.member],
            completed=event.epoch,
            description=f"  member {event.member}  loss {event.loss:.3f} / {event.validation:.3f}",
            speed=event.stars_per_second,
        )

    def _end(self, event: StageEnded) -> None:
        facts = facts_text(event.facts)
        time = ""
        if event.stage in self.stages:
            self._live().remove_task(self.stages.pop(event.stage))
            time = f" {duration(monotonic() - self.since.pop(event.stage))}"
        line = f"[green]✓[/] {escape(event.stage)}{time}  {escape(facts)}"
        self.console.print(line, highlight=False)
        if not self.stages:
            self.stop()

    def _live(self) -> Progress:
        """The bars on the screen, put there when they are first needed."""
        if self.progress is None:
            self.progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                SpeedColumn(),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
                expand=True,
            )
            self.progress.start()
            atexit.register(self.stop)  # an error must not leave the terminal without a cursor
        return self.progress

    def stop(self) -> None:
        """Take the bars off the screen."""
        if self.progress is not None:
            self.progress.stop()
            atexit.unregister(self.stop)
        self.progress = None
        self.stages.clear()
        self.members.clear()
