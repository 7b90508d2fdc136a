"""Plan: what a run would do, in numbers, before it does anything."""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distcnn.config import PredictConfig
from distcnn.errors import PlanRefused
from distcnn.executor import ExpectedWorkers
from distcnn.formatting import format_bytes
from distcnn.inference.batching import Batching, WorkerNeeds, choose_batching
from distcnn.inference.compatibility import check_compatible, check_conditions
from distcnn.inference.prediction_store import (
    fingerprint,
    finished_regions,
    has_engine,
    regions_of,
)
from distcnn.inference.worker.compute import COPIED_IF_THERE
from distcnn.location import Address, Location
from distcnn.model import Package
from distcnn.model.networks.covariance import pairs
from distcnn.schema import LABEL, NAME, NAME_BYTES, PAIR, PREDICTION_VARIABLES
from distcnn.survey import Share, Store


@dataclass(frozen=True)
class Plan:
    """The run as it would be; ``str(plan)`` is a page to read.

    Sizes in bytes. ``memory_needed`` is for one worker, an upper bound;
    ``worker_memory`` what one gets (None = not known). ``fingerprint``: from
    what the predictions are made, as their store will say. ``stars``: of the survey;
    ``stars_asked``: of the regions that count here.
    """

    package: Location
    survey: Location
    predictions: Location
    stars: int
    labels: tuple[str, ...]
    regions: int
    done: int
    stars_asked: int
    stars_waiting: int
    bytes_to_read: int
    bytes_to_write: int
    disk_free: int
    workers: int
    memory_needed: int
    memory_allowed: int
    worker_memory: int | None
    engine: str
    members: int
    batching: Batching
    asked_batch: int
    missing: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict, repr=False)
    share: Share | None = None
    """The element of a job array whose regions and stars these are; None = all of them."""

    @property
    def waiting(self) -> int:
        """Regions still to be computed."""
        return self.regions - self.done

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the run could not finish; a store that is done needs nothing."""
        return tuple(self._shortages()) if self.workers else ()

    def _shortages(self) -> Iterable[str]:
        written, free = format_bytes(self.bytes_to_write), format_bytes(self.disk_free)
        if self.bytes_to_write > self.disk_free:
            yield f"{written} to write, {free} free on that disk"
        needed, allowed = format_bytes(self.memory_needed), format_bytes(self.memory_allowed)
        if self.memory_needed > self.memory_allowed:
            yield f"a worker may need {needed}, resources.planned_memory allows {allowed}"
        if self.worker_memory is not None and self.memory_needed > self.worker_memory:
            yield f"a worker may need {needed}, it gets {format_bytes(self.worker_memory)}"

    def check(self) -> None:
        """Refuse a run that cannot finish.

        Raises
        ------
        PlanRefused : too little disk or memory.
        """
        if self.problems:
            raise PlanRefused(
                "; ".join(self.problems),
                cure="Free what is short or choose another output path; of memory, raise "
                "resources.memory if the workers have it, or ingest with a smaller "
                "ingest.store.chunk_stars.",
            )

    def __str__(self) -> str:
        lines = [f"{name:12s}{text}" for name, text in self._lines()]
        return "\n".join(["Plan of prediction", *(f"  {line}" for line in lines)])

    @property
    def _lowered(self) -> str:
        if self.batching.batch >= self.asked_batch:
            return ""
        allowed = format_bytes(self.memory_allowed)
        return (
            f": {self.asked_batch} (predict.batch) would need more than the {allowed} of "
            "resources.planned_memory"
        )

    def _lines(self) -> Iterable[tuple[str, str]]:
        yield "survey", f"{self.survey}: {self.stars:,} stars"
        yield "package", f"{self.package}: {self.members} members, {', '.join(self.labels)}"
        yield "writes to", str(self.predictions)
        if self.share is not None:
            element, count = self.share.element, self.share.count
            yield (
                "share",
                f"element {element} of {count}: one region in {count}, from number {element}",
            )
        yield "regions", f"{self.regions:,}: {self.done:,} done, {self.waiting:,} waiting"
        yield "stars", f"{self.stars_waiting:,} to compute"
        found = " (the fastest that reproduces the package)" if self.engine == "auto" else ""
        yield "engine", f"{self.engine}{found}, batches of {self.batching.batch}{self._lowered}"
        yield "workers", str(self.workers) if self.workers else "none is needed"
        yield "reads", format_bytes(self.bytes_to_read)
        yield (
            "writes",
            f"{format_bytes(self.bytes_to_write)} at most; {_free(self.disk_free)}",
        )
        there = f", {format_bytes(self.worker_memory)} there" if self.worker_memory else ""
        yield (
            "memory",
            f"{format_bytes(self.memory_needed)} a worker at most; "
            f"{format_bytes(self.memory_allowed)} allowed{there}",
        )
        if self.missing:
            yield "missing", f"the survey has no {', '.join(self.missing)}: every star is flagged"
        yield from (("notice", notice) for notice in self.notices)
        yield from (("refused", problem) for problem in self.problems)


def plan(
    package: Address,
    survey: Address,
    predictions: Address,
    config: PredictConfig,
    expect: Callable[[], ExpectedWorkers] = ExpectedWorkers,
    *,
    share: Share | None = None,
) -> Plan:
    """What ``predict`` would do. Changes nothing.

    ``expect`` tells what workers there will be; it is asked only if there is work for them.
    ``share``: of one element of a job array.

    Raises
    ------
    PackageError : the package cannot be used, or does not fit the survey.
    StoreError : the survey or the prediction store cannot be used.
    FingerprintMismatch : the prediction store was begun from other input or settings.
    """
    opened, source = Package.load(package), Store.open(survey, "survey")
    place = Location.parse(predictions)
    return plan_opened(opened, source, place, config, expect, share=share)


def plan_opened(
    package: Package,
    survey: Store,
    predictions: Location,
    config: PredictConfig,
    expect: Callable[[], ExpectedWorkers],
    *,
    share: Share | None = None,
) -> Plan:
    """The same, for a package and a survey that are open."""
    missing = check_compatible(package.spec, survey)
    notices = check_conditions(package.manifest.survey, package.spec, survey, config.accept)
    requested = fingerprint(package, survey, config, predictions)
    done = finished_regions(predictions, requested)
    tiles = regions_of(survey, predictions)
    regions = list(share.of(tiles)) if share else tiles
    share_stars = sum(region.size for region in regions) if share else survey.stars
    # An array: a survey has up to millions of regions.
    left = np.fromiter((r.size for r in regions if r.name not in done), np.int64)
    waiting = int(left.sum())
    workers = expect() if waiting else ExpectedWorkers(0)
    copied = [name for name in COPIED_IF_THERE if name in survey.variables]
    per_star = bytes_per_star(len(package.labels), copied)
    results = per_star * min(tiles.step, survey.stars)
    needs = WorkerNeeds.of(package, survey, _variables_read(package, survey), results)
    begun = bool(done) or (share is not None and has_engine(predictions))
    batching = _batching(needs, config, workers, predictions if begun else None)
    return Plan(
        package=package.location,
        survey=survey.location,
        predictions=predictions,
        stars=survey.stars,
        labels=tuple(package.labels),
        regions=len(regions),
        done=len(regions) - len(left),
        stars_asked=share_stars,
        stars_waiting=waiting,
        bytes_to_read=_bytes_to_read(package, survey, waiting),
        bytes_to_write=waiting * per_star,
        disk_free=predictions.free_bytes(),
        workers=workers.count,
        memory_needed=needs.on_cpu(batching),
        memory_allowed=config.worker_memory,
        worker_memory=workers.memory,
        engine=config.engine,
        members=package.size,
        batching=batching,
        asked_batch=config.batch,
        missing=tuple(missing),
        notices=tuple(notices),
        fingerprint=requested,
        share=share,
    )


def _free(room: int) -> str:
    return "as much as the store takes" if room == sys.maxsize else f"{format_bytes(room)} free"


def _batching(
    needs: WorkerNeeds, config: PredictConfig, workers: ExpectedWorkers, begun: Location | None
) -> Batching:
    """What a store in which something is stored was begun with, or else what fits."""
    if begun is not None:
        return Batching.of_store(Store.open(begun, "predictions"))
    allowed = min(config.worker_memory, workers.memory or config.worker_memory)
    return choose_batching(needs, Batching.asked(config), allowed)


def bytes_per_star(labels: int, copied: Collection[str] = ()) -> int:
    """Bytes of one star in all prediction variables, uncompressed.

    ``copied``: those of COPIED_IF_THERE that the survey has.
    """
    sizes = {LABEL: labels, PAIR: len(pairs(labels)), NAME: NAME_BYTES}
    return sum(
        np.dtype(variable.dtype).itemsize * int(np.prod([sizes[d] for d in variable.dims[1:]]))
        for variable in PREDICTION_VARIABLES.values()
        if variable.name in copied or variable.name not in COPIED_IF_THERE
    )


def _variables_read(package: Package, survey: Store) -> list[str]:
    """Names of the survey variables that a run reads."""
    copied = ("flux_error", "source_id", "ra", "dec", "photometry")
    return [name for name in {*package.spec.variables, *copied} if name in survey.variables]


def _bytes_to_read(package: Package, survey: Store, stars: int) -> int:
    names = _variables_read(package, survey)
    stored = sum((survey.location / name).size() for name in names)
    return stored * stars // max(survey.stars, 1)
