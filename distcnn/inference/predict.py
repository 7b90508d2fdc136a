"""Predict: from package and survey to predictions, region by region.

The driver hands out regions, notes in the ledger what is stored, and never touches a star
itself. The same command again goes on where the ledger ends.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np

from distcnn.config import PredictConfig
from distcnn.errors import ClusterError
from distcnn.events import (
    Listener,
    Notice,
    RegionFailed,
    RegionStored,
    StageEnded,
    StageStarted,
    silent,
)
from distcnn.executor import Executor, ExpectedWorkers
from distcnn.inference.batching import Batching
from distcnn.inference.engines import ParityTolerance
from distcnn.inference.plan import Plan, plan_opened
from distcnn.inference.prediction_store import (
    DEAD_LETTERS,
    open_prediction_store,
)
from distcnn.inference.recovery import is_fatal, isolate_failures
from distcnn.inference.summary import RunSummary, dead_letters
from distcnn.inference.worker.compute import RegionTask
from distcnn.inference.worker.package_cache import PackageKey, select_and_cache
from distcnn.inference.worker.region import (
    EngineSelection,
    PredictionRun,
    StartTask,
    WorkerFunctions,
    start_worker,
)
from distcnn.location import Address, Location
from distcnn.model import Package
from distcnn.survey import Ledger, Region, RegionResult, Store

STAGE = "predict"


@dataclass(frozen=True)
class PredictSummary:
    """What a run did and what the store holds now.

    ``failed``: stars without labels; ``resumed``: regions that an earlier run had stored;
    ``flagged``: stars per flag; ``parity``: largest difference from the package's fixtures,
    in units of a label's error; ``batch``: smallest batch used.
    """

    predictions: Path | Location
    stars: int
    failed: int
    seconds: float
    regions: int
    resumed: int
    engine: str
    parity: float
    batch: int
    flagged: Mapping[str, int] = field(default_factory=dict)
    merged: int = 0
    """Regions taken over from the elements of job arrays."""

    def __str__(self) -> str:
        lines = [
            f"{self.predictions}: {self.stars:,} stars in {self.regions:,} regions, "
            f"{self.failed:,} failed, {self.resumed:,} regions from an earlier run, "
            f"{self.seconds:.1f} s",
            f"engine {self.engine}, within {self.parity:.2g} label errors of the package",
            *(f"{count:10,d}  {name.lower()}" for name, count in self.flagged.items()),
        ]
        return "\n".join(lines)


def predict(
    package: Address,
    survey: Address,
    predictions: Address,
    config: PredictConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
    functions: WorkerFunctions = WorkerFunctions(),  # noqa: B008 - frozen
    memory: int | None = None,
) -> PredictSummary:
    """Compute every star of a survey; the same call again resumes, and ends at once when done.

    This process holds some tens of bytes per region, however many there are. ``memory``: what a
    worker has [bytes], to which batches are fitted; None = as much as a plan may count on.

    Raises
    ------
    PackageError : the package cannot be used, or does not fit the survey.
    FingerprintMismatch : the prediction store was begun from other input or settings.
    PlanRefused : too little disk or memory.
    StoreCorrupt : source_ids of the survey cannot be read.
    ClusterError : the workers are lost.
    """
    start = perf_counter()
    opened, source = Package.load(package), Store.open(survey, "survey")
    there = ExpectedWorkers(executor.workers, memory)
    place = Location.parse(predictions)
    plan = plan_opened(opened, source, place, config, lambda: there)
    plan.check()
    fingerprint = dict(plan.fingerprint)
    with open_prediction_store(opened, source, place, config, fingerprint) as found:
        store, ledger, merged = found
        if plan.batching != Batching.of_store(store):
            store.annotate({"batching": plan.batching.to_json()})
        complete = store.attrs.get("complete") and not plan.waiting
        if complete:
            listener(Notice(f"{place.name} is complete already; nothing to do"))
        else:
            announce(plan, listener)
            run = open_run(opened, source, store, config, plan.batching)
            waiting = _waiting(store.regions(), ledger.done)
            first = next(waiting, None)
            run = with_engine(functions, run, store, first, executor=executor, listener=listener)
            recorder = Recorder(ledger, listener)
            waiting = _waiting(store.regions(), ledger.done)
            compute_all(functions, run, waiting, executor, recorder, attempts=config.attempts)
        totals = RunSummary.of(ledger)
        if not complete:
            _finish(store, ledger, totals, listener)
        return replace(_summary(store, totals, plan, perf_counter() - start), merged=merged)


def _waiting(regions: Iterable[Region], done: Container[str]) -> Iterator[Region]:
    """Regions that are not stored yet; the ledger is asked only when a region's turn comes."""
    return (region for region in regions if region.name not in done)


def announce(plan: Plan, listener: Listener) -> None:
    """Tell how much there is to do, and what is odd about it."""
    done = plan.stars_asked - plan.stars_waiting
    listener(StageStarted(STAGE, plan.stars_asked, "stars", done))
    if plan.done:
        listener(Notice(f"{plan.done} of {plan.regions} regions are stored from an earlier run"))
    if plan.missing:
        names = ", ".join(plan.missing)
        listener(Notice(f"The survey has no {names}: every star is flagged for it", "warning"))
    for notice in plan.notices:
        listener(Notice(notice))


def open_run(
    package: Package, survey: Store, store: Store, config: PredictConfig, batching: Batching
) -> PredictionRun:
    """What all regions of a run have in common; the engine is still to be chosen."""
    return PredictionRun(
        survey=survey.location.address,
        predictions=store.location.address,
        package=package_key(package, config),
        **batching.to_json(),
    )


