"""Region result: what the task of one region returns, and what a ledger keeps of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from distcnn.survey.regions import Region


@dataclass(frozen=True)
class RegionResult:
    """One stored region of a prediction store.

    Parameters
    ----------
    digest : of the stored values (``Store.digest``).
    stars, done, failed : number of stars in all, with labels, without.
    flagged : stars per flag name; flags that no star has are left out.
    reasons : for each reason, (row, source_id) of the stars that failed for it.
    batch : stars per forward pass that fitted in memory.
    planned_batch : the same before any halving; it sets the blocks that are read.
    engine : engine and precision, as ``Candidate`` prints them.
    parity : rms difference from the package's fixtures [label errors].
    seconds : by stage (``load``, ``read``, ``infer``, ``flags``, ``write``) and in ``total``.
    memory : peak resident memory of the worker [bytes]; 0 = not recorded.
    worker : host and process id.
    disagreement : scatter between members over the quoted error, mean over the labels of the
        stars that have them [quoted errors]; None = not recorded, or no star has labels.
    """

    region: Region
    digest: str
    stars: int
    done: int
    failed: int
    flagged: Mapping[str, int]
    reasons: Mapping[str, tuple[tuple[int, int], ...]]
    batch: int
    planned_batch: int
    engine: str
    parity: float
    seconds: Mapping[str, float]
    memory: int = 0
    worker: str = ""
    disagreement: float | None = None

    @property
    def reason_by_row(self) -> dict[int, str]:
        """Row of every star that failed, with the reason."""
        return {row: reason for reason, stars in self.reasons.items() for row, _ in stars}

    def to_json(self) -> dict[str, Any]:
        """A ledger line without the name of the region; keys are those of the first ledgers."""
        return {
            "digest": self.digest,
            "stars": self.stars,
            "done": self.done,
            "failed": self.failed,
            "flagged": dict(self.flagged),
            "reasons": {reason: list(map(list, stars)) for reason, stars in self.reasons.items()},
            "batch": self.batch,
            "planned": self.planned_batch,
            "engine": self.engine,
            "parity": self.parity,
            "seconds": dict(self.seconds),
            "memory": self.memory,
            "worker": self.worker,
            "disagreement": self.disagreement,
        }

    @classmethod
    def from_json(cls, name: str, line: Mapping[str, Any]) -> Self:
        """The result that a ledger line holds; fields added since it was written are defaults.

        Raises
        ------
        RegionError : the name is not that of a region.
        KeyError : the line is not one of a prediction store.
        """
        region = Region.parse(name)
        seconds = line.get("seconds", {})
        return cls(
            region=region,
            digest=line["digest"],
            stars=line.get("stars", region.size),
            done=line["done"],
            failed=line["failed"],
            flagged=line["flagged"],
            reasons={
                reason: tuple((row, source_id) for row, source_id in stars)
                for reason, stars in line["reasons"].items()
            },
            batch=line["batch"],
            planned_batch=line.get("planned", line["batch"]),
            engine=line["engine"],
            parity=line["parity"],
            seconds=seconds if isinstance(seconds, Mapping) else {"total": float(seconds)},
            memory=line.get("memory", 0),
            worker=line.get("worker", ""),
            disagreement=line.get("disagreement"),
        )
