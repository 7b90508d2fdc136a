"""The driver alone: workers do nothing, the loop over regions and the ledger are the real ones."""

import json
from itertools import pairwise

import pytest

from distcnn.events import RegionFailed, RegionStored
from distcnn.executor import SerialExecutor
from distcnn.inference import predict
from distcnn.inference.engines import Candidate, EngineChoice
from distcnn.inference.worker.region import EngineSelection, WorkerFunctions
from distcnn.survey import Ledger, Region, RegionResult, Store, create_store
from tests.inference.small import CONFIG, SHARD, layout_of

REGIONS, BROKEN, STUBBORN = 2000, 7, 11


def idle_prepare(run, task):
    pass


def idle_engines(run, task):
    return EngineSelection(EngineChoice(Candidate("eager"), ()), "nowhere")


def idle_region(run, task):
    number, start = task.region.start // SHARD, task.region.start
    if number == STUBBORN and not task.lenient:
        raise ValueError("not before the end")
    failed = ((start + 3, 30), (start + 1, 10)) if number % 1000 == BROKEN else ()
    return RegionResult(
        region=task.region,
        digest=f"{start:064x}",
        stars=task.region.size,
        done=task.region.size - len(failed),
        failed=len(failed),
        flagged={"NO_XP": 2} | ({"NO_PARALLAX": 1} if number % 2 else {}),
        reasons={"broken": failed} if failed else {},
        batch=8 if number == BROKEN else run.batch,
        planned_batch=run.batch,
        engine="eager float32",
        parity=1e-6 * number,
        seconds={},
        worker="a worker",
    )


class Watched(SerialExecutor):
    """A serial executor that notes how many tasks were asked for before each result was taken."""

    def __init__(self):
        super().__init__()
        self.asked, self.ahead = 0, []

    def __call__(self, function, tasks):
        def counted():
            for task in tasks:
                self.asked += 1
                yield task

        try:
            for taken, result in enumerate(super().__call__(function, counted())):
                self.ahead.append(self.asked - taken)
                yield result
        finally:
            self.asked = 0


class Ready(Exception):
    """What hinders a worker that gets ready."""


def prepare_in_vain(run, task):
    raise Ready


class Three(SerialExecutor):
    """An executor that says it has three workers, and does the last task first."""

    workers = 3

    def __call__(self, function, tasks):
        tasks = list(tasks)
        self.first = self.first if hasattr(self, "first") else tasks
        return super().__call__(function, reversed(tasks))


@pytest.fixture
def shell(made, tmp_path, monkeypatch):
    """A survey of 2,000 regions: metadata and a ledger, but not one spectrum."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    store = create_store(tmp_path / "survey.zarr", layout_of(REGIONS * SHARD))
    ledger = Ledger.open(store.private / "ledger.jsonl", {"by": "test"})
    for region in store.regions():
        ledger.record(region.name, f"{region.start:064x}")
    store.annotate({"complete": True})

    def go(region=idle_region, prepare=idle_prepare, **more):
        functions = WorkerFunctions(engines=idle_engines, prepare=prepare, region=region)
        at = (made / "package", tmp_path / "survey.zarr", tmp_path / "predictions.zarr")
        return predict(*at, CONFIG, functions=functions, **{"executor": Watched(), **more})

    return go


def test_two_thousand_idle_regions_are_handed_out_one_by_one_and_added_up(shell, tmp_path):
    heard, executor = [], Watched()
    summary = shell(executor=executor, listener=heard.append)
    assert (summary.regions, summary.stars, summary.failed) == (REGIONS, REGIONS * SHARD, 4)
    assert summary.flagged == {"NO_PARALLAX": REGIONS // 2, "NO_XP": 2 * REGIONS}
    assert summary.parity == 1e-6 * (REGIONS - 1)
    assert (summary.batch, summary.resumed) == (8, 0)
    assert max(executor.ahead) == 1
    assert sum(e.count for e in heard if isinstance(e, RegionStored)) == REGIONS * SHARD
    assert sum("not before the end" in e.error for e in heard if isinstance(e, RegionFailed)) == 3
    store = Store.open(tmp_path / "predictions.zarr")
    assert store.attrs["complete"]
    assert store.attrs["counts"]["failed"] == 4
    names = list(Ledger.read(store.private / "ledger.jsonl").done)
    assert len(names) == REGIONS
    assert names[-1] == Region(STUBBORN * SHARD, (STUBBORN + 1) * SHARD).name


def test_dead_letters_come_in_the_order_of_the_survey(shell, tmp_path):
    shell()
    lines = (tmp_path / "predictions.zarr/.distcnn/dead_letters.jsonl").read_text().splitlines()
    letters = [json.loads(line) for line in lines]
    starts = [number * SHARD for number in (BROKEN, 1000 + BROKEN)]
    assert [letter["row"] for letter in letters] == [s + n for s in starts for n in (1, 3)]
    assert [letter["source_id"] for letter in letters] == [10, 30, 10, 30]
    assert all(a["row"] < b["row"] for a, b in pairwise(letters))


def test_a_run_that_stopped_hands_out_what_is_left_and_adds_up_everything(shell):
    class Stop(Exception):
        pass

    def stop(event):
        if isinstance(event, RegionStored):
            stop.count += 1
            if stop.count == 700:
                raise Stop

    stop.count = 0
    whole = {"NO_PARALLAX": REGIONS // 2, "NO_XP": 2 * REGIONS}
    with pytest.raises(Stop):
        shell(listener=stop)
    executor = Watched()
    again = shell(executor=executor)
    assert (again.resumed, again.regions, again.failed) == (700, REGIONS, 4)
    assert (again.flagged, again.batch) == (whole, 8)
    # The stubborn region: two more tries, then one without the stars that cannot be read.
    assert len(executor.ahead) == REGIONS - 700 + 3
    done = shell(region=None)
    assert (done.resumed, done.flagged, done.parity) == (REGIONS, whole, again.parity)


def test_while_a_worker_selects_the_engine_the_others_get_ready_whatever_becomes_of_it(shell):
    executor = Three()
    summary = shell(executor=executor, prepare=prepare_in_vain)
    assert summary.regions == REGIONS
    assert [task.selects for task in executor.first] == [True, False, False]
