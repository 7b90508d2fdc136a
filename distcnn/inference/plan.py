"""Plan: what a run would do, in numbers, before it does anything."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config import PredictConfig
from distcnn.errors import PlanRefused
from distcnn.executor import ExpectedWorkers
from distcnn.formatting import format_bytes
from distcnn.inference.compatibility import check_compatible
from distcnn.inference.compute import block_rows
from distcnn.inference.prediction_store import fingerprint, finished_regions
from distcnn.location import Location
from distcnn.model import Package
from distcnn.model.networks.covariance import pairs
from distcnn.schema import LABEL, PAIR, PREDICTION_VARIABLES, Variable
from distcnn.survey import Store

# Upper bounds, about twice what was measured: an idle worker with torch loaded; float32
# values per input of a star alive in a forward pass, and in the novelty score of a block.
_PROCESS = 450_000_000
_FORWARD = 40
_NOVELTY = 10
_BLOCKS = 3  # read ahead, in work, and its raw bytes


@dataclass(frozen=True)
class Plan:
    """The run as it would be; ``str(plan)`` is a page to read.

    Sizes in bytes. ``memory_needed`` is for one worker, an upper bound;
    ``worker_memory`` what one gets (None = not known). ``fingerprint``: from
    what the predictions are made, as their store will say.
    """

    package: Path
    survey: Path
    predictions: Path
    stars: int
    labels: tuple[str, ...]
    regions: int
    done: int
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
    batch: int
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    fingerprint: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def waiting(self) -> int:
        """Regions still to be computed."""
        return self.regions - self.done

    def check(self) -> None:
        """Refuse a run that cannot finish.

        Raises
        ------
        PlanRefused : too little disk or memory.
        """
        if self.problems:
            raise PlanRefused(
                "; ".join(self.problems),
                cure="Free what is short, choose another output path or a smaller predict.batch, "
                "or raise resources.memory if the workers have it.",
            )

    def __str__(self) -> str:
        lines = [f"{name:12s}{text}" for name, text in self._lines()]
        return "\n".join(["Plan of prediction", *(f"  {line}" for line in lines)])

    def _lines(self) -> Iterable[tuple[str, str]]:
        yield "survey", f"{self.survey}: {self.stars:,} stars"
        yield "package", f"{self.package}: {self.members} members, {', '.join(self.labels)}"
        yield "writes to", str(self.predictions)
        yield "regions", f"{self.regions:,}: {self.done:,} done, {self.waiting:,} waiting"
        yield "stars", f"{self.stars_waiting:,} to compute"
        found = " (the fastest that reproduces the package)" if self.engine == "auto" else ""
        yield "engine", f"{self.engine}{found}, batches of {self.batch}"
        yield "workers", str(self.workers) if self.workers else "none is needed"
        yield "reads", format_bytes(self.bytes_to_read)
        yield (
            "writes",
            f"{format_bytes(self.bytes_to_write)} at most; {format_bytes(self.disk_free)} free",
        )
        there = f", {format_bytes(self.worker_memory)} there" if self.worker_memory else ""
        yield (
            "memory",
            f"{format_bytes(self.memory_needed)} a worker at most; "
            f"{format_bytes(self.memory_allowed)} allowed{there}",
        )
        if self.missing:
            yield "missing", f"the survey has no {', '.join(self.missing)}: every star is flagged"
        yield from (("refused", problem) for problem in self.problems)


def plan(
    package: Path,
    survey: Path,
    predictions: Path,
    config: PredictConfig,
    expect: Callable[[], ExpectedWorkers] = ExpectedWorkers,
) -> Plan:
    """What ``predict`` would do. Changes nothing.

    ``expect`` tells what workers there will be; it is asked only if there is work for them.

    Raises
    ------
    PackageError : the package cannot be used, or does not fit the survey.
    StoreError : the survey or the prediction store cannot be used.
    FingerprintMismatch : the prediction store was begun from other input or settings.
    """
    return plan_opened(
        Package.load(package), Store.open(survey, "survey"), predictions, config, expect
    )


def plan_opened(
    package: Package,
    survey: Store,
    predictions: Path,
    config: PredictConfig,
    expect: Callable[[], ExpectedWorkers],
) -> Plan:
    """The same, for a package and a survey that are open."""
    missing = check_compatible(package.spec, survey)
    requested = fingerprint(package, survey, config, predictions)
    done = finished_regions(predictions, requested)
    regions = survey.regions()
    waiting = sum(region.size for region in regions if region.name not in done)
    workers = expect() if waiting else ExpectedWorkers(0)
    labels = len(package.labels)
    sizes = {LABEL: labels, PAIR: len(pairs(labels))}
    per_star = bytes_per_star(PREDICTION_VARIABLES.values(), sizes)
    numbers: dict[str, Any] = {
        "bytes_to_write": waiting * per_star,
        "disk_free": Location.parse(predictions).free_bytes(),
        "memory_needed": _memory(package, survey, config, per_star),
        "memory_allowed": config.worker_memory,
        "worker_memory": workers.memory,
    }
    return Plan(
        package=package.path,
        survey=survey.path,
        predictions=predictions,
        stars=survey.stars,
        labels=tuple(package.labels),
        regions=len(regions),
        done=len(done),
        stars_waiting=waiting,
        bytes_to_read=_bytes_to_read(package, survey, waiting),
        workers=workers.count,
        engine=config.engine,
        members=package.size,
        batch=config.batch,
        missing=tuple(missing),
        problems=tuple(_problems(workers=workers.count, **numbers)),
        fingerprint=requested,
        **numbers,
    )


def _problems(
    *,
    workers: int,
    bytes_to_write: int,
    disk_free: int,
    memory_needed: int,
    memory_allowed: int,
    worker_memory: int | None,
) -> Iterable[str]:
    if not workers:
        return
    if bytes_to_write > disk_free:
        written, free = format_bytes(bytes_to_write), format_bytes(disk_free)
        yield f"{written} to write, {free} free on that disk"
    if memory_needed > memory_allowed:
        yield (
            f"a worker may need {format_bytes(memory_needed)}, "
            f"resources.planned_memory allows {format_bytes(memory_allowed)}"
        )
    if worker_memory is not None and memory_needed > worker_memory:
        needed, gets = format_bytes(memory_needed), format_bytes(worker_memory)
        yield f"a worker may need {needed}, it gets {gets}"


def bytes_per_star(variables: Iterable[Variable], sizes: dict[str, int]) -> int:
    """Bytes of one star in all these variables, uncompressed."""
    return sum(
        np.dtype(variable.dtype).itemsize * int(np.prod([sizes[d] for d in variable.dims[1:]]))
        for variable in variables
    )


def _inputs_per_star(package: Package, survey: Store) -> int:
    """Values read for one star."""
    names = {*package.spec.variables, "flux_error", "source_id", "ra", "dec", "photometry"}
    shapes = [survey.shape(name)[1:] for name in names if name in survey.variables]
    return sum(int(np.prod(shape)) for shape in shapes)


def _bytes_to_read(package: Package, survey: Store, stars: int) -> int:
    names = {*package.spec.variables, "flux_error", "source_id", "ra", "dec", "photometry"}
    stored = sum((survey.location / name).size() for name in names if name in survey.variables)
    return stored * stars // max(survey.stars, 1)


def _memory(package: Package, survey: Store, config: PredictConfig, per_star: int) -> int:
    weights = sum((package.location / name).size() for name in package.manifest.files)
    values = _inputs_per_star(package, survey)
    block = block_rows(survey.chunk_stars, config.batch)
    in_work = values * 4 * (block * (_BLOCKS + _NOVELTY) + config.batch * _FORWARD)
    region = min(survey.shard_stars, survey.stars) * per_star
    return int(_PROCESS + 2 * weights + in_work + 3 * region)
