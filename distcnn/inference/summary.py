"""Run summary: what the regions of a run add up to, from one pass through its ledger."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from distcnn.survey import Ledger, Region, RegionResult


@dataclass
class RunSummary:
    """Sums over regions; nothing here grows with their number but ``with_failures``.

    ``parity``: largest of any region [label errors]; ``batch``: smallest [stars];
    ``with_failures``: the regions in which stars failed.
    """

    regions: int = 0
    stars: int = 0
    done: int = 0
    failed: int = 0
    parity: float = 0.0
    batch: int = 0
    engines: set[str] = field(default_factory=set)
    flagged: Counter[str] = field(default_factory=Counter)
    with_failures: list[Region] = field(default_factory=list)

    @classmethod
    def of(cls, ledger: Ledger) -> "RunSummary":
        """The sums over every region in the ledger."""
        summary = cls()
        for name, line in ledger.done.items():
            summary.add(RegionResult.from_json(name, line))
        return summary

    def add(self, result: RegionResult) -> None:
        """One region more."""
        self.stars += result.stars
        self.done += result.done
        self.failed += result.failed
        self.parity = max(self.parity, result.parity)
        self.batch = min(self.batch, result.batch) if self.regions else result.batch
        self.regions += 1
        self.engines.add(result.engine)
        self.flagged.update(result.flagged)
        if result.reasons:
            self.with_failures.append(result.region)

    @property
    def counts(self) -> dict[str, int]:
        """Number of stars: in all, done and failed."""
        return {"stars": self.stars, "done": self.done, "failed": self.failed}

    @property
    def stars_per_flag(self) -> dict[str, int]:
        """Number of stars by the name of the flag, sorted by name."""
        return dict(sorted(self.flagged.items()))


def dead_letters(ledger: Ledger, regions: Iterable[Region]) -> Iterator[str]:
    """The failed stars of these regions: one JSON line each with row, source_id and reason."""
    names = [region.name for region in sorted(regions)]
    for name, line in zip(names, ledger.done.among(names), strict=True):
        result = RegionResult.from_json(name, line)
        stars = sorted(
            (row, source_id, reason)
            for reason, failed in result.reasons.items()
            for row, source_id in failed
        )
        for row, source_id, reason in stars:
            yield json.dumps({"row": row, "source_id": source_id, "reason": reason}) + "\n"
