"""Array: a run in parts, each a process of its own; what a job array of a batch system starts.

No element knows of the others but by the store: whoever comes first makes it and chooses engine
and batches for all, each writes a ledger of its own, and who finds every region stored merges
the ledgers and completes the store, as one more call without ``--array`` does. An element may
die at any moment; begun again, it computes what nobody has stored.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from distcnn.config import PredictConfig
from distcnn.errors import StoreBusy
from distcnn.events import Listener, Notice, StageEnded, silent
from distcnn.executor import Executor, ExpectedWorkers
from distcnn.inference.batching import Batching
from distcnn.inference.plan import plan_opened
from distcnn.inference.predict import (
    STAGE,
    PredictSummary,
    Recorder,
    announce,
    compute_all,
    open_run,
    predict,
    with_engine,
)
from distcnn.inference.prediction_store import (
    begin_once,
    create_or_await,
    open_share,
)
from distcnn.inference.summary import RunSummary
from distcnn.inference.worker.region import WorkerFunctions
from distcnn.location import Address, Location
from distcnn.model import Package
from distcnn.survey import Region, RegionResult, Share, Store, stored_regions


@dataclass(frozen=True)
class ShareSummary:
    """What one element has done. ``left``: regions of the whole run that nobody has stored yet;
    ``whole``: the completed run, if this element was the last.
    """

    share: Share
    stars: int
    failed: int
    seconds: float
    regions: int
    resumed: int
    left: int
    whole: PredictSummary | None = None

    def __str__(self) -> str:
        done = (
            f"element {self.share}: {self.stars:,} stars in {self.regions:,} regions, "
            f"{self.failed:,} failed, {self.resumed:,} regions from an earlier run, "
            f"{self.seconds:.1f} s"
        )
        if self.whole is not None:
            return f"{done}\n{self.whole}"
        if self.left:
            return f"{done}; {self.left:,} regions of other elements are not stored yet"
        return f"{done}; all regions are stored, and another element completes the store"


def predict_share(
    package: Address,
    survey: Address,
    predictions: Address,
    config: PredictConfig,
    *,
    share: Share,
    executor: Executor,
    listener: Listener = silent,
    functions: WorkerFunctions = WorkerFunctions(),  # noqa: B008 - frozen
    memory: int | None = None,
) -> ShareSummary:
    """Compute the regions of one element; who stores the last region completes the store.

    ``memory``: as for ``predict``.

    Raises
    ------
    StoreBusy : a run without ``--array`` writes to the store, or this element is at work already.
    LockHeld : whoever makes the store or chooses the engine does not come to an end.
    Others : as ``predict``.
    """
    start = perf_counter()
    opened, source = Package.load(package), Store.open(survey, "survey")
    there = ExpectedWorkers(executor.workers, memory)
    place = Location.parse(predictions)
    plan = plan_opened(opened, source, place, config, lambda: there, share=share)
    plan.check()
    requested = dict(plan.fingerprint)
    store = create_or_await(opened, source, place, config, requested)
    with open_share(share, store, requested) as (done, begin_ledger):
        mine = list(share.of(store.regions()))
        waiting = [region for region in mine if region.name not in done]
        totals = _stored(mine, done)
        if waiting:
            announce(plan, listener)

            def begin(store: Store) -> None:
                store.annotate({"batching": plan.batching.to_json()})
                run = open_run(opened, source, store, config, plan.batching)
                with_engine(functions, run, store, waiting[0], executor=executor, listener=listener)

            store = begin_once(store, begin)
            run = open_run(opened, source, store, config, Batching.of_store(store))
            run = with_engine(functions, run, store, None, executor=executor, listener=listener)
            with begin_ledger().flushed() as ledger:
                recorder = Recorder(ledger, listener, note=totals.add)
                compute_all(functions, run, waiting, executor, recorder, attempts=config.attempts)
            listener(StageEnded(STAGE, totals.counts))
        else:
            listener(Notice(f"element {share} has all of its regions; nothing to do"))
        stored = stored_regions(store)
        left = sum(region.name not in stored for region in store.regions())
    whole = None
    if not left and not Store.open(store.location, "predictions").attrs.get("complete"):
        with suppress(StoreBusy):  # another element completes it
            whole = predict(
                package, survey, predictions, config, executor=executor, listener=listener
            )
    return ShareSummary(
        share=share,
        stars=totals.stars,
        failed=totals.failed,
        seconds=perf_counter() - start,
        regions=len(mine),
        resumed=len(mine) - len(waiting),
        left=left,
        whole=whole,
    )


def _stored(regions: Iterable[Region], done: Mapping[str, Any]) -> RunSummary:
    """What is known of those of the regions that are stored."""
    summary = RunSummary()
    for region in regions:
        if region.name in done:
            summary.add(RegionResult.from_json(region.name, done[region.name]))
    return summary
