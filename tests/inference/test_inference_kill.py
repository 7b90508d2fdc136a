"""Processes are really killed (SIGKILL), and the same command again gives the same bits."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from distcnn.inference import verify
from distcnn.survey import Region, Store
from tests.conftest import end_family
from tests.inference.small import CONFIG, STARS, recorded

LIMIT_S = 900.0
"""Longest wait for another process, on a machine that is busy with other things."""


def killed(*arguments, code=0):
    """Run a script of ``killed.py``; returns what it printed."""
    runner = psutil.Popen(
        [sys.executable, "-m", "tests.inference.killed", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        output, errors = runner.communicate(timeout=LIMIT_S)
    finally:
        if runner.returncode is None:
            end_family(runner)
    assert runner.returncode == code, errors
    return output.strip()


def assert_undisturbed(folder, made):
    """The same digests as a run that nobody killed, and every star once."""
    assert recorded(folder) == recorded(made)
    store = Store.open(folder / "predictions.zarr")
    assert {r.name: store.digest(r) for r in store.regions()} == recorded(made)
    ids = [s.read(Region(0, STARS), ["source_id"])["source_id"] for s in (store, survey_of(made))]
    assert np.array_equal(*ids)
    assert verify(folder / "predictions.zarr", CONFIG).failed == 0
    assert not list(folder.rglob("*.partial"))


def survey_of(folder):
    return Store.open(folder / "survey.zarr")


def test_a_run_killed_at_any_moment_again_and_again_ends_with_the_same_bits(made, inputs):
    lives = int(killed("again", inputs, 3))
    assert lives > 4
    assert_undisturbed(inputs, made)


def test_elements_of_an_array_killed_at_any_moment_end_with_the_same_bits(made, inputs):
    lives = int(killed("array", inputs, 5))
    assert lives > 6
    assert_undisturbed(inputs, made)
    private = inputs / "predictions.zarr" / ".distcnn"
    assert not list(private.glob("ledger.*-of-*"))


@pytest.mark.slow
def test_a_client_killed_over_two_workers_is_continued_by_one(made, inputs):
    killed("client", inputs, code=-signal.SIGKILL)
    orphans = json.loads((inputs / "workers.json").read_text())
    alive = [psutil.Process(pid) for pid in orphans if psutil.pid_exists(pid)]
    assert len(recorded(inputs)) == 2
    assert killed("run", inputs, 1) == "2"
    assert_undisturbed(inputs, made)
    _, left = psutil.wait_procs(alive, timeout=LIMIT_S)
    assert left == []


@pytest.mark.slow
def test_a_worker_killed_while_it_stores_a_region_costs_nothing(made, inputs):
    assert killed("worker", inputs) == "0"
    assert (inputs / "marker").exists()
    assert_undisturbed(inputs, made)