def package_key(package: Package, config: PredictConfig, chosen: str = "") -> PackageKey:
    """What workers must know of a package and of how it is to be run."""
    return PackageKey(
        path=package.location.address,
        digest=package.digest,
        engine=config.engine,
        precision=config.precision,
        tolerance=ParityTolerance(config.parity, config.parity_bias),
        device=config.device,
        chosen=chosen,
    )


def table_of_engines(package: Address, config: PredictConfig) -> str:
    """Try the engines of this machine on the package's fixtures, repeated to a batch.

    Raises
    ------
    PackageError : the package cannot be used, or no engine reproduces it.
    """
    opened = Package.load(package)
    fixtures = opened.fixtures()[0]
    batch = fixtures.take(np.arange(config.batch) % len(fixtures))
    return str(select_and_cache(package_key(opened, config), batch))


def with_engine(
    functions: WorkerFunctions,
    run: PredictionRun,
    store: Store,
    first: Region | None,
    *,
    executor: Executor,
    listener: Listener,
) -> PredictionRun:
    """Let a worker select the engine on the region ``first``; None = there is nothing to do.

    The others get ready for their first region meanwhile. A run that is resumed keeps the
    engine it was begun with.
    """
    if first is not None and not store.attrs["engine"].get("candidate"):
        _note_engine(_selected_engine(functions, run, first, executor), store, listener)
    chosen = store.attrs["engine"].get("candidate", "")
    return replace(run, package=replace(run.package, chosen=chosen))


def _selected_engine(
    functions: WorkerFunctions, run: PredictionRun, first: Region, executor: Executor
) -> EngineSelection:
    task = RegionTask(first, lenient=True)
    starts = [StartTask(task, selects=number == 0) for number in range(executor.workers)]
    # Those that get ready have no result, and what hinders them the first region will tell.
    results = executor(partial(start_worker, functions, run), starts)
    selected = next(result for result in results if result.task.selects)
    return cast(EngineSelection, selected.unwrap())


def _note_engine(selection: EngineSelection, store: Store, listener: Listener) -> None:
    choice, host = selection.choice, selection.host
    listener(Notice(f"Engines on {host} (parity in label errors):\n{choice.brief()}"))
    found = choice.to_json() | {"host": host}
    names = {"name": choice.candidate.engine, "precision": choice.candidate.precision}
    store.annotate({"engine": store.attrs["engine"] | found | names})


def compute_all(
    functions: WorkerFunctions,
    run: PredictionRun,
    waiting: Iterable[Region],
    executor: Executor,
    recorder: "Recorder",
    *,
    attempts: int,
) -> None:
    """Every region up to ``attempts`` times; what still fails then, without the failing stars."""
    given_up: list[Region] = []
    for attempt in range(1, attempts + 1):
        retry: list[Region] = []
        recorder.attempt = attempt
        for region, error in _pass(partial(functions.region, run), waiting, executor, recorder):
            # An executor has tried again by itself where workers died.
            last = attempt == attempts or isinstance(error, ClusterError)
            (given_up if last else retry).append(region)
            recorder.listener(RegionFailed(STAGE, region.name, attempt, str(error)))
        waiting = sorted(retry)
    recorder.attempt = attempts + 1
    for region in sorted(given_up):
        recorder(isolate_failures(functions, run, region, executor, recorder.listener))


def _pass(
    function: Callable[[RegionTask], RegionResult],
    waiting: Iterable[Region],
    executor: Executor,
    recorder: "Recorder",
) -> Iterator[tuple[Region, BaseException]]:
    """Try every region once; yields those that failed."""
    for result in executor(function, map(RegionTask, waiting)):
        if result.error is None:
            recorder(result.unwrap())
        elif is_fatal(result.error):
            raise result.error
        else:
            yield result.task.region, result.error


@dataclass
class Recorder:
    """Notes a stored region in the ledger, then reports it to the listener."""

    ledger: Ledger
    listener: Listener
    attempt: int = 1
    reported_halving: bool = False
    note: Callable[[RegionResult], None] = lambda _: None

    def __call__(self, result: RegionResult) -> None:
        self.ledger.record(result.region.name, **result.to_json())
        self.note(result)
        batch, planned = result.batch, result.planned_batch
        if batch < planned and not self.reported_halving:
            self.reported_halving = True
            self.listener(Notice(f"Memory ran out: batches of {batch} instead of {planned}"))
        self.listener(RegionStored(STAGE, result.region.name, self.attempt, result))


def _finish(store: Store, ledger: Ledger, totals: RunSummary, listener: Listener) -> None:
    ledger.flush()
    store.location.remove_drafts()
    letters = dead_letters(ledger, totals.with_failures)
    write_dead_letters(store.private / DEAD_LETTERS, letters)
    used = {"parity": totals.parity, "used": sorted(totals.engines)}
    counts = {**totals.counts, "flagged": totals.stars_per_flag}
    engine = {**store.attrs["engine"], **used}
    store.annotate({"complete": True, "counts": counts, "engine": engine})
    listener(StageEnded(STAGE, totals.counts))


def write_dead_letters(place: Location, letters: Iterable[str]) -> None:
    """Put the list of failed stars in its place, whole or not at all."""
    with place.new_file() as draft, draft.open("w", encoding="utf-8") as stream:
        stream.writelines(letters)


def _summary(store: Store, totals: RunSummary, plan: Plan, seconds: float) -> PredictSummary:
    return PredictSummary(
        predictions=store.location.outer,
        stars=totals.stars,
        failed=totals.failed,
        seconds=seconds,
        regions=totals.regions,
        resumed=plan.done,
        engine=", ".join(sorted(totals.engines)),
        parity=totals.parity,
        batch=totals.batch,
        flagged=totals.stars_per_flag,
    )
