"""Run: from package and survey to predictions, region by region.

The driver hands out regions, notes in the ledger what is stored, and never touches a star
itself. The same command again goes on where the ledger ends.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from distcnn.config import PredictConfig
from distcnn.errors import ClusterError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.flow import Flow
from distcnn.inference.compute import RegionTask
from distcnn.inference.engines import Candidate, Gate
from distcnn.inference.plan import Plan, make_plan
from distcnn.inference.predictor import PackageKey, decide
from distcnn.inference.region import Job, predict_region, try_engines
from distcnn.inference.rescue import ends_the_run, rescue
from distcnn.inference.target import DEAD_LETTERS, open_target, remove_partials
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
    flow: Flow,
    listener: Listener = silent,
) -> PredictSummary:
    """Compute every star of a survey; the same call again resumes, and ends at once when done.

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
    plan = make_plan(opened, source, predictions, config, flow.workers)
    plan.check()
    with open_target(opened, source, predictions, config) as (store, ledger):
        if store.attrs.get("complete") and not plan.waiting:
            listener(Notice(f"{predictions.name} is complete already; nothing to do"))
        else:
            _tell(plan, listener)
            waiting = [region for region in store.regions() if region.name not in ledger.done]
            job = _with_engine(_job(opened, source, store, config), waiting, store, flow, listener)
            note = _Recorder(ledger, listener)
            _run(job, waiting, flow, note, attempts=config.attempts)
            _finish(store, ledger, listener)
        return _summary(store, ledger, plan, perf_counter() - start)


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
    job: Job, waiting: list[Region], store: Store, flow: Flow, listener: Listener
) -> Job:
    """Let a worker find the engine of this run; one that goes on keeps that of the run before."""
    if waiting and not store.attrs["engine"].get("candidate"):
        task = RegionTask(waiting[0], lenient=True)
        (outcome,) = flow(partial(try_engines, job), [task])
        found = outcome.result()
        listener(Notice(f"Engines on {found['host']} (parity in label errors):\n{found['table']}"))
        best = Candidate.parse(found["candidate"])
        facts = {key: found[key] for key in ("candidate", "trials", "host")}
        engine = store.attrs["engine"] | facts | {"name": best.engine, "precision": best.precision}
        store.annotate({"engine": engine})
    chosen = store.attrs["engine"].get("candidate", "")
    return replace(job, package=replace(job.package, chosen=chosen))


def _run(job: Job, waiting: list[Region], flow: Flow, note: "_Recorder", *, attempts: int) -> None:
    given_up: list[Region] = []
    for attempt in range(1, attempts + 1):
        again: list[Region] = []
        for region, error in _pass(job, waiting, flow, note):
            # A flow has its own attempts where workers die.
            last = attempt == attempts or isinstance(error, ClusterError)
            (given_up if last else again).append(region)
            note.listener(Notice(f"Region {region.name} failed: {error}", "warning"))
        waiting = sorted(again)
    for region in sorted(given_up):
        note(region, rescue(job, region, flow, note.listener))


def _pass(
    job: Job, waiting: list[Region], flow: Flow, note: "_Recorder"
) -> Iterator[tuple[Region, BaseException]]:
    """Try every region once; yields those that failed."""
    for outcome in flow(partial(predict_region, job), [RegionTask(r) for r in waiting]):
        region = outcome.item.region
        if outcome.error is None:
            note(region, outcome.result())
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
        batch, planned = facts["batch"], facts["planned"]
        if batch < planned and not self.told:
            self.told = True
            self.listener(Notice(f"Memory ran out: batches of {batch} instead of {planned}"))
        self.listener(Advanced(STAGE, region.size, facts["worker"]))


def _finish(store: Store, ledger: Ledger, listener: Listener) -> None:
    facts = ledger.done.values()
    remove_partials(store)
    write_dead_letters(store.private / DEAD_LETTERS, ledger)
    counts = {name: sum(f[name] for f in facts) for name in ("stars", "done", "failed")}
    used = sorted({f["engine"] for f in facts})
    engine = {**store.attrs["engine"], "parity": max(f["parity"] for f in facts), "used": used}
    flagged = _flagged(ledger)
    store.annotate({"complete": True, "counts": {**counts, "flagged": flagged}, "engine": engine})
    listener(StageEnded(STAGE, counts))


def write_dead_letters(path: Path, ledger: Ledger) -> None:
    """List the failed stars: one JSON line each with row, source_id and reason."""
    letters = sorted(
        (row, source, reason)
        for facts in ledger.done.values()
        for reason, stars in facts["reasons"].items()
        for row, source in stars
    )
    lines = [
        json.dumps({"row": row, "source_id": source, "reason": reason}) + "\n"
        for row, source, reason in letters
    ]
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text("".join(lines), encoding="utf-8")
    draft.replace(path)


def _flagged(ledger: Ledger) -> dict[str, int]:
    total: Counter[str] = Counter()
    for facts in ledger.done.values():
        total.update(facts["flagged"])
    return dict(sorted(total.items()))


def _summary(store: Store, ledger: Ledger, plan: Plan, seconds: float) -> PredictSummary:
    facts = ledger.done.values()
    return PredictSummary(
        predictions=store.path,
        stars=sum(f["stars"] for f in facts),
        failed=sum(f["failed"] for f in facts),
        seconds=seconds,
        regions=len(ledger.done),
        resumed=plan.done,
        engine=", ".join(sorted({f["engine"] for f in facts})),
        parity=max(f["parity"] for f in facts),
        batch=min(f["batch"] for f in facts),
        flagged=_flagged(ledger),
    )
