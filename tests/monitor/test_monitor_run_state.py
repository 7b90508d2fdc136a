"""Where a run stands: speeds, rates, workers, bounds of memory."""

import json

import msgpack
import pytest
from conformance.listener_checks import ListenerChecks
from monitor.runs import STARS, Clock, busy_state, stored

from distcnn.events import Advanced, EpochEnded, Notice, StageEnded, StageStarted
from distcnn.monitor.run_state import (
    CURVES,
    MAX_ERRORS,
    MAX_MEMBERS_SHOWN,
    MAX_POINTS,
    MAX_WORKERS_SHOWN,
    RunState,
)


class TestRunState(ListenerChecks):
    @pytest.fixture
    def listener(self):
        state = RunState("kit")
        state.close = lambda: None
        return state


def test_a_snapshot_says_how_far_how_fast_and_how_long():
    state, _ = busy_state()
    found = state.snapshot()
    assert (found["total"], found["before"], found["done"]) == (100_000, 10_000, 60 * STARS)
    assert found["left"] == 30_000
    assert found["speed"] == pytest.approx(1000)
    assert found["mean_speed"] == pytest.approx(1000)
    assert found["seconds_left"] == pytest.approx(30)
    assert (found["regions"], found["failed_attempts"], found["quarantined"]) == (60, 1, 3)
    assert found["flags"]["NO_XP"] == 60 * 30
    assert found["last_region"] == stored(69).region


def test_rates_are_those_of_late():
    state, clock = busy_state()
    assert state.snapshot()["rates"] == {"novel": 0.02, "disagree": 0.05, "disagreement": 0.25}
    for number in range(70, 100):
        clock.now += 10
        flags = {"NOVEL_SPECTRUM": 500}
        state(stored(number, flagged=flags, disagreement=None))
    assert state.snapshot()["rates"] == {"novel": 0.5, "disagree": 0.0, "disagreement": 0.0}


def test_the_speed_of_late_falls_while_nothing_comes():
    state, clock = busy_state()
    clock.now += 300
    found = state.snapshot()
    assert found["speed"] < 100
    assert found["silence"] == 300


def test_each_worker_has_its_own_sums():
    state, _ = busy_state()
    workers = state.snapshot()["workers"]
    assert sorted(workers) == ["host:0", "host:1", "host:2"]
    assert workers["host:1"]["regions"] == 20
    assert workers["host:1"]["stars"] == 20 * STARS
    assert workers["host:1"]["seconds"]["infer"] == pytest.approx(20)
    assert workers["host:1"]["engine"] == "eager float32"


def test_a_snapshot_goes_through_json_and_through_the_wire_of_dask():
    found = busy_state()[0].snapshot()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert msgpack.unpackb(msgpack.packb(found)) == found


def test_a_snapshot_stays_small_however_long_a_run_and_however_many_workers():
    clock = Clock()
    state = RunState("long", clock=clock)
    state(StageStarted("predict", 10**8, "stars"))
    for number in range(20_000):
        clock.now += 2
        state(stored(number, f"host:{number % 500}"))
        state(EpochEnded(number % 100, 1, 2, 0.0, 0.0, 1.0))
        state.tick()
        if number % 100 == 0:
            state(Notice("x" * 10_000, "warning"))
    found = state.snapshot()
    assert len(found["workers"]) == MAX_WORKERS_SHOWN
    assert found["worker_count"] == 500
    assert len(found["members"]) == MAX_MEMBERS_SHOWN
    assert len(found["errors"]) == MAX_ERRORS
    assert len(json.dumps(found)) < 60_000
    times = found["curves"]["time"]
    assert MAX_POINTS / 2 <= len(times) <= MAX_POINTS
    assert times[-1] > 0.98 * 40_000
    assert set(found["curves"]) == set(CURVES)


def test_silence_is_none_before_and_after_the_work():
    clock = Clock()
    state = RunState("quiet", clock=clock)
    clock.now += 1000
    assert state.silence() == 0
    state(StageStarted("ingest", 10, "files"))
    clock.now += 50
    assert state.silence() == 50
    state(Advanced("ingest", 1))
    assert state.silence() == 0
    clock.now += 20
    state(StageEnded("ingest"))
    clock.now += 1000
    assert state.silence() == 0
    assert state.snapshot()["status"] == "complete"


def test_members_that_train_are_shown_and_count_as_progress():
    clock = Clock()
    state = RunState("train", clock=clock)
    state(StageStarted("train", 10, "epochs"))
    clock.now += 30
    state(EpochEnded(3, 2, 5, -1.5, -1.0, 2500.0))
    assert state.silence() == 0
    assert state.snapshot()["members"]["3"]["validation"] == -1.0
