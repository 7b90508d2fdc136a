"""A plan of ``predict`` names its numbers, and what cannot finish is refused before it begins."""

import shutil

import pytest

from distcnn.errors import PlanRefused
from distcnn.executor import ExpectedWorkers, SerialExecutor
from distcnn.inference import plan, predict
from distcnn.inference.batching import Batching
from distcnn.survey import Store
from tests.inference.small import CONFIG, STARS, go


def test_a_plan_names_the_numbers_and_changes_nothing(inputs):
    before = sorted(inputs.rglob("*"))
    two = ExpectedWorkers(2, memory=4_000_000_000)
    paths = inputs / "package", inputs / "survey.zarr", inputs / "predictions.zarr"
    made = plan(*paths, CONFIG, lambda: two)
    assert sorted(inputs.rglob("*")) == before
    text = str(made)
    assert "150 stars" in text
    assert "5: 0 done, 5 waiting" in text
    assert "2 members, teff, logg, mh" in text
    assert "auto (the fastest that reproduces the package), batches of 16" in text
    # 8 + 2 x 8 + 3 x 4 + 8 x 3 x 4 + 2 x 3 x 2 + 2 x 4 + 4 + 1 bytes a star
    assert made.bytes_to_write == STARS * 160
    assert 0 < made.bytes_to_read < 200_000
    assert made.workers == 2
    assert "4 GB there" in text
    made.check()


def test_a_plan_counts_what_is_done(done):
    path = done / "predictions.zarr" / ".distcnn" / "ledger.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    made = plan(done / "package", done / "survey.zarr", done / "predictions.zarr", CONFIG)
    assert (made.done, made.waiting, made.stars_waiting) == (2, 3, STARS - 64)


def test_a_plan_without_room_on_disk_is_refused_before_anything_is_made(inputs, monkeypatch):
    usage = shutil.disk_usage(inputs)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(PlanRefused, match=r"24 kB to write, 10 kB free"):
        go(inputs)
    assert not (inputs / "predictions.zarr").exists()


def test_a_plan_that_needs_more_memory_than_allowed_is_refused(inputs):
    config = CONFIG.model_copy(update={"worker_memory": 100_000_000})
    with pytest.raises(PlanRefused, match=r"resources\.planned_memory allows 100 MB"):
        go(inputs, config)
    made = plan(inputs / "package", inputs / "survey.zarr", inputs / "predictions.zarr", config)
    assert "refused" in str(made)


def test_a_plan_that_needs_more_memory_than_a_worker_gets_is_refused(inputs):
    paths = inputs / "package", inputs / "survey.zarr", inputs / "predictions.zarr"
    small = ExpectedWorkers(2, memory=100_000_000)
    with pytest.raises(PlanRefused, match=r"a worker may need .* MB, it gets 100 MB"):
        plan(*paths, CONFIG, lambda: small).check()


def test_a_run_fits_its_batches_to_the_memory_of_the_workers_as_its_plan_does(inputs):
    config = CONFIG.model_copy(update={"batch": 100_000})
    paths = inputs / "package", inputs / "survey.zarr", inputs / "predictions.zarr"
    memory = plan(*paths, config, lambda: ExpectedWorkers(1)).memory_needed - 1_000_000
    fitted = plan(*paths, config, lambda: ExpectedWorkers(1, memory)).batching
    predict(*paths, config, executor=SerialExecutor(), memory=memory)
    assert Batching.of_store(Store.open(paths[2])) == fitted
    assert fitted.batch < 100_000


def test_a_plan_asks_for_no_workers_when_all_is_done(done):
    def no_workers():
        raise AssertionError("a finished store needs no workers")

    made = plan(
        done / "package", done / "survey.zarr", done / "predictions.zarr", CONFIG, no_workers
    )
    assert "none is needed" in str(made)


def test_a_finished_store_needs_no_room(done, monkeypatch):
    usage = shutil.disk_usage(done)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert go(done).stars == STARS
