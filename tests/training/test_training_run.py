import json
import multiprocessing
import os
import re
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simple_survey import CONDITIONS, LABELS, build_survey

from distcnn.config import NetworkConfig
from distcnn.errors import (
    DigestMismatch,
    FingerprintMismatch,
    PlanRefused,
    StoreError,
    TrainingError,
)
from distcnn.events import Advanced, EpochEnded, Notice, StageEnded, StageStarted
from distcnn.executor import SerialExecutor, TaskResult
from distcnn.model import Ensemble, InputSpec, Package, predict_members
from distcnn.quality import MISSING_MAGNITUDES, Quality
from distcnn.schema import Flag
from distcnn.survey import Store
from distcnn.training import Split, assign_split, discard_unfinished, plan_training, train_package
from distcnn.training.data.labelled import read_labelled, read_stars
from distcnn.training.evaluate import without_magnitudes
from distcnn.training.loop.checkpoint import CHECKPOINT
from distcnn.training.loop.member import WEIGHTS


def train(survey, path, config, quality, *, executor=None, listener=lambda event: None):
    return train_package(
        survey, path, config, quality, executor=executor or SerialExecutor(), listener=listener
    )


def bytes_of(package: Path):
    return {
        str(path.relative_to(package)): path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file()
    }


class Counting:
    """A serial executor that remembers its tasks and may fail at one of them."""

    workers = 1

    def __init__(self, fail=None):
        self.tasks = []
        self.fail = fail

    def __call__(self, function, tasks):
        for task in tasks:
            self.tasks.append(task.number)
            if task.number == self.fail:
                yield TaskResult(task, None, TrainingError("the machine is gone"))
            else:
                yield TaskResult(task, function(task))


class TwoProcesses:
    """A executor over two spawned processes."""

    workers = 2

    def __call__(self, function, tasks):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            waiting = {pool.submit(function, task): task for task in tasks}
            for done in as_completed(waiting):
                yield TaskResult(waiting[done], done.result())


def test_a_survey_becomes_a_package_that_knows_its_stars(tmp_path, survey, config, quality):
    network = config.network.model_copy(update={"width": 32, "hidden": 64})
    config = config.model_copy(
        update={"epochs": 25, "patience": 25, "learning_rate": 0.01, "network": network}
    )
    summary = train(survey, tmp_path / "package", config, quality)
    package = Package.load(tmp_path / "package")
    assert package.digest == summary.digest
    assert package.labels == LABELS
    test = read_labelled(Store.open(survey), package.spec, config.split, Split.TEST)
    prediction = Ensemble(package, "torchscript").predict(test.inputs)
    spread = np.nanstd(test.label, axis=0)
    scatter = np.nanstd(prediction.label - test.label, axis=0)
    assert (scatter < 0.5 * spread).all()
    rows = {row["label"]: row for row in summary.results if row["snr"] == "all"}
    assert rows["teff"]["std"] == pytest.approx(scatter[0], rel=1e-3)
    assert summary.stars["test"] == len(test)
    assert not (tmp_path / "package.partial").exists()


def test_errors_are_wider_for_stars_that_lack_magnitudes(tmp_path, survey, config, quality):
    longer = config.model_copy(update={"epochs": 25, "patience": 25, "learning_rate": 0.01})
    train(survey, tmp_path / "package", longer, quality)
    package = Package.load(tmp_path / "package")
    found = Quality.from_arrays(package.quality_arrays)
    stars = read_labelled(Store.open(survey), package.spec, config.split, Split.CALIBRATION)
    whole, *lacking = (
        _assessed(package, found, stars, inputs)
        for inputs in (stars.inputs, *without_magnitudes(stars.inputs).values())
    )
    assert len(lacking) == len(MISSING_MAGNITUDES)
    for one in lacking:
        assert (one["flags"] & np.uint32(Flag.NO_PHOTOMETRY)).all()
        inside = np.abs(one["label"] - stars.label) <= one["label_error"]
        assert inside[np.isfinite(stars.label)].mean() > 0.55
    error = [np.median(one["label_error"], axis=0) for one in (whole, *lacking)]
    assert (np.max(error[1:], axis=0) > 1.2 * error[0]).any()


