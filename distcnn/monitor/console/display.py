"""What every display for people shares: who is told what, how far it is, when it will end."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic

from distcnn.events import Advanced, EpochEnded, Event, Notice, StageEnded, StageStarted
from distcnn.monitor.console.rates import Tally


class Screen(ABC):
    """A listener for people. It keeps the tallies; a display only draws.

    Parameters
    ----------
    clock : seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.tallies: dict[str, Tally] = {}
        self.paces: dict[int, Tally] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted():
                tally = self.tallies[event.stage] = Tally.begin(event, self.clock())
                self.started(tally)
            case Advanced() if event.stage in self.tallies:
                tally = self.tallies[event.stage]
                tally.advance(event.count, self.clock())
                self.advanced(tally, event.count)
            case EpochEnded():
                self.trained(event, self._pace(event))
            case Notice():
                self.say(event.text, event.level)
            case StageEnded():
                self.ended(event, self.tallies.pop(event.stage, None))
                self.paces.clear()

    def _pace(self, event: EpochEnded) -> Tally:
        """The tally of a member; epochs before the first one heard of are no measure of speed."""
        now, pace = self.clock(), self.paces.get(event.member)
        if pace is None or event.epoch <= pace.before + pace.done:
            pace = Tally(f"member {event.member}", event.epochs, "epochs", event.epoch, now)
            self.paces[event.member] = pace
        else:
            pace.advance(event.epoch - pace.before - pace.done, now)
        if event.seconds_left is not None:
            pace.ends = now + event.seconds_left
        return pace

    @abstractmethod
    def started(self, tally: Tally) -> None:
        """A stage begins."""

    @abstractmethod
    def advanced(self, tally: Tally, count: int) -> None:
        """A stage has ``count`` units more; the tally has them already."""

    @abstractmethod
    def trained(self, event: EpochEnded, pace: Tally) -> None:
        """A member has an epoch more."""

    @abstractmethod
    def say(self, text: str, level: str) -> None:
        """A notice."""

    @abstractmethod
    def ended(self, event: StageEnded, tally: Tally | None) -> None:
        """A stage is complete; None if its start was never told."""
