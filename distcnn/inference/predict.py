"""Run: from package and survey to predictions, region by region.

The driver hands out regions, notes in the ledger what is stored, and never touches a star
itself. The same command again goes on where the ledger ends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from distcnn.config import PredictConfig
from distcnn.errors import ClusterError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.executor import Executor
from distcnn.files import atomic_write
from distcnn.inference.compute import RegionTask
from distcnn.inference.engines import Candidate, Gate
from distcnn.inference.plan import Plan, make_plan
from distcnn.inference.prediction_store import DEAD_LETTERS, open_target, remove_partials
from distcnn.inference.predictor import PackageKey, decide
from distcnn.inference.recovery import ends_the_run, rescue
from distcnn.inference.region import Job, Work
from distcnn.inference.summary import Totals, dead_letters
from distcnn.model import Package, StarInputs
from distcnn.survey import Ledger, Region, Store

Facts = dict[str, Any]
STAGE = "predict"


@dataclass(frozen=True)
class PredictSummary:
    """What a run did and what the store holds now.

    ``failed``: stars without labels; ``resumed``: regions that an earlier run had stored;
    ``flagged``: stars per flag; ``parity``: largest difference from the package's fixtures,
    in units of a label's error; ``batch``: smallest batch used.
    """

    predictions: Path
    stars: int
    failed: int
    seconds: float
    regions: int
    resumed: int
    engine: str
    parity: float
    batch: int
    flagged: Mapping[str, int] = field(default_factory=dict)

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
    package: Path,
    survey: Path,
    predictions: Path,
    config: PredictConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
    work: Work = Work(),  # noqa: B008 - frozen
) -> PredictSummary:
    """Compute every star of a survey; the same call again resumes, and ends at once when done.

    This process holds some tens of bytes per region, however many there are.

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
    plan = make_plan(opened, source, predictions, config, executor.workers)
    plan.check()
    asked = dict(plan.fingerprint)
    with open_target(opened, source, predictions, config, asked) as (store, ledger):
        complete = store.attrs.get("complete") and not plan.waiting
        if complete:
            listener(Notice(f"{predictions.name} is complete already; nothing to do"))
        else:
            _tell(plan, listener)
            first = next(_waiting(store, ledger), None)
            job = _job(opened, source, store, config)
            job = _with_engine(work, job, first, store, executor, listener=listener)
            note = _Recorder(ledger, listener)
            _run(work, job, _waiting(store, ledger), executor, note, attempts=config.attempts)
        totals = Totals.of(ledger)
        if not complete:
            _finish(store, ledger, totals, listener)
        return _summary(store, totals, plan, perf_counter() - start)


def _waiting(store: Store, ledger: Ledger) -> Iterator[Region]:
    """Regions that are not stored yet, each looked for when its turn has come."""
    return (region for region in store.regions() if region.name not in ledger.done)


def _tell(plan: Plan, listener: Listener) -> None:
    done = plan.stars - plan.stars_waiting
    listener(StageStarted(STAGE, plan.stars, "stars", done))
    if plan.done:
        listener(Notice(f"{plan.done} of {plan.regions} regions are stored from an earlier run"))
    if plan.missing:
        names = ", ".join(plan.missing)
        listener(Notice(f"The survey has no {names}: every star is flagged for it", "warning"))


def _job(package: Package, survey: Store, store: Store, config: PredictConfig) -> Job:
    key = package_key(package, config)
    places = str(survey.path.absolute()), str(store.path.absolute())
    return Job(*places, key, config.batch, config.gpu_batch)


def package_key(package: Package, config: PredictConfig, chosen: str = "") -> PackageKey:
    """What workers must know of a package and of how it is to be run."""
    return PackageKey(
        path=str(package.path.absolute()),
        digest=package.digest,
        engine=config.engine,
        precision=config.precision,
        gate=Gate(config.parity, config.parity_bias),
        device=config.device,
        chosen=chosen,
    )