def _assessed(package, quality, stars, inputs):
    """Labels and what quality says of them, of the stars with other inputs."""
    found = predict_members(package.networks(), inputs)
    given = replace(stars, inputs=inputs).for_quality()
    return {"label": found.label} | quality.assess(given, found.label, found.noise, found.scatter)


def test_surveys_whose_stars_often_lack_magnitudes_are_calibrated_as_they_are(simple, tmp_path):
    store = Store.open(build_survey(tmp_path / "s.zarr", simple))
    spec = InputSpec.of_survey(store, NetworkConfig())
    stars = read_stars(store, spec, np.arange(100)).inputs
    bands = stars["photometry"].copy()
    bands[:11, 1] = np.nan
    assert without_magnitudes(stars.replaced(photometry=bands)) == {}
    hidden = without_magnitudes(stars)
    counts = {name: np.isnan(one["photometry"]).sum(axis=1) for name, one in hidden.items()}
    assert [set(counts[name]) for name in MISSING_MAGNITUDES] == [{1}, {bands.shape[1] - 1}, {1}]


def test_the_manifest_says_from_what_and_how_it_was_made(tmp_path, survey, config, quality):
    train(survey, tmp_path / "package", config, quality)
    package = Package.load(tmp_path / "package")
    manifest = package.manifest
    origin = {"survey": "simple", "release": "test", "inputs": "none"}
    assert manifest.to_json()["survey"] == origin | CONDITIONS
    assert manifest.split.train == config.split.train
    assert set(manifest.split.source_id) == {"train", "validation", "calibration", "test"}
    assert manifest.train["batch"] == config.batch
    assert len({member.seed for member in manifest.members}) == config.members
    assert all(len(curve["epochs"]) == config.epochs for curve in package.curves)
    assert {row["label"] for row in manifest.coverage} == set(LABELS)
    assert all(sigma > 0 for sigma in manifest.label_sigma)
    quality = Quality.from_arrays(package.quality_arrays)
    store = Store.open(survey)
    stars = read_labelled(store, package.spec, config.split, Split.TEST)
    prediction = Ensemble(package).predict(stars.inputs)
    judged = quality.assess(stars.for_quality(), *prediction[:3])
    assert np.isfinite(judged["label_error"]).all()
    assert str(tmp_path) not in json.dumps(manifest.to_json())


def test_one_and_two_processes_give_the_same_package(tmp_path, survey, config, quality):
    train(survey, tmp_path / "one", config, quality)
    train(survey, tmp_path / "two", config, quality, executor=TwoProcesses())
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_poisoned_test_labels_leave_the_package_as_it_was(
    tmp_path, simple, survey, config, quality
):
    train(survey, tmp_path / "clean", config, quality)
    label = simple["label"].copy()
    label[assign_split(simple["source_id"], config.split) == Split.TEST] += 1000
    poisoned = build_survey(tmp_path / "poisoned.zarr", simple | {"label": label})
    train(poisoned, tmp_path / "other", config, quality)
    clean, other = bytes_of(tmp_path / "clean"), bytes_of(tmp_path / "other")
    assert clean.pop("evaluation.json") != other.pop("evaluation.json")
    assert clean == other


def test_finished_members_are_not_trained_again(tmp_path, survey, config, quality):
    train(survey, tmp_path / "whole", config, quality)
    with pytest.raises(TrainingError, match="machine is gone"):
        train(survey, tmp_path / "package", config, quality, executor=Counting(fail=1))
    assert not (tmp_path / "package").exists()
    again = Counting()
    train(survey, tmp_path / "package", config, quality, executor=again)
    assert again.tasks == [1]
    assert bytes_of(tmp_path / "package") == bytes_of(tmp_path / "whole")


def test_a_finished_package_is_left_as_it_is(tmp_path, survey, config, quality):
    first = train(survey, tmp_path / "package", config, quality)
    again = Counting()
    second = train(survey, tmp_path / "package", config, quality, executor=again)
    assert not again.tasks
    assert second.digest == first.digest
    assert second.results == first.results


