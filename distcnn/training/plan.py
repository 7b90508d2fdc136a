"""Plan: who trains what, decided once and said in a sentence.

    ensemble   one member per worker; members need nothing of each other
    data       all workers share the batches of one member after the other (torch DDP)
    fused      one device trains many members in one pass

What is decided at the first start stays with the partial package: a restart with another
number of workers goes on with it, since the weights depend on it. How many ranks there are
does not matter to them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distcnn.config import TrainConfig
from distcnn.model import Features, InputSpec
from distcnn.model.devices import plan_device
from distcnn.training.data.labelled import HELD
from distcnn.training.loop.member import Dealing

GAIN = 0.7
"""What a rank is taken to add to a group, against a worker with a member of its own: a guess on
the careful side, since it was not measured on an idle machine."""
WORTH = 1_000_000
"""Stars times epochs of a member below which a group is taken to cost more than it gains."""


@dataclass(frozen=True)
class Size:
    """What there is to train: members, and stars of each part of the split."""

    members: int
    finished: tuple[int, ...]
    stars: Mapping[str, int]
    spec: InputSpec

    @property
    def waiting(self) -> int:
        return self.members - len(self.finished)

    @property
    def star_bytes(self) -> int:
        """Bytes of one star in memory, scaled."""
        spec = self.spec
        numbers = 2 * spec.pixels + spec.coefficients + len(Features.of(spec).names)
        return 4 * (numbers + 3 * len(spec.labels) + 1)


@dataclass(frozen=True)
class TrainPlan:
    """What a training will do; prints as text.

    ``reason`` says why; ``ranks`` is the number per member, 1 where a worker trains alone.
    """

    strategy: str
    reason: str
    workers: int
    ranks: int
    device: str
    dealing: Dealing
    size: Size

    @property
    def facts(self) -> dict[str, Any]:
        """What the weights depend on."""
        return {"strategy": self.strategy, **self.dealing.to_json()}

    @property
    def held(self) -> int:
        """Training stars that a rank holds at a time."""
        lanes = math.ceil(self.dealing.lanes / self.ranks)
        whole = math.ceil(self.size.stars["train"] / self.dealing.lanes)
        return lanes * min(whole, self.dealing.buffer or whole)

    @property
    def bytes(self) -> int:
        """Bytes of stars per rank: training and validation."""
        validation = min(self.size.stars["validation"], HELD)
        return (self.held + validation) * self.size.star_bytes

    def __str__(self) -> str:
        return "\n".join(f"{name:<12}{text}" for name, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        if not self.size.waiting:
            return [("members", f"all {self.size.members} are trained; none is left")]
        size, stars = self.size, self.size.stars
        done = f", finished: {', '.join(map(str, size.finished))}" if size.finished else ""
        return [
            ("strategy", f"{self.strategy}: {self.reason}"),
            ("members", f"{size.members}, {size.waiting} to train{done}"),
            ("workers", f"{self.workers}, {self._who()}, on {self.device}"),
            ("lanes", f"{self.dealing.lanes} per batch"),
            ("stars", ", ".join(f"{name} {count:,}" for name, count in stars.items())),
            ("memory", f"{self.bytes / 1e6:,.0f} MB of stars per rank, {self._how()}"),
        ]

    def _who(self) -> str:
        if self.strategy == "data":
            return f"{self.ranks} ranks per member, one member after the other"
        if self.strategy == "fused":
            return "all members of a device in one pass"
        return "one member each"

    def _how(self) -> str:
        capped = [name for name in ("validation", "calibration", "test") if self._over(name)]
        sample = f"; {HELD:,} of {', '.join(capped)}, evenly taken" if capped else ""
        if not self.dealing.buffer:
            return f"held in memory{sample}"
        return f"streamed, {self.dealing.buffer:,} stars per lane shuffled together{sample}"

    def _over(self, part: str) -> bool:
        return self.size.stars[part] > HELD


def make_plan(
    size: Size, config: TrainConfig, *, workers: int, gang: bool, pinned: Mapping[str, Any] | None
) -> TrainPlan:
    """Decide how to train.

    Parameters
    ----------
    workers : how many can work at the same time.
    gang : whether they can be had together.
    pinned : what was decided when this package was begun, if it was.
    """
    case = _Case(size, config, workers, gang, pinned)
    strategy, reason = case.strategy()
    lanes = config.distribute.lanes if strategy == "data" else 1
    ranks = min(config.distribute.ranks or workers, lanes)
    return TrainPlan(
        strategy=strategy,
        reason=reason,
        workers=workers,
        ranks=ranks,
        device=case.device,
        dealing=Dealing(lanes, case.buffer(strategy, lanes, ranks)),
        size=size,
    )


@dataclass(frozen=True)
class _Case:
    """What a decision depends on."""

    size: Size
    config: TrainConfig
    workers: int
    gang: bool
    pinned: Mapping[str, Any] | None

    @property
    def device(self) -> str:
        return plan_device(self.config.distribute.device)

    def strategy(self) -> tuple[str, str]:
        """Its name, and why."""
        asked = self.config.distribute.strategy
        if asked != "auto":
            return asked, "as asked"
        if self.pinned:
            return str(self.pinned["strategy"]), "as begun; the weights depend on it"
        if self.device == "cuda" and self.size.waiting > 1:
            return "fused", f"one device trains {self.size.waiting} members in one pass"
        against = self._against_groups()
        if against:
            return "ensemble", against
        return "data", f"{self._members} would leave some of {self.workers} workers idle"

    @property
    def _members(self) -> str:
        return f"{self.size.waiting} member{'s' * (self.size.waiting != 1)}"

    def _against_groups(self) -> str:
        """Why members should rather be trained by one worker each; empty if they should not."""
        rounds = math.ceil(self.size.waiting / self.workers)
        if self.workers == 1:
            return f"{self._members} and one worker"
        if self.size.waiting / (1 + GAIN * (self.workers - 1)) >= rounds:
            return f"{self._members} keep {self.workers} workers busy without talking to each other"
        if not self.gang:
            return "these workers cannot be had together"
        if self.size.stars["train"] * self.config.epochs < WORTH:
            return "a member is trained sooner than a group of ranks has started"
        return ""

    def buffer(self, strategy: str, lanes: int, ranks: int) -> int:
        """Stars per lane that are shuffled together; 0 where all are held."""
        wanted = self.config.distribute
        if self.pinned and wanted.stream == "auto" and self.pinned["strategy"] == strategy:
            return int(self.pinned["buffer"])
        stars = math.ceil(lanes / ranks) * math.ceil(self.size.stars["train"] / lanes)
        fits = stars * self.size.star_bytes <= wanted.memory
        if strategy == "fused" or wanted.stream == "never" or (wanted.stream == "auto" and fits):
            return 0
        # Half of the memory: a window is scaled from stars that are in memory too.
        return max(1, wanted.memory // (2 * self.size.star_bytes * lanes))
