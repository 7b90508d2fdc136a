"""Events: what the packages report of their work, and who may listen.

They never print. They hand events to a listener; monitor/ turns them into progress bars, log
lines or journals. A listener that fails never stops the work.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # its attributes are read, nothing of it is run: no import from above
    from distcnn.survey import RegionResult


@dataclass(frozen=True)
class StageStarted:
    """A long step begins: ``total`` units of work, of which ``done`` were done before."""

    stage: str
    total: int
    unit: str
    done: int = 0


@dataclass(frozen=True)
class Advanced:
    """``count`` more units of a stage are finished and stored.

    Where the units are the stars of predicted regions there is a ``RegionStored`` instead.
    """

    stage: str
    count: int
    note: str = ""


@dataclass(frozen=True)
class RegionStored:
    """A region is computed and stored, and with it ``count`` more stars of the stage.

    The event carries the record that the ledger keeps: stars, flags, seconds by step, memory,
    engine. What is measured of a region and written there reaches every listener with it.

    Parameters
    ----------
    region : its name, ``Region.name``.
    attempt : 1 = at once; one more than the attempts of the run where it was stored at last
        without the stars that fail.
    """

    stage: str
    region: str
    attempt: int
    result: "RegionResult"

    @property
    def count(self) -> int:
        """Stars of the region."""
        return self.result.region.size


@dataclass(frozen=True)
class RegionFailed:
    """An attempt at a region has failed; it is tried again, or computed without some stars."""

    stage: str
    region: str
    attempt: int
    error: str


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of one member: losses in nats per label, speed in stars per second.

    ``learning_rate`` is that of the epoch's last step; ``seconds_left`` until the last epoch,
    where whoever trains knows better than a listener with a clock. None = not reported.
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


Event = StageStarted | Advanced | RegionStored | RegionFailed | EpochEnded | Notice | StageEnded


class Listener(Protocol):
    """Anything that can be called with an event."""

    def __call__(self, event: Event) -> None: ...


def silent(event: Event) -> None:
    """The listener that ignores everything; the default everywhere."""


Advance = Callable[[int], None]
"""Called with the number of units that are finished since the last call."""


@contextmanager
def telling(listener: Listener, stage: str, total: int, unit: str) -> Iterator[Advance]:
    """A stage of ``total`` units; what it gives tells how many more of them are finished.

    Its end is told if it is reached, by fewer units too: a training may stop early.
    """
    listener(StageStarted(stage, total, unit))
    yield lambda count: listener(Advanced(stage, count))
    listener(StageEnded(stage))