def test_other_settings_may_not_continue_a_run(tmp_path, survey, config, quality):
    with pytest.raises(TrainingError):
        train(survey, tmp_path / "package", config, quality, executor=Counting(fail=1))
    other = config.model_copy(update={"batch": 32})
    with pytest.raises(FingerprintMismatch, match="batch = 64"):
        train(survey, tmp_path / "package", other, quality)


def test_other_settings_may_not_claim_a_finished_package(tmp_path, survey, config, quality):
    train(survey, tmp_path / "package", config, quality)
    with pytest.raises(FingerprintMismatch, match="members = 2"):
        train(survey, tmp_path / "package", config.model_copy(update={"members": 3}), quality)


def test_a_larger_ensemble_takes_over_the_members_there(tmp_path, survey, config, quality):
    with pytest.raises(TrainingError):
        train(survey, tmp_path / "package", config, quality, executor=Counting(fail=1))
    executor = Counting()
    larger = config.model_copy(update={"members": 3})
    summary = train(survey, tmp_path / "package", larger, quality, executor=executor)
    assert executor.tasks == [1, 2]
    assert summary.members == 3


def test_the_worst_members_are_left_out_on_request(tmp_path, survey, config, quality):
    some = config.model_copy(update={"members": 3, "keep": 0.6, "epochs": 2})
    whole = config.model_copy(update={"members": 3, "epochs": 2})
    kept = train(survey, tmp_path / "some", some, quality)
    everyone = train(survey, tmp_path / "whole", whole, quality)
    assert kept.members == 2
    assert sorted(kept.validation) == sorted(everyone.validation)[:2]


def test_changed_weights_of_a_finished_member_are_found(tmp_path, survey, config, quality):
    with pytest.raises(TrainingError):
        train(survey, tmp_path / "package", config, quality, executor=Counting(fail=1))
    path = tmp_path / "package.partial" / "member_00" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DigestMismatch, match="was changed"):
        train(survey, tmp_path / "package", config, quality)


def test_epochs_are_told_while_members_train_and_add_up(tmp_path, survey, config, quality):
    events = []
    early = config.model_copy(update={"epochs": 40, "patience": 1, "learning_rate": 0.05})
    train(survey, tmp_path / "package", early, quality, listener=events.append)
    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageEnded)
    assert sum(event.count for event in events if isinstance(event, Advanced)) == events[0].total
    reported = [event for event in events if isinstance(event, EpochEnded)]
    curves = Package.load(tmp_path / "package").curves
    for curve in curves:
        mine = [event for event in reported if event.member == curve["member"]]
        assert [event.epoch for event in mine] == list(range(1, len(curve["epochs"]) + 1))
        assert [event.validation for event in mine] == [v for _, v in curve["epochs"]]
        assert all(event.stars_per_second > 0 for event in mine)


def _train_until_killed(survey, path, config, quality, after):
    def listener(event):
        if isinstance(event, EpochEnded) and event.epoch >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    train_package(survey, path, config, quality, executor=SerialExecutor(), listener=listener)


