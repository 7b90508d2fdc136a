"""Totals: what the regions of a run come to, from one pass through its ledger."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from distcnn.survey import Ledger, Region


@dataclass
class Totals:
    """Sums over regions; nothing here grows with their number but ``broken``.

    ``parity``: largest of any region; ``batch``: smallest; ``broken``: regions with failed stars.
    """

    regions: int = 0
    stars: int = 0
    done: int = 0
    failed: int = 0
    parity: float = 0.0
    batch: int = 0
    engines: set[str] = field(default_factory=set)
    flagged: Counter[str] = field(default_factory=Counter)
    broken: list[Region] = field(default_factory=list)

    @classmethod
    def of(cls, ledger: Ledger) -> "Totals":
        totals = cls()
        for name, facts in ledger.done.items():
            totals.add(name, facts)
        return totals

    def add(self, name: str, facts: dict[str, Any]) -> None:
        """One region more, with its facts as ``predict_region`` tells them."""
        self.stars += facts["stars"]
        self.done += facts["done"]
        self.failed += facts["failed"]
        self.parity = max(self.parity, facts["parity"])
        self.batch = min(self.batch, facts["batch"]) if self.regions else facts["batch"]
        self.regions += 1
        self.engines.add(facts["engine"])
        self.flagged.update(facts["flagged"])
        if facts["reasons"]:
            self.broken.append(Region.parse(name))

    @property
    def counts(self) -> dict[str, int]:
        return {"stars": self.stars, "done": self.done, "failed": self.failed}

    @property
    def stars_per_flag(self) -> dict[str, int]:
        return dict(sorted(self.flagged.items()))


def dead_letters(ledger: Ledger, broken: Iterable[Region]) -> Iterator[str]:
    """The failed stars of these regions: one JSON line each with row, source_id and reason."""
    for facts in ledger.done.among(region.name for region in sorted(broken)):
        stars = sorted(
            (row, source, reason)
            for reason, failed in facts["reasons"].items()
            for row, source in failed
        )
        for row, source, reason in stars:
            yield json.dumps({"row": row, "source_id": source, "reason": reason}) + "\n"
