"""Region: what the task of one region does. Compute it, store it, return a few numbers."""

import os
import resource
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar, cast

import numpy as np

from distcnn.executor import WorkerContext
from distcnn.inference.compatibility import band_names
from distcnn.inference.engines import EngineChoice
from distcnn.inference.worker.compute import (
    READ_AT_ONCE,
    Computed,
    RegionTask,
    block_rows,
    compute,
    first_rows,
)
from distcnn.inference.worker.package_cache import PackageKey, get_cached, prepare, select_and_cache
from distcnn.inference.worker.predictor import Predictor
from distcnn.model import Package, star_inputs
from distcnn.model.devices import open_device, out_of_memory
from distcnn.schema import Flag
from distcnn.survey import RegionResult, Store

Result = TypeVar("Result")
# A region is stored while the next one is computed (``WorkerContext.secede``). Were two stored
# at once, a slow disk would let computed regions pile up in memory.
_STORE_LOCK = threading.Lock()


@dataclass(frozen=True)
class PredictionRun:
    """What all regions of a run have in common. Paths are those that workers see.

    ``batch``: stars per forward pass; ``gpu_batch``: the same on a GPU; ``read``: the least
    number of stars that are read at a time.
    """

    survey: str
    predictions: str
    package: PackageKey
    batch: int
    gpu_batch: int = 8192
    read: int = READ_AT_ONCE

    def batch_on(self, device: str) -> int:
        """Stars per forward pass there."""
        return self.batch if device == "cpu" else self.gpu_batch


@dataclass(frozen=True)
class EngineSelection:
    """The engine that a worker has found for a run, and the name of its host."""

    choice: EngineChoice
    host: str


def predict_region(run: PredictionRun, task: RegionTask) -> RegionResult:
    """Compute and store one region.

    While it is stored the worker begins with the next one.

    Raises
    ------
    StoreCorrupt : the survey cannot be read there (``lenient``: only if source_id cannot).
    StoreError : the region cannot be written.
    PackageError : the package is not the one named, or does not reproduce its fixtures.
    """
    start = perf_counter()
    predictor = get_cached(run.package)
    load = perf_counter() - start
    computed, batch = _compute(run, task, predictor)
    store = Store.open_kept(run.predictions, "predictions")
    with _STORE_LOCK:
        WorkerContext.current().secede()
        before = perf_counter()
        digest = store.write(task.region, computed.arrays)
        end = perf_counter()
    seconds = {"load": load, **computed.seconds, "write": end - before, "total": end - start}
    return RegionResult(
        region=task.region,
        digest=digest,
        stars=task.region.size,
        done=task.region.size - len(computed.reasons),
        failed=len(computed.reasons),
        flagged=_stars_per_flag(computed),
        reasons=_stars_per_reason(computed, task),
        batch=batch,
        planned_batch=run.batch_on(predictor.ensemble.device),
        engine=str(predictor.choice.candidate),
        # Never None: only an engine that was measured can be chosen.
        parity=cast(float, predictor.choice.chosen.rms),
        seconds={name: round(value, 4) for name, value in seconds.items()},
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # Linux counts in kB
        worker=f"{socket.gethostname()}:{os.getpid()}",
        disagreement=_disagreement(computed),
    )


def try_engines(run: PredictionRun, task: RegionTask) -> EngineSelection:
    """Find the engine of a run on the first batch of a region.

    Raises
    ------
    ParityError : no engine, or not the one that was asked for, reproduces the package.
    StoreCorrupt : the survey cannot be read there (``lenient``: only if source_id cannot).
    """
    survey = Store.open(run.survey, "survey")
    spec = Package.load(run.package.path, verify=False).spec
    batch = run.batch_on(open_device(run.package.device).type)
    arrays = first_rows(survey, task, spec.variables, batch)
    stars = star_inputs(arrays, spec, band_names(survey))
    choice = halving(
        lambda size: select_and_cache(run.package, stars.take(slice(size))), len(stars)
    )[0]
    return EngineSelection(choice, socket.gethostname())


def prepare_worker(run: PredictionRun, task: RegionTask) -> None:
    """Load what regions need, while another worker tries the engines on the region of the task.

    Raises
    ------
    PackageError : the package is not the one named, or cannot be read.
    """
    batch = run.batch_on(open_device(run.package.device).type)
    prepare(run.package, min(batch, task.region.size))


@dataclass(frozen=True)
class StartTask:
    """The first task of a worker: ``selects`` the engine of the run, or gets ready meanwhile."""

    first: RegionTask
    selects: bool


def start_worker(
    functions: "WorkerFunctions", run: PredictionRun, task: StartTask
) -> EngineSelection | None:
    """Select the engine (returns it), or get ready (returns None)."""
    if task.selects:
        return functions.engines(run, task.first)
    functions.prepare(run, task.first)
    return None


def probe(run: PredictionRun, task: RegionTask) -> int:
    """Compute rows without storing them; returns their number, or raises what they cause."""
    _compute(run, task, get_cached(run.package))
    return task.region.size


@dataclass(frozen=True)
class WorkerFunctions:
    """The functions that workers run. Idle ones in their place measure the driver alone."""

    engines: Callable[[PredictionRun, RegionTask], EngineSelection] = try_engines
    prepare: Callable[[PredictionRun, RegionTask], None] = prepare_worker
    region: Callable[[PredictionRun, RegionTask], RegionResult] = predict_region
    probe: Callable[[PredictionRun, RegionTask], int] = probe


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


def _compute(run: PredictionRun, task: RegionTask, predictor: Predictor) -> tuple[Computed, int]:
    survey = Store.open_kept(run.survey, "survey")
    batch = run.batch_on(predictor.ensemble.device)
    step = block_rows(survey.chunk_stars, batch, run.read)
    return within_memory(
        predictor, batch, lambda size: compute(predictor, survey, task, size, step)
    )


def _stars_per_flag(computed: Computed) -> dict[str, int]:
    flags = computed.arrays["flags"]
    counts = {str(flag.name): int(np.count_nonzero(flags & np.uint32(flag))) for flag in Flag}
    return {name: count for name, count in counts.items() if count}


def _disagreement(computed: Computed) -> float | None:
    """Mean of member scatter over quoted error; None where no star has both."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = computed.arrays["label_scatter"] / computed.arrays["label_error"]
    known = ratio[np.isfinite(ratio)]
    return round(float(known.mean()), 4) if known.size else None


def _stars_per_reason(
    computed: Computed, task: RegionTask
) -> dict[str, tuple[tuple[int, int], ...]]:
    """For every reason the (row, source_id) of the stars that failed for it, by row."""
    source_ids = computed.arrays["source_id"]
    reasons: dict[str, list[tuple[int, int]]] = {}
    for row, reason in sorted(computed.reasons.items()):
        star = (row, int(source_ids[row - task.region.start]))
        reasons.setdefault(reason, []).append(star)
    return {reason: tuple(stars) for reason, stars in reasons.items()}