def table_of_engines(package: Path, config: PredictConfig) -> str:
    """Try the engines of this machine on the package's fixtures, repeated to a batch.

    Raises
    ------
    PackageError : the package cannot be used, or no engine reproduces it.
    """
    opened = Package.load(package)
    fixtures = opened.fixtures()[0]
    choice = decide(package_key(opened, config), fixtures.take(_repeated(fixtures, config.batch)))
    return str(choice)


def _repeated(stars: StarInputs, batch: int) -> Any:
    return np.arange(batch) % len(stars)


def _with_engine(
    work: Work,
    job: Job,
    first: Region | None,
    store: Store,
    executor: Executor,
    *,
    listener: Listener,
) -> Job:
    """Let a worker find the engine of this run; one that goes on keeps that of the run before."""
    if first is not None and not store.attrs["engine"].get("candidate"):
        task = RegionTask(first, lenient=True)
        (outcome,) = executor(partial(work.engines, job), [task])
        found = outcome.unwrap()
        listener(Notice(f"Engines on {found['host']} (parity in label errors):\n{found['table']}"))
        best = Candidate.parse(found["candidate"])
        facts = {key: found[key] for key in ("candidate", "trials", "host")}
        engine = store.attrs["engine"] | facts | {"name": best.engine, "precision": best.precision}
        store.annotate({"engine": engine})
    chosen = store.attrs["engine"].get("candidate", "")
    return replace(job, package=replace(job.package, chosen=chosen))


def _run(
    work: Work,
    job: Job,
    waiting: Iterable[Region],
    executor: Executor,
    note: "_Recorder",
    *,
    attempts: int,
) -> None:
    given_up: list[Region] = []
    for attempt in range(1, attempts + 1):
        again: list[Region] = []
        for region, error in _pass(partial(work.region, job), waiting, executor, note):
            # A executor has its own attempts where workers die.
            last = attempt == attempts or isinstance(error, ClusterError)
            (given_up if last else again).append(region)
            note.listener(Notice(f"Region {region.name} failed: {error}", "warning"))
        waiting = sorted(again)
    for region in sorted(given_up):
        note(region, rescue(work, job, region, executor, note.listener))


def _pass(
    function: Callable[[RegionTask], Facts],
    waiting: Iterable[Region],
    executor: Executor,
    note: "_Recorder",
) -> Iterator[tuple[Region, BaseException]]:
    """Try every region once; yields those that failed."""
    for outcome in executor(function, map(RegionTask, waiting)):
        region = outcome.task.region
        if outcome.error is None:
            note(region, outcome.unwrap())
        elif ends_the_run(outcome.error):
            raise outcome.error
        else:
            yield region, outcome.error


@dataclass
class _Recorder:
    """Notes a stored region in the ledger, and tells."""

    ledger: Ledger
    listener: Listener
    told: bool = False

    def __call__(self, region: Region, facts: Facts) -> None:
        self.ledger.record(region.name, **facts)
        batch, planned = facts["batch"], facts.get("planned", facts["batch"])
        if batch < planned and not self.told:
            self.told = True
            self.listener(Notice(f"Memory ran out: batches of {batch} instead of {planned}"))
        self.listener(Advanced(STAGE, region.size, facts["worker"]))


def _finish(store: Store, ledger: Ledger, totals: Totals, listener: Listener) -> None:
    remove_partials(store)
    write_dead_letters(store.private / DEAD_LETTERS, dead_letters(ledger, totals.broken))
    used = {"parity": totals.parity, "used": sorted(totals.engines)}
    counts = {**totals.counts, "flagged": totals.stars_per_flag}
    engine = {**store.attrs["engine"], **used}
    store.annotate({"complete": True, "counts": counts, "engine": engine})
    listener(StageEnded(STAGE, totals.counts))


def write_dead_letters(path: Path, letters: Iterable[str]) -> None:
    """Put the list of failed stars in its place, whole or not at all."""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8") as stream:
        stream.writelines(letters)


def _summary(store: Store, totals: Totals, plan: Plan, seconds: float) -> PredictSummary:
    return PredictSummary(
        predictions=store.path,
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
