"""Shards: one task per region, which fills it from slices of parts."""

from collections.abc import Mapping
from dataclasses import dataclass

from distcnn.events import Advanced, StageStarted
from distcnn.executor import Executor
from distcnn.ingest.assembly.merge import RowSlice, read_slices, row_slices
from distcnn.ingest.plan import IngestPlan
from distcnn.ingest.staging.part import PartRecord
from distcnn.survey import Ledger, Region, Store, tile

WRITE = "ingest: write survey"


@dataclass(frozen=True)
class ShardTask:
    """One region of the survey and the kept rows of parts that make it up."""

    survey: str
    region: Region
    slices: tuple[RowSlice, ...]


def fill_shard(task: ShardTask) -> str:
    """Write one region from its parts; returns the digest of what was stored."""
    store = Store.open(task.survey, "survey")
    return store.write(task.region, read_slices(task.slices, store.variables))


def fill_shards(
    plan: IngestPlan, store: Store, parts: Mapping[str, PartRecord], executor: Executor
) -> None:
    """Have every region written that is not yet, and note each in the ledger of the store."""
    ledger = Ledger.open(
        store.private / "ledger.jsonl", {"inputs": plan.inputs, **plan.fingerprint()}
    )
    kept = {name: part.kept for name, part in parts.items()}
    regions = tile(store.stars, shard=store.shard_stars)
    done = sum(region.size for region in regions if region.name in ledger.done)
    waiting = (region for region in regions if region.name not in ledger.done)
    tasks = (
        ShardTask(store.location.address, r, row_slices(plan.parts_folder, kept, r))
        for r in waiting
    )
    plan.listener(StageStarted(WRITE, store.stars, "stars", done))
    with ledger.flushed():
        for result in executor(fill_shard, tasks):
            region = result.task.region
            ledger.record(region.name, result.unwrap())
            plan.listener(Advanced(WRITE, region.size, region.name))
