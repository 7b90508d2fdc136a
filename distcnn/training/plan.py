"""Plan: who trains what, decided once and said in a sentence.

    ensemble   one member per worker; members need nothing of each other
    data       all workers share the batches of one member after the other (torch DDP)
    fused      one device trains many members in one pass (vmap over stacked parameters)

What is decided at the first start stays with the partial package: a restart with another
number of workers goes on with it, since the weights depend on it. How many ranks there are
does not matter to them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distcnn.config import TrainConfig
from distcnn.model import InputSpec
from distcnn.model.devices import plan_device
from distcnn.quality.calibration.error_deconvolution import MIN_STARS_FOR_SCALE
from distcnn.training.data.labelled import MAX_STARS_IN_MEMORY
from distcnn.training.data.loader import Sharding

MORE_STARS = "label more stars, or set train.split.method=folds or more train.split.calibration"
"""The cure where too few stars calibrate the errors."""

RANK_EFFICIENCY = 0.7
"""What a rank is taken to add to a group, against a worker with a member of its own: a guess on
the careful side, since it was not measured on an idle machine."""
MIN_GROUP_WORK_STAR_EPOCHS = 1_000_000
"""Stars times epochs of a member below which a group is taken to cost more than it gains."""


@dataclass(frozen=True)
class Workload:
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
        numbers = 2 * spec.pixels + spec.coefficients + len(spec.features)
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
    sharding: Sharding
    workload: Workload

    @property
    def pinned(self) -> dict[str, Any]:
        """What the weights depend on."""
        return {"strategy": self.strategy, **self.sharding.to_json()}

    @property
    def stars_in_memory(self) -> int:
        """Training stars that a rank holds at a time."""
        mine = math.ceil(self.sharding.virtual_ranks / self.ranks)
        whole = math.ceil(self.workload.stars["train"] / self.sharding.virtual_ranks)
        return mine * min(whole, self.sharding.buffer or whole)

    @property
    def bytes(self) -> int:
        """Bytes of stars per rank: training and validation."""
        validation = min(self.workload.stars["validation"], MAX_STARS_IN_MEMORY)
        return (self.stars_in_memory + validation) * self.workload.star_bytes

    def __str__(self) -> str:
        return "\n".join(f"{name:<12}{text}" for name, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        if not self.workload.waiting:
            return [("members", f"all {self.workload.members} are trained; none is left")]
        workload, stars = self.workload, self.workload.stars
        done = f", finished: {', '.join(map(str, workload.finished))}" if workload.finished else ""
        return [
            ("strategy", f"{self.strategy}: {self.reason}"),
            ("members", f"{workload.members}, {workload.waiting} to train{done}"),
            ("workers", f"{self.workers}, {self._who()}, on {self.device}"),
            ("batches", f"of {self.sharding.virtual_ranks} virtual ranks (train.distribute.lanes)"),
            ("stars", ", ".join(f"{name} {count:,}" for name, count in stars.items())),
            ("memory", f"{self.bytes / 1e6:,.0f} MB of stars per rank, {self._how()}"),
            *self._doubts(),
        ]

    def _doubts(self) -> list[tuple[str, str]]:
        """What will be missing from a package of so few stars."""
        if self.workload.stars.get("calibration", MIN_STARS_FOR_SCALE) >= MIN_STARS_FOR_SCALE:
            return []
        problem = (
            f"fewer than {MIN_STARS_FOR_SCALE} stars of calibration: errors cannot be calibrated, "
            "labels will have none (NaN) and a flag"
        )
        return [("warning", f"{problem}; {MORE_STARS}")]

    def _who(self) -> str:
        if self.strategy == "data":
            return f"{self.ranks} ranks per member, one member after the other"
        if self.strategy == "fused":
            return "all members of a device in one pass"
        return "one member each"

    def _how(self) -> str:
        capped = [name for name in ("validation", "calibration", "test") if self._over(name)]
        sample = f"; {MAX_STARS_IN_MEMORY:,} of {', '.join(capped)}, evenly taken" if capped else ""
        if not self.sharding.buffer:
            return f"in memory{sample}"
        return f"streamed, {self.sharding.buffer:,} stars per shuffle buffer{sample}"

    def _over(self, part: str) -> bool:
        return self.workload.stars[part] > MAX_STARS_IN_MEMORY


def make_plan(
    workload: Workload,
    config: TrainConfig,
    *,
    workers: int,
    gang: bool,
    pinned: Mapping[str, Any] | None,
    gpus: int | None = None,
) -> TrainPlan:
    """Decide how to train.

    Parameters
    ----------
    workers : how many can work at the same time.
    gang : whether they can be had together.
    pinned : what was decided when this package was begun, if it was.
    gpus : of each worker, which need not be on this machine; None = there is no telling.
    """
    case = _PlanInputs(workload, config, workers, gang, pinned, gpus)
    strategy, reason = case.strategy()
    virtual_ranks = config.distribute.lanes if strategy == "data" else 1
    ranks = min(config.distribute.ranks or workers, virtual_ranks)
    return TrainPlan(
        strategy=strategy,
        reason=reason,
        workers=workers,
        ranks=ranks,
        device=case.device,
        sharding=Sharding(virtual_ranks, case.buffer(strategy, virtual_ranks, ranks)),
        workload=workload,
    )


@dataclass(frozen=True)
class _PlanInputs:
    """What a decision depends on."""

    workload: Workload
    config: TrainConfig
    workers: int
    gang: bool
    pinned: Mapping[str, Any] | None
    gpus: int | None

    @property
    def device(self) -> str:
        wanted = self.config.distribute.device
        if wanted == "auto":
            return "cuda" if self.gpus else "cpu"
        return wanted if self.gpus != 0 else plan_device(wanted, 0)

    def strategy(self) -> tuple[str, str]:
        """Its name, and why."""
        asked = self.config.distribute.strategy
        if asked != "auto":
            return asked, "as asked"
        if self.pinned:
            return str(self.pinned["strategy"]), "as begun; the weights depend on it"
        if self.device == "cuda" and self.workload.waiting > 1:
            return "fused", f"one device trains {self.workload.waiting} members in one pass"
        against = self._against_groups()
        if against:
            return "ensemble", against
        return "data", f"{self._members} would leave some of {self.workers} workers idle"

    @property
    def _members(self) -> str:
        return f"{self.workload.waiting} member{'s' * (self.workload.waiting != 1)}"

    def _against_groups(self) -> str:
        """Why members should rather be trained by one worker each; empty if they should not."""
        rounds = math.ceil(self.workload.waiting / self.workers)
        if self.workers == 1:
            return f"{self._members} and one worker"
        if self.workload.waiting / (1 + RANK_EFFICIENCY * (self.workers - 1)) >= rounds:
            return f"{self._members} keep {self.workers} workers busy without talking to each other"
        if not self.gang:
            return "these workers cannot be had together"
        if self.workload.stars["train"] * self.config.epochs < MIN_GROUP_WORK_STAR_EPOCHS:
            return "a member is trained sooner than a group of ranks has started"
        return ""

    def buffer(self, strategy: str, virtual_ranks: int, ranks: int) -> int:
        """Stars in the shuffle buffer of a virtual rank; 0 where all are in memory."""
        wanted = self.config.distribute
        if self.pinned and wanted.stream == "auto" and self.pinned["strategy"] == strategy:
            return int(self.pinned["buffer"])
        stars = math.ceil(virtual_ranks / ranks) * math.ceil(
            self.workload.stars["train"] / virtual_ranks
        )
        fits = stars * self.workload.star_bytes <= wanted.memory
        if strategy == "fused" or wanted.stream == "never" or (wanted.stream == "auto" and fits):
            return 0
        # Half of the memory: a buffer is filled from stars as they were read, which take as much.
        return max(1, wanted.memory // (2 * self.workload.star_bytes * virtual_ranks))
