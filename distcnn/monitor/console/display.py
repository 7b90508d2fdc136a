"""What every display for people shares: which event means what, how far it is, when it will end."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from distcnn.events import (
    Advanced,
    EpochEnded,
    Event,
    Notice,
    RegionFailed,
    RegionStored,
    StageEnded,
    StageStarted,
)
from distcnn.formatting import format_duration, format_number


@dataclass
class RateEstimate:
    """Progress of one stage or member.

    ``before`` units were done when it began, at the clock's ``since`` [s], and ``done`` since
    then; ``ends`` is the clock at its probable end [s], None before the first unit.
    """

    stage: str
    total: int
    unit: str
    before: int
    since: float
    done: int = 0
    ends: float | None = None

    @classmethod
    def begin(cls, event: StageStarted, now: float) -> "RateEstimate":
        return cls(event.stage, event.total, event.unit, event.done, now)

    def advance(self, count: int, now: float) -> None:
        """``count`` units more; the end is estimated again, and stays until the next call."""
        self.done += count
        rate = self.rate(now)
        left = max(0, self.total - self.before - self.done)
        self.ends = now + left / rate if rate else None

    def rate(self, now: float) -> float:
        """Units per second of this run; 0 before the first."""
        return self.done / (now - self.since) if now > self.since else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Seconds to go; None before the first unit."""
        return None if self.ends is None else max(0.0, self.ends - now)

    def text(self, now: float) -> str:
        """``4,096 of 20,000 stars (20 %), 310 stars/s, 51 s left``."""
        reached = self.before + self.done
        parts = [f"{reached:,} of {self.total:,} {self.unit}"]
        if self.total:
            parts[0] += f" ({100 * reached / self.total:.0f} %)"
        if rate := self.rate(now):
            parts.append(f"{format_number(rate)} {self.unit}/s")
        left = self.seconds_left(now)
        if left:
            parts.append(f"{format_duration(left)} left")
        return ", ".join(parts)


class Display(ABC):
    """A listener for people. It keeps the estimates; what inherits from it only draws.

    Parameters
    ----------
    clock : seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.estimates: dict[str, RateEstimate] = {}
        self.member_estimates: dict[int, RateEstimate] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted():
                estimate = self.estimates[event.stage] = RateEstimate.begin(event, self.clock())
                self.stage_started(estimate)
            case Advanced() | RegionStored() if event.stage in self.estimates:
                estimate = self.estimates[event.stage]
                estimate.advance(event.count, self.clock())
                self.stage_advanced(estimate, event.count)
            case EpochEnded():
                self.epoch_ended(event, self._estimate_of(event))
            case RegionFailed():
                self.notice(f"Region {event.region} failed: {event.error}", "warning")
            case Notice():
                self.notice(event.text, event.level)
            case StageEnded():
                self.stage_ended(event, self.estimates.pop(event.stage, None))
                self.member_estimates.clear()

    def _estimate_of(self, event: EpochEnded) -> RateEstimate:
        """The estimate of a member; epochs of an earlier run took none of this time."""
        now, estimate = self.clock(), self.member_estimates.get(event.member)
        if estimate is None or event.epoch <= estimate.before + estimate.done:
            estimate = RateEstimate(
                f"member {event.member}", event.epochs, "epochs", event.epoch, now
            )
            self.member_estimates[event.member] = estimate
        else:
            estimate.advance(event.epoch - estimate.before - estimate.done, now)
        if event.seconds_left is not None:
            estimate.ends = now + event.seconds_left
        return estimate

    @abstractmethod
    def stage_started(self, estimate: RateEstimate) -> None:
        """A stage begins."""

    @abstractmethod
    def stage_advanced(self, estimate: RateEstimate, count: int) -> None:
        """A stage has ``count`` units more; the estimate has them already."""

    @abstractmethod
    def epoch_ended(self, event: EpochEnded, estimate: RateEstimate) -> None:
        """A member has an epoch more."""

    @abstractmethod
    def notice(self, text: str, level: str) -> None:
        """A notice."""

    @abstractmethod
    def stage_ended(self, event: StageEnded, estimate: RateEstimate | None) -> None:
        """A stage is complete; None if its start was never reported."""

    @abstractmethod
    def close(self) -> None:
        """Leave the screen as it was found; a second call does nothing."""


def facts_text(facts: object) -> str:
    """``stars 20,000, seconds 3.1``; underscores become spaces."""
    items = facts.items() if hasattr(facts, "items") else ()
    return ", ".join(
        f"{str(name).replace('_', ' ')} {format_number(value)}" for name, value in items
    )
