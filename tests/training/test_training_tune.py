import csv
import shutil
import signal
import subprocess
import sys
from itertools import islice

import pytest
import yaml
from simple_survey import build_survey

from distcnn import pipeline
from distcnn.config import Config, Range, TuneConfig, load_config
from distcnn.errors import (
    ClusterError,
    ConfigError,
    FingerprintMismatch,
    MissingExtra,
    PlanRefused,
    TrainingError,
    UsageError,
)
from distcnn.events import Advanced, Notice, StageEnded, StageStarted
from distcnn.executor import SerialExecutor, TaskResult
from distcnn.training import Split, assign_split
from distcnn.training.tuning.optuna_study import JOURNAL, AskTellStudy
from distcnn.training.tuning.study import overridden, tuned_hyperparameters
from distcnn.training.tuning.tune import look, tune


@pytest.fixture
def settings():
    return TuneConfig(
        trials=3,
        epochs=2,
        learning_rate=Range(low=1e-3, high=2e-2, log=True),
        weight_decay=None,
        batch=(64, 128),
        dropout=None,
        width=(8, 16),
        hidden=None,
        noise=None,
    )


def run(survey, study, config, settings, *, executor=None, heard=lambda event: None):
    return tune(
        survey, study, config, settings, executor=executor or SerialExecutor(), listener=heard
    )


def outcomes(study):
    """What must be the same wherever and however a study runs."""
    return [(t.params, t.value) for t in study.trials if t.state == "complete"]


class Failing:
    """A serial executor in which the trial of one number fails, or the driver itself."""

    workers = 1

    def __init__(self, number, error, driver=False):
        self.number, self.error, self.driver = number, error, driver

    def __call__(self, function, items):
        for item in items:
            if item.number != self.number:
                yield TaskResult(item, function(item))
            elif self.driver:
                raise self.error
            else:
                yield TaskResult(item, None, self.error)


class Ahead:
    """Takes two items before it runs the first: what two workers do."""

    workers = 2

    def __call__(self, function, items):
        taken, items = [], iter(items)
        while True:
            taken += islice(items, 2 - len(taken))
            if not taken:
                return
            item = taken.pop(0)
            yield TaskResult(item, function(item))


@pytest.fixture(scope="module")
def whole(survey, tmp_path_factory):
    """Makes the study that nothing disturbed, once."""
    made = {}

    def make(config, settings):
        if not made:
            made[0] = run(survey, tmp_path_factory.mktemp("whole"), config, settings)
        return made[0]

    return make


def test_trials_are_tried_and_told(tmp_path, survey, config, settings):
    events = []
    study = run(survey, tmp_path / "study", config, settings, heard=events.append)
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    assert study.trials[0].params == {
        "learning_rate": config.learning_rate,
        "batch": 64,
        "width": 16,
    }
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 3
    assert study.best.value == min(trial.value for trial in study.trials)
    assert study.best_settings() == overridden(config, study.best.params)
    assert study.best_settings().epochs == config.epochs
    assert isinstance(events[1], StageStarted)
    assert sum(isinstance(event, Advanced) for event in events) == 3
    assert any("trial 0: validation" in e.text for e in events if isinstance(e, Notice))
    assert isinstance(events[-1], StageEnded)
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == [
        "journal.jsonl",
        "ledger.jsonl",
        "lock",
        "trials.csv",
    ]
    with (tmp_path / "study" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["validation"]) for row in rows] == [t.value for t in study.trials]
    assert rows[1]["width"] in ("8", "16")


def test_the_same_command_again_does_nothing_and_more_trials_go_on(
    tmp_path, survey, config, settings, whole
):
    two = settings.model_copy(update={"trials": 2})
    run(survey, tmp_path / "study", config, two)
    journal = (tmp_path / "study" / JOURNAL).read_bytes()
    run(survey, tmp_path / "study", config, two)
    again = (tmp_path / "study" / JOURNAL).read_bytes()
    assert again.count(b"\n") == journal.count(b"\n") + 1  # that the study is opened
    study = run(survey, tmp_path / "study", config, settings)
    assert outcomes(study) == outcomes(whole(config, settings))


