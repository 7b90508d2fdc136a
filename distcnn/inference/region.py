"""Region: what one task does. Compute a region, store it, and tell in a few numbers."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from distcnn.inference.compute import Computed, RegionTask, compute
from distcnn.inference.predictor import PackageKey, Predictor, hold, out_of_memory
from distcnn.schema import Flag
from distcnn.survey import Store

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """What all regions of a run have in common. Paths are those that workers see.

    ``batch``: stars per forward pass.
    """

    survey: str
    predictions: str
    package: PackageKey
    batch: int


def predict_region(job: Job, task: RegionTask) -> dict[str, Any]:
    """Compute and store one region; returns its facts for the ledger.

    Raises
    ------
    StoreCorrupt : the survey cannot be read there (``lenient``: only if source_id cannot).
    StoreError : the region cannot be written.
    PackageError : the package is not the one named, or does not reproduce its fixtures.
    """
    start = perf_counter()
    predictor = hold(job.package)
    loaded = perf_counter()
    computed, batch = _compute(job, task, predictor)
    store = Store.open(Path(job.predictions), "predictions")
    before = perf_counter()
    digest = store.write(task.region, computed.arrays)
    end = perf_counter()
    seconds = {
        "load": loaded - start,
        **computed.seconds,
        "write": end - before,
        "total": end - start,
    }
    return {
        "digest": digest,
        **_counts(computed, task),
        "batch": batch,
        "engine": job.package.engine,
        "parity": predictor.parity,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }


def probe(job: Job, task: RegionTask) -> int:
    """Compute rows without storing them; returns their number, or raises what they cause."""
    _compute(job, task, hold(job.package))
    return task.region.size


def within_memory(
    predictor: Predictor, batch: int, work: Callable[[int], Result]
) -> tuple[Result, int]:
    """Do ``work`` with ever smaller batches until it fits; the size is kept for this process."""
    size = min(batch, predictor.batch or batch)
    while True:
        try:
            return work(size), size
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
        size //= 2
        predictor.batch = size


def _compute(job: Job, task: RegionTask, predictor: Predictor) -> tuple[Computed, int]:
    survey = Store.open(Path(job.survey), "survey")
    return within_memory(
        predictor, job.batch, lambda size: compute(predictor, survey, task, size, job.batch)
    )


def _counts(computed: Computed, task: RegionTask) -> dict[str, Any]:
    """Stars done and failed, stars per flag, and per reason the [row, source_id] that failed."""
    flags = computed.arrays["flags"]
    reasons: dict[str, list[list[int]]] = {}
    for row, text in sorted(computed.reasons.items()):
        source = computed.arrays["source_id"][row - task.region.start]
        reasons.setdefault(text, []).append([row, int(source)])
    flagged = {flag.name: int(np.count_nonzero(flags & np.uint32(flag))) for flag in Flag}
    return {
        "stars": task.region.size,
        "done": task.region.size - len(computed.reasons),
        "failed": len(computed.reasons),
        "flagged": {name: count for name, count in flagged.items() if count},
        "reasons": reasons,
    }
