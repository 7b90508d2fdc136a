"""Answers are kept in folders, and are the same wherever stars are predicted."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from line_survey import build_survey, spectra

from distcnn.checks import (
    CHECKS,
    CheckInputs,
    RecordedAnswer,
    answers_in,
    choose_checks,
    origin_of,
    run_checks,
    waiting_checks,
)
from distcnn.checks.predictor import PackageSource, _opened
from distcnn.errors import PackageError, UsageError
from distcnn.events import StageEnded
from distcnn.executor import TaskResult
from distcnn.model.devices import worker_threads
from distcnn.model.pixel_noise import NoiseGenerator


class FarExecutor:
    """Workers with nothing but what is sent to them, the last of which is ready first."""

    workers = 2

    def __call__(self, function, tasks):
        for sent in [pickle.dumps((function, task)) for task in tasks][::-1]:
            function, task = pickle.loads(sent)
            yield TaskResult(task, function(task))


@pytest.mark.parametrize("name", ["sensitivity", "velocity", "stability"])
def test_the_numbers_are_the_same_bits_wherever_stars_are_predicted(lines, name):
    given = {"injected_stars": 300, "sensitivity_stars": 2200, "retrained": str(lines.retrained)}
    here, there = lines.inputs(**given), replace(lines.inputs(**given), executor=FarExecutor())
    (check,) = choose_checks([name])
    with worker_threads():
        mine = check.answer(here)
    theirs = check.answer(there)
    assert mine.rows == theirs.rows
    assert mine.tables == theirs.tables


def test_a_package_that_was_changed_under_the_workers_is_refused(lines):
    source = PackageSource(str(lines.sound), "0" * 64, ())
    with pytest.raises(PackageError, match="has changed"):
        _opened(source)


class TestRun:
    NAMES = ("halo", "external")

    def test_answers_are_folders_and_the_same_command_keeps_them(self, lines, tmp_path):
        inputs, events = lines.inputs(), []
        checked = run_checks(inputs, tmp_path / "out", self.NAMES, events.append)
        assert checked.failed == 0
        assert "halo: undecided. Are the labels of halo stars right" in str(checked)
        assert str(checked).endswith(" undecided.")
        assert [event.stage for event in events if isinstance(event, StageEnded)] == ["check"]
        folder = tmp_path / "out" / "halo"
        files = {path.name for path in folder.iterdir()}
        assert files == {"answer.json", "table.ecsv", "figure.png", "figure.pdf", "figure.svg"}
        held = json.loads((folder / "answer.json").read_text())
        assert held["verdict"] == "undecided"
        assert held["origin"]["package"] == inputs.package.digest
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        again = run_checks(inputs, tmp_path / "out", self.NAMES)
        assert again.answers == checked.answers == answers_in(tmp_path / "out")[::-1]
        assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def test_those_without_an_answer_of_this_origin_are_waiting(self, lines, tmp_path):
        inputs = lines.inputs()
        origin = origin_of(inputs)
        run_checks(inputs, tmp_path, ["external"], origin=origin)
        assert [c.name for c in waiting_checks(tmp_path, self.NAMES, origin)] == ["halo"]
        with pytest.raises(UsageError, match="with another version"):
            waiting_checks(tmp_path, self.NAMES, origin | {"version": "0"})

    def test_answers_of_another_package_are_refused(self, lines, tmp_path):
        run_checks(lines.inputs(), tmp_path, ["external"])
        with pytest.raises(UsageError, match="with another package"):
            run_checks(lines.inputs("retrained"), tmp_path, ["external"])

    def test_a_wrong_name_is_told_before_any_work(self):
        with pytest.raises(UsageError, match="Did you mean 'halo'"):
            choose_checks(["haloo"])
        assert choose_checks(["all"]) == CHECKS

    def test_a_damaged_answer_is_told(self, lines, tmp_path):
        run_checks(lines.inputs(), tmp_path, ["external"])
        (tmp_path / "external" / "answer.json").write_text("{")
        with pytest.raises(Exception, match="holds no answer of a check"):
            RecordedAnswer.read(tmp_path / "external")


@pytest.mark.parametrize("correlation", [(), (0.4,), (0.8, 0.4, 0.1)])
def test_noise_is_added_with_the_correlation_that_the_survey_has(lines, tmp_path, correlation):
    quiet, error = spectra(lines.label, np.full(len(lines.label), 1e6), 5)
    error[:] = 1 / lines.snr[:, None]
    noise = NoiseGenerator.of(correlation).draw(quiet.shape, torch.Generator().manual_seed(1))
    made = (quiet + error * noise.numpy(), error)
    store = build_survey(tmp_path / "s.zarr", lines.label, lines.snr, lines.ids, made=made)
    found = replace(lines.inputs(), survey=store).noise_correlation
    assert (*found, 0.0)[0] == pytest.approx((*correlation, 0.0)[0], abs=0.03)


def test_stars_that_training_used_are_not_judged(lines):
    inputs = lines.inputs()
    assert isinstance(inputs, CheckInputs)
    assert 0.1 < inputs.table.held_out.mean() < 0.3
    assert set(inputs.judged.source_id) <= set(inputs.table.source_id[inputs.table.held_out])
