"""Runs that go on where another ended, and what may not continue one."""

import shutil
import subprocess
import sys

import pytest

from distcnn.config import PredictConfig
from distcnn.errors import (
    FingerprintMismatch,
    PlanRefused,
)
from distcnn.events import RegionStored
from distcnn.inference import discard_unfinished, verify
from distcnn.inference.prediction_store import SETTINGS_WITHOUT_EFFECT
from distcnn.survey import Ledger, Store
from tests.inference.small import (
    CONFIG,
    go,
    make_package,
    make_survey,
    recorded,
)


def test_regions_missing_from_the_ledger_are_computed_again_to_the_same_bits(made, done):
    path = done / "predictions.zarr" / ".distcnn" / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[3:4]) + lines[4][:30])
    heard = []
    summary = go(done, listener=heard.append)
    assert summary.resumed == 1
    assert heard[0].done == 32
    assert recorded(done) == recorded(made)


OTHER_SETTINGS = {
    **{"batch": 8, "gpu_batch": 8, "engine": "eager", "precision": "auto"},
    **{"device": "cpu", "parity": 0.02, "parity_bias": 0.02, "worker_memory": 2_000_000_000},
    **{"accept": ("medium",), "attempts": 5, "verify_sample": 7, "verify_tolerance": 0.1},
}


@pytest.mark.parametrize("name", sorted(set(OTHER_SETTINGS) - set(SETTINGS_WITHOUT_EFFECT)))
def test_other_settings_may_not_continue_a_run(done, name):
    with pytest.raises(FingerprintMismatch, match=f"begun with {name} = "):
        go(done, CONFIG.model_copy(update={name: OTHER_SETTINGS[name]}))


@pytest.mark.parametrize("name", sorted(SETTINGS_WITHOUT_EFFECT))
def test_settings_without_effect_on_the_result_may_differ_when_a_run_is_resumed(done, name):
    assert go(done, CONFIG.model_copy(update={name: OTHER_SETTINGS[name]})).resumed == 5


def test_every_setting_of_prediction_is_tried_in_a_resumed_run():
    assert set(OTHER_SETTINGS) == set(PredictConfig.model_fields)


def first_version(folder):
    """Turn predictions into those of the first version of the fingerprint, one region short."""
    store = Store.open(folder / "predictions.zarr")
    kept = ("survey", "package", "engine", "precision", "batch", "gpu_batch", "distcnn", "torch")
    fingerprint = {name: store.attrs["fingerprint"][name] for name in kept}
    done = dict(Ledger.read(store.private / "ledger.jsonl").done.items())
    (store.private / "ledger.jsonl").remove()
    ledger = Ledger.open(store.private / "ledger.jsonl", fingerprint)
    for name in sorted(done)[:-1]:
        ledger.record(name, **done[name])
    store.annotate({"fingerprint": fingerprint, "complete": False})


def test_predictions_of_the_first_version_are_resumed_and_verified(made, done):
    first_version(done)
    config = CONFIG.model_copy(update={"parity": 0.02})  # was no part of their fingerprint
    assert go(done, config).resumed == 4
    assert recorded(done) == recorded(made)
    assert verify(done / "predictions.zarr", CONFIG).regions == 5
    assert "version" not in Store.open(done / "predictions.zarr").attrs["fingerprint"]


def test_other_settings_may_not_continue_predictions_of_the_first_version(done):
    first_version(done)
    with pytest.raises(FingerprintMismatch, match="begun with batch = 16: expected batch = 8"):
        go(done, CONFIG.model_copy(update={"batch": 8}))


def test_another_package_may_not_continue_a_run(done):
    store = Store.open(done / "survey.zarr")
    make_package(done / "other", store, seed=9)
    with pytest.raises(FingerprintMismatch, match="package = "):
        go(done, package=done / "other")


def test_another_survey_may_not_continue_a_run(done):
    make_survey(done / "other.zarr", seed=6)
    with pytest.raises(FingerprintMismatch, match="survey = "):
        go(done, survey=done / "other.zarr")


def test_a_run_without_ledger_goes_on_only_with_the_same_input(done):
    (done / "predictions.zarr" / ".distcnn" / "ledger.jsonl").unlink()
    with pytest.raises(FingerprintMismatch, match="batch"):
        go(done, CONFIG.model_copy(update={"batch": 8}))
    assert go(done).resumed == 0


def test_a_moved_package_and_survey_are_found_at_their_new_place(done):
    (done / "deep").mkdir()
    for name in ("package", "survey.zarr"):
        shutil.move(done / name, done / "deep" / name)
    go(done, package=done / "deep" / "package", survey=done / "deep" / "survey.zarr")
    assert Store.open(done / "predictions.zarr").attrs["package"]["path"] == "../deep/package"


def test_two_runs_may_not_write_one_store(inputs):
    class SecondRun(Exception):
        pass

    def run_again(event):
        if isinstance(event, RegionStored):
            code = f"""
from pathlib import Path
from distcnn.errors import StoreError
from tests.inference.small import go
try:
    go(Path({str(inputs)!r}))
except StoreError as error:
    print(error.problem)
"""
            printed.append(run_python(code))
            raise SecondRun

    printed = []
    with pytest.raises(SecondRun):
        go(inputs, listener=run_again)
    (problem,) = printed
    assert problem.startswith("predictions.zarr is being written by another run (process ")
    assert go(inputs).resumed == 1


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_run_in_which_nothing_was_stored_does_not_block_the_corrected_command(inputs):
    class Dead:
        workers = 1

        def __call__(self, function, tasks):
            raise PlanRefused("no worker")

    with pytest.raises(PlanRefused):
        go(inputs, executor=Dead())
    assert (inputs / "predictions.zarr").exists()
    other = CONFIG.model_copy(update={"batch": 8})
    assert go(inputs, other).batch == 8


def test_a_run_begun_otherwise_names_the_setting_the_path_and_restart(done):
    store = Store.open(done / "predictions.zarr", "predictions")
    other = CONFIG.model_copy(update={"batch": 8})
    with pytest.raises(FingerprintMismatch) as caught:
        go(done, other)
    assert "restart" not in str(caught.value)  # what is finished is not thrown away
    discard_unfinished(store.path)
    assert store.path.exists()
    store.annotate({"complete": False})
    with pytest.raises(FingerprintMismatch, match=f"--restart removes {store.path}"):
        go(done, other)
    discard_unfinished(store.path)
    assert go(done, other).batch == 8
