"""Events: what rooms tell about their work, and who may listen.

Rooms never print. They hand events to a listener; monitor/ turns them into progress bars,
log lines or journals. A listener that fails never stops the work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class StageStarted:
    """A long step begins: ``total`` units of work, of which ``done`` were done before."""

    stage: str
    total: int
    unit: str
    done: int = 0


@dataclass(frozen=True)
class Advanced:
    """``count`` more units of a stage are finished and stored."""

    stage: str
    count: int
    note: str = ""


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of one member: losses in nats per label, speed in stars per second.

    ``learning_rate`` is that of the epoch's last step; ``seconds_left`` until the last epoch,
    where whoever trains knows better than a listener with a clock. None = not told.
    """

    member: int
    epoch: int
    epochs: int
    loss: float
    validation: float
    stars_per_second: float
    learning_rate: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Notice:
    """Something the user should read once; ``level`` is ``info`` or ``warning``."""

    text: str
    level: str = "info"


@dataclass(frozen=True)
class StageEnded:
    """A step is complete; ``facts`` are the numbers worth a line (stars, quarantined, seconds)."""

    stage: str
    facts: Mapping[str, object] = field(default_factory=dict)


Event = StageStarted | Advanced | EpochEnded | Notice | StageEnded


class Listener(Protocol):
    """Anything that can be told an event."""

    def __call__(self, event: Event) -> None: ...


def silent(event: Event) -> None:
    """The listener that ignores everything; the default of every room."""
