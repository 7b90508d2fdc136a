"""A run that is stuck says so, what is in flight, and which worker has it."""

import os
import re
import signal
from urllib.request import urlopen

import pytest
from monitor.runs import busy_state, stored

from distcnn.clusters import open_cluster
from distcnn.config import LocalConfig, MonitorConfig, PredictConfig
from distcnn.events import Notice, RegionStored, silent
from distcnn.monitor.run_monitor import (
    MIN_STALL_S,
    SAY_AGAIN,
    STALL_FACTOR,
    RunMonitor,
    describe_holders,
    watch_run,
)
from tests.inference.small import go, make_package, make_survey


def look_after(monitor, clock, seconds):
    clock.now += seconds
    monitor.look()


def test_patience_follows_the_pace_of_the_run():
    state, _ = busy_state()
    monitor = RunMonitor(state, silent)
    assert monitor.patience() == MIN_STALL_S
    state.longest_gap = MIN_STALL_S
    assert monitor.patience() == STALL_FACTOR * MIN_STALL_S
    monitor.stalled_after = 12.0
    assert monitor.patience() == 12.0


def test_a_stuck_run_says_so_once_again_after_long_and_when_it_goes_on():
    heard = []
    state, clock = busy_state()
    monitor = RunMonitor(state, heard.append, stalled_after=60)
    look_after(monitor, clock, 59)
    assert heard == []
    for _ in range(5):
        look_after(monitor, clock, 2)
    assert [event.level for event in heard] == ["warning"]
    assert "No progress for 1 min 01 s" in heard[0].text
    assert state.snapshot()["status"] == "stalled"
    look_after(monitor, clock, 61 * SAY_AGAIN)
    assert len(heard) == 2
    monitor(stored(90))
    look_after(monitor, clock, 1)
    assert heard[-1] == Notice("The run goes on")
    assert state.snapshot()["status"] == "running"


def test_holders_are_told_with_the_quietest_first():
    class Link:
        def holders(self, keys):
            quiet = {"a": 1.0, "b": 80.0}
            return {
                key: {"worker": f"w-{key}", "host": f"10.0.0.{n}", "unheard": quiet[key]}
                for n, key in enumerate(keys)
                if key in quiet
            }

    tasks = {"a": "region 0-8", "b": "region 8-16", "c": "region 16-24"}
    text = describe_holders(tasks, Link())
    assert text == (
        "region 8-16 is on worker w-b of host 10.0.0.1, not heard of for 1 min 20 s; "
        "region 0-8 is on worker w-a of host 10.0.0.0"
    )
    many = ", ".join(f"region {n}-{n + 8}" for n in range(0, 800, 8))
    assert describe_holders({"a": many}, Link()).count("region") < 15
    assert "1 tasks wait at the scheduler" in describe_holders({"c": "region 16-24"}, Link())
    assert "no task is in flight" in describe_holders({}, None)


def test_what_fails_while_it_watches_never_ends_the_run():
    class Broken:
        def send(self, snapshot, *, last=False):
            raise OSError("gone")

        def holders(self, keys):
            raise OSError("gone")

    state, _ = busy_state()
    monitor = RunMonitor(state, silent, link=Broken(), tick=0.001)
    monitor.start()
    monitor.stop("complete")
    assert state.snapshot()["status"] == "complete"


@pytest.mark.slow
def test_frozen_workers_are_named_with_their_region_and_the_run_goes_on_once_they_thaw(tmp_path):
    make_package(tmp_path / "package", make_survey(tmp_path / "survey.zarr"))
    frozen, heard, scraped, regions, stuck = set(), [], [], [], []

    def listen(event):
        heard.append(event)
        if isinstance(event, RegionStored):
            regions.append(event)
            if len(regions) == 2:
                workers = executor.client.run(os.getpid)
                frozen.update(workers.values())
                for process in frozen:
                    os.kill(process, signal.SIGSTOP)
        if frozen and isinstance(event, Notice) and event.text.startswith("No progress"):
            stuck.append(event.text)
            with urlopen(f"{executor.dashboard.removesuffix('status')}metrics", timeout=30) as text:
                scraped.append(text.read().decode())
            for process in frozen:
                os.kill(process, signal.SIGCONT)

    config = PredictConfig(batch=16, engine="eager", precision="float32")
    with open_cluster(LocalConfig(workers=2), silent) as executor:
        try:
            with watch_run(executor, MonitorConfig(stalled_after=3), listen) as watched:
                go(tmp_path, config, executor, watched)
        finally:
            for process in frozen:
                os.kill(process, signal.SIGCONT)
    named = re.search(r"region (\S+) is on worker (\d) of host 127\.0\.0\.1", stuck[0])
    assert named, stuck
    done_before = {event.region for event in regions[:2]}
    assert named[1] not in done_before
    assert named[1] in {event.region for event in regions}
    assert re.search(r"^distcnn_stalled\S* 1\.0", scraped[0], re.M)
    assert Notice("The run goes on") in heard or len(regions) == 5