def test_a_killed_process_leaves_a_run_that_ends_in_the_same_package(
    tmp_path, survey, config, quality
):
    longer = config.model_copy(update={"epochs": 20, "patience": 20, "members": 1})
    process = multiprocessing.get_context("spawn").Process(
        target=_train_until_killed, args=(survey, tmp_path / "package", longer, quality, 3)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    partial = tmp_path / "package.partial" / "member_00"
    assert (partial / CHECKPOINT).exists()
    assert not (tmp_path / "package").exists()
    events = []
    train(survey, tmp_path / "package", longer, quality, listener=events.append)
    assert events[0].done >= 3
    assert sum(e.count for e in events if isinstance(e, Advanced)) == 20 - events[0].done
    train(survey, tmp_path / "undisturbed", longer, quality)
    assert bytes_of(tmp_path / "package") == bytes_of(tmp_path / "undisturbed")


def test_what_is_no_survey_is_refused(tmp_path, config, quality):
    with pytest.raises(StoreError):
        train(tmp_path, tmp_path / "package", config, quality)


@pytest.mark.parametrize("preset", ["rave2020", "hr15n2023"])
def test_the_published_networks_train_too(tmp_path, simple, config, quality, preset):
    # Two copies side by side make spectra long enough for three convolutions without padding.
    survey = build_survey(tmp_path / "s.zarr", simple, repeat=2)
    network = config.network.model_copy(update={"preset": preset})
    settings = config.model_copy(update={"network": network, "members": 1, "epochs": 2})
    summary = train(survey, tmp_path / "package", settings, quality)
    assert np.isfinite(summary.validation).all()
    assert Ensemble(Package.load(tmp_path / "package")).parity().rms <= 1e-5


def test_a_survey_of_photometry_alone_trains_without_spectra(tmp_path, simple, config, quality):
    survey = build_survey(tmp_path / "s.zarr", simple, without=("flux", "flux_error", "xp"))
    settings = config.model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.01})
    summary = train(survey, tmp_path / "package", settings, quality)
    teff = next(row for row in summary.results if row["label"] == "teff")
    assert teff["std"] < 250


def test_a_training_in_which_nothing_was_trained_does_not_block_the_corrected_command(
    tmp_path, survey, config, quality
):
    with pytest.raises(TrainingError, match="the machine is gone"):
        train(survey, tmp_path / "package", config, quality, executor=Counting(fail=0))
    # The second member was trained: now another setting is refused, with the way out.
    other = config.model_copy(update={"epochs": 2})
    with pytest.raises(FingerprintMismatch) as caught:
        train(survey, tmp_path / "package", other, quality)
    assert "epochs = 4: expected epochs = 2" in str(caught.value)
    assert f"--restart removes {tmp_path / 'package.partial'}" in str(caught.value)
    discard_unfinished(tmp_path / "package")
    one = other.model_copy(update={"members": 1})
    with pytest.raises(TrainingError, match="the machine is gone"):
        train(survey, tmp_path / "package", one, quality, executor=Counting(fail=0))
    again = one.model_copy(update={"epochs": 1})
    assert train(survey, tmp_path / "package", again, quality).members == 1


def test_a_label_without_values_is_found_before_training_begins(tmp_path, simple, config, quality):
    arrays = {**simple, "label": simple["label"].copy()}
    arrays["label"][:, 2] = np.nan
    survey = build_survey(tmp_path / "survey.zarr", arrays)
    counting = Counting()
    with pytest.raises(TrainingError, match=r"in train has a value of mh.*labels=\[teff, logg\]"):
        train(survey, tmp_path / "package", config, quality, executor=counting)
    with pytest.raises(TrainingError, match="has a value of mh"):
        plan_training(survey, tmp_path / "package", config, workers=1)
    assert counting.tasks == []
    assert not (tmp_path / "package.partial").exists()


def test_a_label_that_too_few_stars_calibrate_is_named(tmp_path, simple, config, quality):
    arrays = {**simple, "label": simple["label"].copy()}
    held_out = assign_split(arrays["source_id"], config.split) == Split.CALIBRATION
    known = np.flatnonzero(held_out & np.isfinite(arrays["label"]).all(axis=1))
    arrays["label"][np.setdiff1d(np.flatnonzero(held_out), known[:12]), 2] = np.nan
    survey = build_survey(tmp_path / "survey.zarr", arrays)
    events = []
    few = config.model_copy(update={"members": 1, "epochs": 1})
    train(survey, tmp_path / "package", few, quality, listener=events.append)
    (warning,) = [e for e in events if isinstance(e, Notice) and e.level == "warning"]
    assert re.match(r"too few calibration stars have mh \(\d+\): at least 20 are", warning.text)


def test_a_disk_without_room_is_found_before_training_begins(
    tmp_path, survey, config, quality, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(PlanRefused, match="1 kB are free"):
        train(survey, tmp_path / "package", config, quality)
    assert not (tmp_path / "package.partial").exists()
