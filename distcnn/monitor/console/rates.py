"""Tally: how far a piece of work is, how fast, and when it will end; and how to say it."""

from dataclasses import dataclass

from distcnn.events import StageStarted


@dataclass
class Tally:
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
    def begin(cls, event: StageStarted, now: float) -> "Tally":
        return cls(event.stage, event.total, event.unit, event.done, now)

    def advance(self, count: int, now: float) -> None:
        """``count`` units more; only now is the end guessed anew."""
        self.done += count
        rate = self.rate(now)
        left = max(0, self.total - self.before - self.done)
        self.ends = now + left / rate if rate else None

    def rate(self, now: float) -> float:
        """Units per second of this run; 0 before the first."""
        return self.done / (now - self.since) if now > self.since else 0.0

    def left(self, now: float) -> float | None:
        """Seconds to go; None before the first unit."""
        return None if self.ends is None else max(0.0, self.ends - now)

    def text(self, now: float) -> str:
        """``4,096 of 20,000 stars (20 %), 310 stars/s, 51 s left``."""
        reached = self.before + self.done
        parts = [f"{reached:,} of {self.total:,} {self.unit}"]
        if self.total:
            parts[0] += f" ({100 * reached / self.total:.0f} %)"
        if rate := self.rate(now):
            parts.append(f"{number(rate)} {self.unit}/s")
        left = self.left(now)
        if left:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """``8.4 s``, ``51 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def number(value: object) -> str:
    """Thousands apart; three digits of fractions below a hundred."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def facts_text(facts: object) -> str:
    """``stars 20,000, seconds 3.1``; underscores become spaces."""
    items = facts.items() if hasattr(facts, "items") else ()
    return ", ".join(f"{str(name).replace('_', ' ')} {number(value)}" for name, value in items)