def test_labels_of_test_and_calibration_stars_do_not_matter(
    tmp_path, simple, config, settings, whole
):
    label = simple["label"].copy()
    part = assign_split(simple["source_id"], config.split)
    label[(part == Split.TEST) | (part == Split.CALIBRATION)] += 1000
    poisoned = build_survey(tmp_path / "poisoned.zarr", simple | {"label": label})
    study = run(poisoned, tmp_path / "study", config, settings)
    assert outcomes(study) == outcomes(whole(config, settings))
    label[part == Split.VALIDATION] += 1000
    judged = build_survey(tmp_path / "judged.zarr", simple | {"label": label})
    first = settings.model_copy(update={"trials": 1})
    assert outcomes(run(judged, tmp_path / "other", config, first))[0] != outcomes(study)[0]


def test_a_driver_that_is_stopped_goes_on_as_if_it_had_not_been(
    tmp_path, survey, config, settings, whole
):
    executor = Failing(1, KeyboardInterrupt(), driver=True)
    with pytest.raises(KeyboardInterrupt):
        run(survey, tmp_path / "study", config, settings, executor=executor)
    before = look(survey, tmp_path / "study", config, settings)
    assert [trial.state for trial in before.trials] == ["complete", "running"]
    with (tmp_path / "study" / JOURNAL).open("a") as stream:
        stream.write('{"op_code": 6, "work')  # killed in the middle of a line
    study = run(survey, tmp_path / "study", config, settings)
    assert [trial.state for trial in study.trials] == ["complete", "failed"] + ["complete"] * 2
    assert study.trials[2].params == study.trials[1].params
    assert outcomes(study) == outcomes(whole(config, settings))


def test_a_trial_whose_worker_died_is_asked_anew_by_the_next_run(
    tmp_path, survey, config, settings, whole
):
    error = ClusterError("the worker died 3 times")
    study = run(survey, tmp_path / "study", config, settings, executor=Failing(1, error))
    assert study.error is error
    assert [trial.state for trial in study.trials] == ["complete", "failed", "complete"]
    again = run(survey, tmp_path / "study", config, settings)
    assert again.error is None
    assert again.trials[3].params == study.trials[1].params
    assert again.trials[3].state == "complete"
    # Known to the undisturbed study, too, though the order of telling was another one.
    assert again.trials[3].value == outcomes(whole(config, settings))[1][1]
    assert not (tmp_path / "study" / "work").exists()


def test_settings_with_which_training_diverges_are_not_asked_again(
    tmp_path, survey, config, settings
):
    heard = []
    executor = Failing(2, TrainingError("the loss of epoch 1 is nan"))
    study = run(survey, tmp_path / "study", config, settings, executor=executor, heard=heard.append)
    assert [trial.state for trial in study.trials] == ["complete", "complete", "diverged"]
    assert study.error is None
    assert any("loss of epoch 1 is nan" in e.text for e in heard if isinstance(e, Notice))
    again = run(survey, tmp_path / "study", config, settings, executor=Failing(None, None))
    assert len(again.trials) == 3


def test_trials_that_run_at_the_same_time_differ(tmp_path, survey, config, settings):
    settings = settings.model_copy(update={"trials": 4})
    study = run(survey, tmp_path / "study", config, settings, executor=Ahead())
    assert len(study.finished) == 4
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 4


