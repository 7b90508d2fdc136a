import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from simple_survey import LABELS, build_survey

from distcnn.config import (
    AugmentConfig,
    DistilConfig,
    NetworkConfig,
    QualityConfig,
    SplitConfig,
    StackingConfig,
    StudentConfig,
    TrainConfig,
)
from distcnn.errors import FingerprintMismatch, GridMismatch, PlanRefused, TrainingError
from distcnn.events import Advanced, StageStarted
from distcnn.executor import SerialExecutor
from distcnn.inference.engines import select_engine
from distcnn.model import Ensemble, Package
from distcnn.report.text.inspect import describe
from distcnn.survey import Store
from distcnn.training import Split, assign_split, distil_package, train_package
from distcnn.training.data.labelled import read_labelled
from distcnn.training.distillation import student
from distcnn.training.distillation.student import distillation_rows
from distcnn.training.partial import locked

QUALITY = QualityConfig(novelty_components=4)
SPLIT = SplitConfig(train=0.6, validation=0.15, calibration=0.15)
SHORT = DistilConfig(network=StudentConfig(width=16, hidden=16), epochs=3, batch=64)


@pytest.fixture(scope="module")
def place(tmp_path_factory, survey):
    """A folder with an ensemble that has learned something, and a student of it."""
    folder = tmp_path_factory.mktemp("distil")
    config = TrainConfig(
        members=3,
        epochs=12,
        batch=64,
        learning_rate=0.01,
        network=NetworkConfig(width=16, hidden=32),
        split=SPLIT,
        augment=AugmentConfig(noise=0.5),
        stacking=StackingConfig(methods=()),  # more than so small a student can follow
    )
    train_package(survey, folder / "package", config, QUALITY, executor=SerialExecutor())
    distil(folder, survey, "small", SHORT)
    return folder


@pytest.fixture(scope="module")
def learned(place, survey):
    """A student that had time to learn."""
    longer = {"epochs": 40, "learning_rate": 0.01, "network": StudentConfig(width=16, hidden=64)}
    return distil(place, survey, "learned", SHORT.model_copy(update=longer))


def distil(folder, survey, name, config=SHORT, *, package="package", **more):
    places = (folder / package, folder / name, survey)
    return distil_package(
        *places, config, QUALITY, executor=more.pop("executor", SerialExecutor()), **more
    )


def bytes_of(package):
    files = (path for path in sorted(package.rglob("*")) if path.is_file())
    return {str(path.relative_to(package)): path.read_bytes() for path in files}


