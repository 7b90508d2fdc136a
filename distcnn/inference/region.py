"""Region: what one task does. Compute a region, store it, and tell in a few numbers."""

import os
import resource
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from distcnn.executor import WorkerContext
from distcnn.inference.compatibility import band_names
from distcnn.inference.compute import Computed, RegionTask, compute, first_rows
from distcnn.inference.memory import out_of_memory
from distcnn.inference.predictor import PackageKey, Predictor, decide, hold
from distcnn.model import Package, star_inputs
from distcnn.model.devices import open_device
from distcnn.schema import Flag
from distcnn.survey import Store

Result = TypeVar("Result")
_STORING = threading.Lock()


@dataclass(frozen=True)
class Job:
    """What all regions of a run have in common. Paths are those that workers see.

    ``batch``: stars per forward pass; ``gpu_batch``: the same on a GPU.
    """

    survey: str
    predictions: str
    package: PackageKey
    batch: int
    gpu_batch: int = 8192

    def batch_on(self, device: str) -> int:
        """Stars per forward pass there."""
        return self.batch if device == "cpu" else self.gpu_batch


def predict_region(job: Job, task: RegionTask) -> dict[str, Any]:
    """Compute and store one region; returns its facts for the ledger.

    While it is stored the worker begins with the next one.

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
    with _STORING:  # one region at a time, so that what waits to be stored stays small
        WorkerContext.current().secede()
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
        "planned": job.batch_on(predictor.ensemble.device),
        "engine": str(predictor.choice.candidate),
        "parity": predictor.choice.chosen.rms,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }


def try_engines(job: Job, task: RegionTask) -> dict[str, Any]:
    """Find the engine of a run on the first batch of a region; returns it with all trials.

    Raises
    ------
    ParityError : no engine, or not the one that was asked for, reproduces the package.
    StoreCorrupt : the survey cannot be read there (``lenient``: only if source_id cannot).
    """
    survey = Store.open(Path(job.survey), "survey")
    spec = Package.load(Path(job.package.path), verify=False).spec
    batch = job.batch_on(open_device(job.package.device).type)
    arrays = first_rows(survey, task, spec.variables, batch)
    stars = star_inputs(arrays, spec, band_names(survey))
    choice = halving(lambda size: decide(job.package, stars.take(slice(size))), len(stars))[0]
    return {**choice.to_json(), "table": choice.brief(), "host": socket.gethostname()}


def probe(job: Job, task: RegionTask) -> int:
    """Compute rows without storing them; returns their number, or raises what they cause."""
    _compute(job, task, hold(job.package))
    return task.region.size


@dataclass(frozen=True)
class Work:
    """What workers do for a run. A benchmark of the driver puts idle functions in their places."""

    engines: Callable[[Job, RegionTask], dict[str, Any]] = try_engines
    region: Callable[[Job, RegionTask], dict[str, Any]] = predict_region
    probe: Callable[[Job, RegionTask], int] = probe


def within_memory(
    predictor: Predictor, batch: int, work: Callable[[int], Result]
) -> tuple[Result, int]:
    """Do ``work`` with ever smaller batches until it fits; the size is kept for this process."""
    result, size = halving(work, min(batch, predictor.batch or batch))
    predictor.batch = size
    return result, size


def halving(work: Callable[[int], Result], size: int) -> tuple[Result, int]:
    """Do ``work`` with ever smaller batches until it fits; returns the size that did."""
    while True:
        try:
            return work(size), size
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
        size //= 2


def _compute(job: Job, task: RegionTask, predictor: Predictor) -> tuple[Computed, int]:
    survey = Store.open(Path(job.survey), "survey")
    batch = job.batch_on(predictor.ensemble.device)
    return within_memory(
        predictor, batch, lambda size: compute(predictor, survey, task, size, batch)
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