def test_killed_for_real_it_goes_on_and_the_best_trains(
    tmp_path, survey, config, settings, whole, quality
):
    wanted = whole(config, settings)
    study, conf = tmp_path / "study", tmp_path / "conf.yaml"
    sections = {"train": config, "tune": settings, "quality": quality}
    tree = {name: part.model_dump(mode="json") for name, part in sections.items()}
    conf.write_text(yaml.safe_dump(tree))
    words = ["tune", survey, study, "--conf", conf, "--cluster", "serial"]
    command = [sys.executable, "-m", "distcnn", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        heard = next((line for line in driver.stderr if "trial 0: validation" in line), "")
        driver.kill()
    assert heard
    assert driver.returncode == -signal.SIGKILL
    chosen = load_config(conf, ["cluster.backend=serial"])
    done = pipeline.tune_survey(survey, study, chosen)
    assert outcomes(done) == outcomes(wanted)
    best = load_config(study / "best.yaml", ["train.epochs=1", "train.members=1"])
    assert best.train.learning_rate == done.best.params["learning_rate"]
    assert best.quality == chosen.quality
    assert (study / "trials.png").read_bytes().startswith(b"\x89PNG")
    summary = pipeline.train_package(survey, tmp_path / "package", best)
    assert summary.members == 1


def test_another_study_is_refused(tmp_path, survey, config, settings):
    one = settings.model_copy(update={"trials": 1})
    run(survey, tmp_path / "study", config, one)
    other = config.model_copy(update={"patience": 1})
    with pytest.raises(FingerprintMismatch, match="patience"):
        run(survey, tmp_path / "study", other, one)
    with pytest.raises(FingerprintMismatch, match="tune"):
        look(survey, tmp_path / "study", config, one.model_copy(update={"seed": 1}))


def test_two_drivers_do_not_share_a_study(tmp_path, survey, config, settings):
    def second(event):
        if isinstance(event, StageStarted):
            with pytest.raises(UsageError, match="another `distcnn tune`"):
                run(survey, tmp_path / "study", config, settings)

    one = settings.model_copy(update={"trials": 1})
    assert run(survey, tmp_path / "study", config, one, heard=second).best is not None


def test_looking_tells_the_hyperparameters_and_what_is_known(tmp_path, survey, config, settings):
    text = str(look(survey, tmp_path / "study", config, settings))
    assert "0 of 3 trials done, 3 to go" in text
    assert "0.001 to 0.02 (logarithmic)  now 0.0042" in text
    assert "not known before the first trial" in text
    assert not (tmp_path / "study").exists()
    run(survey, tmp_path / "study", config, settings.model_copy(update={"trials": 1}))
    text = str(look(survey, tmp_path / "study", config, settings))
    assert "1 of 3 trials done, 2 to go" in text
    assert "s per trial" in text
    assert "best           validation loss" in text


def test_without_optuna_the_extra_is_named(tmp_path, survey, config, settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'distcnn\[tune\]'"):
        run(survey, tmp_path / "study", config, settings)
    assert not (tmp_path / "study").exists()


def test_only_hyperparameters_with_an_effect_are_tuned(config):
    published = config.network.model_copy(update={"preset": "rave2020"})
    assert list(
        tuned_hyperparameters(config.model_copy(update={"network": published}), TuneConfig())
    ) == [
        "learning_rate",
        "weight_decay",
        "batch",
        "noise",
    ]
    blind = config.network.model_copy(update={"spectrum": False})
    assert "noise" not in tuned_hyperparameters(
        config.model_copy(update={"network": blind}), TuneConfig()
    )


def test_hyperparameters_beyond_what_training_takes_are_refused(config):
    with pytest.raises(ConfigError, match=r"tune\.dropout reaches 1\.5: expected input should be"):
        tuned_hyperparameters(config, TuneConfig(dropout=Range(low=0, high=1.5)))
    none = dict.fromkeys(tuned_hyperparameters(config, TuneConfig()))
    with pytest.raises(ConfigError, match="no hyper-parameter is tuned"):
        tuned_hyperparameters(config, TuneConfig(**none))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{low: 2, high: 1}", "low = 2 must be below high = 1"),
        ("{low: 0, high: 1, log: true}", "must be above 0"),
    ],
)
def test_a_range_the_wrong_way_round_is_a_clear_error(text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"tune.noise={text}"])


def test_present_settings_beyond_a_range_are_not_tried(tmp_path, survey, config, settings):
    config = config.model_copy(update={"batch": 32})
    one = settings.model_copy(update={"trials": 1})
    study = run(survey, tmp_path / "study", config, one)
    assert study.trials[0].params["batch"] in (64, 128)


def test_a_disk_without_room_is_found_before_the_first_trial(
    tmp_path, survey, config, settings, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(PlanRefused, match="1 kB are free"):
        run(survey, tmp_path / "study", config, settings)
    assert not (tmp_path / "study").exists()


def test_a_study_needs_a_survey(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        pipeline.look_at_study(tmp_path / "no.zarr", tmp_path / "study", Config())


def test_settings_of_which_only_some_were_chosen_are_chosen_again(tmp_path, config, settings):
    def asked(folder, *, disturbed):
        folder.mkdir()
        study, chosen = AskTellStudy(folder, config, settings), []
        trials = study.ask_all()
        number, _, params = next(trials)
        study.tell(number, 0.7, 1.0)
        if disturbed:  # the process dies between one setting and the next
            half = study.study.ask()
            half.suggest_float("learning_rate", 0.001, 0.02, log=True)
            study = AskTellStudy(folder, config, settings)
            trials = study.ask_all()
        for number, _, params in trials:
            chosen.append(params)
            study.tell(number, 0.6, 1.0)
        return chosen

    whole = asked(tmp_path / "whole", disturbed=False)
    assert len(whole) == 2
    assert asked(tmp_path / "again", disturbed=True) == whole
