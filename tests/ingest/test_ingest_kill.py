"""Ingest that is killed for real, in the middle, ends with the same bits when run again."""

import os
import signal
import sys

import psutil
import pytest

from distcnn.config import SimulateConfig
from distcnn.executor import SerialExecutor
from distcnn.simulate import write_archive
from distcnn.survey import Ledger, Store

SETS = ["--conf", "demo", "--cluster", "serial"]
SETS += ["--set", "ingest.store.chunk_stars=64", "--set", "ingest.store.shard_stars=128"]


def start(archive, survey):
    command = [sys.executable, "-m", "distcnn", "ingest", str(archive), str(survey), *SETS]
    with log_of(survey).open("wb") as log:
        return psutil.Popen(command, stderr=log, start_new_session=True)


def log_of(survey):
    return survey.with_suffix(".log")


def ingest(archive, survey, killing):
    """Begin, or go on, and end well."""
    code = killing(start(archive, survey)).wait()
    assert code in (0, 3), log_of(survey).read_text()


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "archive"
    write_archive(folder, 400, 5, SimulateConfig(stars_per_file=50), executor=SerialExecutor())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("done_before", [2, 5])
def test_ingest_killed_between_files_ends_with_the_same_bits(
    archive, tmp_path, done_before, killing
):
    whole, broken = tmp_path / "whole.zarr", tmp_path / "broken.zarr"
    ingest(archive, whole, killing)
    killed = killing(start(archive, broken))
    parts = tmp_path / "broken.zarr.partial" / "parts.jsonl"
    while lines_of(parts) <= done_before and killed.poll() is None:
        os.sched_yield()
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not broken.exists()
    assert lines_of(parts) < 10
    ingest(archive, broken, killing)
    first, second = (Ledger.read(Store.open(p).private / "ledger.jsonl") for p in (whole, broken))
    assert {k: v["digest"] for k, v in first.done.items()} == {
        k: v["digest"] for k, v in second.done.items()
    }
    assert Store.open(broken).attrs["counts"] == Store.open(whole).attrs["counts"]
    assert not parts.parent.exists()