def test_a_student_is_a_package_that_every_engine_reproduces(place, survey):
    package = Package.load(place / "small")
    assert package.student
    assert package.size == 1
    assert package.labels == LABELS
    assert package.manifest.distilled.teacher == Package.load(place / "package").digest
    assert package.fixtures()[1].shape[0] == 2
    test = read_labelled(Store.open(survey), package.spec, SPLIT, Split.TEST)
    right = Ensemble(package).predict(test.inputs)
    assert (right.scatter > 0).all()
    for engine in ("eager", "torchscript", "joint"):
        ensemble, choice = select_engine(package, test.inputs, engine=engine, precision="float32")
        assert choice.chosen.rms < 1e-3
        for found, wanted in zip(ensemble.predict(test.inputs), right, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_openvino_runs_a_student(place, survey):
    pytest.importorskip("openvino")
    package = Package.load(place / "small")
    stars = read_labelled(Store.open(survey), package.spec, SPLIT, Split.TEST).inputs
    ensemble, _ = select_engine(package, stars, engine="openvino", precision="float32")
    right = Ensemble(package).predict(stars)
    np.testing.assert_allclose(ensemble.predict(stars).scatter, right.scatter, rtol=1e-3)


def test_rows_of_a_student_are_noise_and_scatter_of_one_label(place, survey):
    package = Package.load(place / "small")
    stars = read_labelled(Store.open(survey), package.spec, SPLIT, Split.TEST).inputs
    mean, sigma, correlation = Ensemble(package).outputs(stars.tensors())
    found = Ensemble(package).predict(stars)
    assert torch.equal(mean[0], mean[1])
    np.testing.assert_array_equal(found.label, mean[0])
    np.testing.assert_array_equal(found.noise, sigma[0])
    np.testing.assert_array_equal(found.scatter, sigma[1])
    np.testing.assert_array_equal(found.correlation[:, 2], correlation[0][:, 2, 1])


def test_the_student_answers_as_its_ensemble(place, survey, learned):
    package, small = Package.load(place / "package"), Package.load(place / "learned")
    test = read_labelled(Store.open(survey), package.spec, SPLIT, Split.TEST)
    theirs, ours = (Ensemble(each).predict(test.inputs) for each in (package, small))
    error = np.hypot(theirs.noise, theirs.scatter)
    apart = np.sqrt(np.square((ours.label - theirs.label) / error).mean(axis=0))
    assert (apart < 0.6).all()
    assert (np.abs(np.log(ours.noise / theirs.noise)).mean(axis=0) < 0.3).all()
    assert (np.abs(np.log(ours.scatter / theirs.scatter)).mean(axis=0) < 0.8).all()
    # Whoever has neither spectrum nor colours is known least, and the student says so too.
    hidden = test.inputs.without("xp", "astrometry")
    grown = np.median(Ensemble(package).predict(hidden).noise / theirs.noise, axis=0)
    found = np.median(Ensemble(small).predict(hidden).noise / ours.noise, axis=0)
    assert np.argmax(grown) == np.argmax(found)


def test_the_price_is_that_of_the_test_stars(place, survey, learned):
    package, small = Package.load(place / "package"), Package.load(place / "learned")
    assert learned.agreement == small.evaluation["price"]
    test = read_labelled(Store.open(survey), package.spec, SPLIT, Split.TEST)
    assert learned.agreement["stars"] == len(test)
    theirs, ours = (Ensemble(each).predict(test.inputs).label for each in (package, small))
    for k, row in enumerate(learned.agreement["labels"]):
        std, std_teacher = (np.nanstd((each - test.label)[:, k]) for each in (ours, theirs))
        assert row["label"] == LABELS[k]
        assert row["std"] == pytest.approx(std, rel=1e-3)
        assert row["ratio"] == pytest.approx(std / std_teacher, rel=1e-3)
        assert 0 < row["apart"] < 1
        assert 0.4 < row["within_68"] < 0.95
    flags = {row["flag"]: row for row in learned.agreement["flags"]}
    assert flags["NO_XP"]["both"] == flags["NO_XP"]["teacher"] > 0


def test_the_product_says_from_what_it_was_made_and_what_it_costs(place, learned):
    text = describe(place / "learned")
    assert "a student of an ensemble of 3 members for teff, logg, mh" in text
    assert Package.load(place / "package").digest in text
    assert "agreement of the student with its ensemble" in text
    assert "hybrid" in text
    assert "student" not in describe(place / "package")


def test_stars_held_back_for_judging_do_not_touch_the_student(tmp_path, place, simple):
    """Poison in every value of the test split leaves the package as it was, to the bit."""
    gone = assign_split(simple["source_id"], SPLIT) == Split.TEST
    gone &= np.isfinite(simple["label"]).any(axis=1)
    poisoned = {name: simple[name].copy() for name in simple}
    poisoned["label"][gone] += 1000
    for name in ("flux", "xp", "photometry", "parallax"):
        poisoned[name][np.flatnonzero(gone)[::2]] += 1000
    other = build_survey(tmp_path / "poisoned.zarr", poisoned)
    distil(place, other, "of_poisoned")
    clean, found = bytes_of(place / "small"), bytes_of(place / "of_poisoned")
    assert clean.pop("evaluation.json") != found.pop("evaluation.json")
    assert clean == found


def test_calibration_stars_move_its_errors_and_not_its_weights(tmp_path, place, simple):
    held = assign_split(simple["source_id"], SPLIT) == Split.CALIBRATION
    held &= np.isfinite(simple["label"]).any(axis=1)
    label = simple["label"].copy()
    label[held] += np.array([200, 0.5, 0.3])
    distil(place, build_survey(tmp_path / "moved.zarr", simple | {"label": label}), "of_moved")
    clean, found = bytes_of(place / "small"), bytes_of(place / "of_moved")
    weights = "members/member_00.safetensors"
    assert clean[weights] == found[weights]
    assert clean["quality.safetensors"] != found["quality.safetensors"]


def test_it_learns_from_unlabelled_stars_and_training_stars_alone(survey, simple):
    rows = distillation_rows(Store.open(survey), SPLIT, 10**6)
    labelled = np.isfinite(simple["label"]).any(axis=1)
    part = assign_split(simple["source_id"], SPLIT)
    np.testing.assert_array_equal(rows, np.flatnonzero(~labelled | (part == Split.TRAIN)))
    assert not labelled[rows].all()
    some = distillation_rows(Store.open(survey), SPLIT, 100)
    assert len(some) == 100
    assert np.isin(some, rows).all()


def test_an_interrupted_run_goes_on_to_the_same_package(place, survey, monkeypatch):
    whole, append = bytes_of(place / "small"), student.append_progress

    def stop(path, value):
        append(path, value)
        if value["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(student, "append_progress", stop)
    with pytest.raises(KeyboardInterrupt):
        distil(place, survey, "again")
    monkeypatch.undo()
    assert not (place / "again").exists()
    assert (place / "again.partial").exists()
    with pytest.raises(FingerprintMismatch, match="distil"):
        distil(place, survey, "again", SHORT.model_copy(update={"seed": 1}))
    events = []
    distil(place, survey, "again", listener=events.append)
    assert not (place / "again.partial").exists()
    assert next(e for e in events if isinstance(e, StageStarted)).done == 2
    assert sum(e.count for e in events if isinstance(e, Advanced)) == 1
    assert bytes_of(place / "again") == whole


def never(function, items):
    raise AssertionError("nothing is to be trained")


def test_a_finished_student_is_left_as_it_is(place, survey):
    before = bytes_of(place / "small")
    again = distil(place, survey, "small", executor=never)
    assert again.agreement == Package.load(place / "small").evaluation["price"]
    assert bytes_of(place / "small") == before


def test_a_lost_evaluation_is_made_again(place, survey):
    path = place / "small" / "evaluation.json"
    before = path.read_bytes()
    path.unlink()
    distil(place, survey, "small", executor=never)
    assert path.read_bytes() == before


def test_another_package_or_setting_may_not_claim_a_finished_student(place, survey):
    with pytest.raises(FingerprintMismatch, match="distil"):
        distil(place, survey, "small", SHORT.model_copy(update={"epochs": 4}))


def test_another_survey_may_not_claim_a_finished_student(tmp_path, place, simple):
    flux = simple["flux"].copy()
    flux[~np.isfinite(simple["label"]).any(axis=1)] += 0.1
    other = build_survey(tmp_path / "other.zarr", simple | {"flux": flux})
    with pytest.raises(FingerprintMismatch, match="unlabelled"):
        distil(place, other, "small")


def test_more_stars_than_memory_are_streamed(place, survey):
    config = SHORT.model_copy(update={"memory": 100_000, "epochs": 1})
    found = distil(place, survey, "streamed", config)
    assert np.isfinite(found.validation)


def test_what_cannot_be_distilled_is_told_why(tmp_path, place, survey, simple):
    with pytest.raises(TrainingError, match="is a student already"):
        distil(place, survey, "x", package="small")
    with pytest.raises(TrainingError, match="has 10 stars to learn from"):
        distil(place, survey, "x", SHORT.model_copy(update={"stars": 10}))
    longer = build_survey(tmp_path / "longer.zarr", simple, repeat=2)
    with pytest.raises(GridMismatch):
        distil(place, longer, "x")
    lacking = build_survey(tmp_path / "lacking.zarr", simple, without=("xp",))
    with pytest.raises(TrainingError, match="coefficients 0: expected coefficients 6"):
        distil(place, lacking, "x")
    unlabelled = build_survey(tmp_path / "no.zarr", simple, without=("label", "label_error"))
    with pytest.raises(TrainingError, match="has no label"):
        distil(place, unlabelled, "x")
    with locked(place / "x.partial"), pytest.raises(TrainingError, match="another training works"):
        distil(place, survey, "x")
    assert not list(place.glob("x*"))


def test_a_disk_without_room_is_found_before_the_student_learns(place, survey, monkeypatch):
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(PlanRefused, match="1 kB are free"):
        distil(place, survey, "roomless")
    assert not list(place.glob("roomless*"))


def test_one_member_has_no_scatter_to_teach(tmp_path, survey, config):
    alone = config.model_copy(update={"members": 1, "epochs": 1})
    train_package(survey, tmp_path / "package", alone, QUALITY, executor=SerialExecutor())
    with pytest.raises(TrainingError, match="has one member"):
        distil(tmp_path, survey, "small")


@pytest.mark.parametrize("preset", ["rave2020", "hr15n2023"])
def test_ensembles_of_the_published_networks_can_be_distilled(tmp_path, simple, config, preset):
    survey = build_survey(tmp_path / "s.zarr", simple, repeat=2)
    network = config.network.model_copy(update={"preset": preset})
    teacher = config.model_copy(update={"network": network, "epochs": 1})
    train_package(survey, tmp_path / "package", teacher, QUALITY, executor=SerialExecutor())
    found = distil(tmp_path, survey, "small", SHORT.model_copy(update={"epochs": 1}))
    assert np.isfinite(found.validation)


def test_an_ensemble_without_spectra_can_be_distilled(tmp_path, simple, config):
    survey = build_survey(tmp_path / "s.zarr", simple, without=("flux", "flux_error", "xp"))
    train_package(
        survey,
        tmp_path / "package",
        config.model_copy(update={"epochs": 1}),
        QUALITY,
        executor=SerialExecutor(),
    )
    found = distil(tmp_path, survey, "small", SHORT.model_copy(update={"epochs": 1}))
    assert Ensemble(Package.load(found.package)).parity().rms <= 1e-5


def test_the_command_prints_the_price(place, survey, tmp_path):
    sets = ("distil.epochs=1", "distil.network={width: 16, hidden: 16}", "distil.batch=64")
    words = [sys.executable, "-m", "distcnn", "distil", place / "package", tmp_path / "small"]
    words += ["--survey", survey, "--cluster", "serial"]
    words += [word for text in sets for word in ("--set", text)]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "std against the references, ensemble -> student" in done.stdout
    found = json.loads((tmp_path / "small" / "evaluation.json").read_text())["price"]
    assert {row["label"] for row in found["labels"]} == set(LABELS)
