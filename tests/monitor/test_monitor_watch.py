"""How far a product is, from its files alone: watch, and inspect of what is not done."""

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

import pytest
from object_server import BUCKET, SECRET

from distcnn import pipeline
from distcnn.config import MonitorConfig
from distcnn.events import RegionStored, StageStarted, silent
from distcnn.executor import SerialExecutor
from distcnn.location import Location
from distcnn.monitor import open_listener, run_monitor
from distcnn.monitor.progress import is_at_work, read_progress
from distcnn.monitor.run_monitor import watch_run
from distcnn.monitor.run_note import MAX_NOTES, NoteWriter
from distcnn.monitor.watch import WatchCode, watch
from distcnn.survey import Store
from tests.inference.small import STARS, go, make_package, make_survey


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    make_package(folder / "package", make_survey(folder / "survey.zarr"))
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("survey.zarr", "package"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


class Stopped(Exception):
    """The end of a run in the middle."""


def run(folder, listen=silent):
    """A run as the pipeline makes it, in this process."""
    place = Location.parse(folder / "predictions.zarr")
    with watch_run(SerialExecutor(), MonitorConfig(), listen, output=place) as watched:
        return go(folder, listener=watched)


def run_part(folder, regions=2, then=None):
    stored = []

    def listen(event):
        if isinstance(event, RegionStored):
            stored.append(event)
            if len(stored) == regions:
                if then is not None:
                    then()
                raise Stopped

    with pytest.raises(Stopped):
        run(folder, listen)


def lines_of(folder, **options):
    said = []
    place = Location.parse(folder / "predictions.zarr")
    code = watch(place, said.append, **options)
    return code, said


def test_a_complete_store_is_said_to_be_complete(folder):
    run(folder)
    code, said = lines_of(folder)
    assert code is WatchCode.COMPLETE
    assert f"{STARS} of {STARS} stars (100.0 %)" in said[0]
    assert any("5 of 5 stored" in line for line in said)
    assert "complete" in said[2]


def test_an_interrupted_run_says_what_is_done_and_what_to_type(folder, monkeypatch):
    typed = ["/usr/bin/distcnn", "predict", "package", "survey.zarr", "my predictions.zarr"]
    monkeypatch.setattr(sys, "argv", [*typed, "--restart", "--set", "cluster.workers=3"])
    run_part(folder)
    code, said = lines_of(folder)
    assert code is WatchCode.INTERRUPTED
    assert "64 of 150 stars (42.7 %)" in said[0]
    assert any("2 of 5 stored" in line for line in said)
    assert any("failed" in line for line in said)
    command = "distcnn predict package survey.zarr 'my predictions.zarr' --set cluster.workers=3"
    assert said[-1] == f"  go on with    {command}"
    text = pipeline.inspect_path(folder / "predictions.zarr")
    assert f"go on with    {command}" in text
    assert "2 of 5 regions" in text


def test_from_another_folder_the_command_begins_with_the_way_there(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["distcnn", "predict", "a", "b", "c", "--array", "2/8"])
    run_part(folder)
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")
    assert lines_of(folder)[1][-1].endswith(f"cd {folder} && distcnn predict a b c")


def test_without_a_note_the_command_comes_from_the_provenance_of_the_store(folder):
    run_part(folder)
    shutil.rmtree(folder / "predictions.zarr/.distcnn/runs")
    last = lines_of(folder)[1][-1]
    paths = (folder / "package", folder / "survey.zarr", folder / "predictions.zarr")
    assert last == f"  go on with    distcnn predict {' '.join(map(str, paths))}"


def test_a_run_at_work_is_followed_until_it_ends(folder):
    looks = []

    def look():
        looks.append(lines_of(folder, once=True))

    monitor = None

    def listen(event):
        if isinstance(event, RegionStored):
            monitor.state.version += 1
            monitor._noted = float("-inf")
            monitor.look()
            look()

    place = Location.parse(folder / "predictions.zarr")
    with watch_run(SerialExecutor(), MonitorConfig(), listen, output=place) as watched:
        monitor = watched
        go(folder, listener=watched)
    code, said = looks[2]
    assert code is WatchCode.AT_WORK
    text = "\n".join(said)
    assert "96 of 150 stars (64.0 %)" in text
    assert f"process {os.getpid()} of host {platform.node()}" in text
    assert "last region 000000064-000000096" in text
    assert "holds the lock" in text
    assert re.search(r"\d stars/s", text)


def test_watching_goes_on_from_look_to_look_and_ends_with_the_run(folder):
    run_part(folder)
    (note,) = (folder / "predictions.zarr/.distcnn/runs").iterdir()
    known = json.loads(note.read_text())

    def write(**changes):
        note.write_text(json.dumps({**known, **changes}))

    write(status="running", time=time.time(), host="far", speed=100.0, mean_speed=100.0)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            write(status="stopped")

    code, said = lines_of(folder, interval=7, pause=pause)
    assert code is WatchCode.INTERRUPTED
    assert len(pauses) == 3
    assert min(pauses) >= 7
    assert sum("64 of 150 stars (42.7 %), 100 stars/s, 0.9 s left" in line for line in said) == 3


def test_who_is_at_work_is_known_here_by_the_process_and_elsewhere_by_its_last_word():
    here = {"status": "running", "host": platform.node(), "process": os.getpid(), "began": 2e10}
    assert is_at_work(here)
    assert not is_at_work({**here, "began": 1.0})  # a later process of the same number
    assert not is_at_work({**here, "status": "stopped"})
    far = {**here, "host": "far", "time": 1000.0}
    assert is_at_work(far, now=1030.0)
    assert not is_at_work(far, now=1100.0)


def test_a_store_keeps_the_notes_of_the_last_runs_only(folder):
    run(folder)
    private = Store.open(folder / "predictions.zarr").private
    for number in range(MAX_NOTES + 20):
        (private / "runs" / f"2020-{number:04}.json").write_bytes(b"{")
    NoteWriter(Location.parse(folder / "predictions.zarr"))(
        {"run": "now", "stage": "predict"}, last=False
    )
    assert len(list(private.local_path.glob("runs/*"))) == MAX_NOTES + 1


def test_damaged_notes_are_passed_over(folder):
    run_part(folder)
    (folder / "predictions.zarr/.distcnn/runs/zzz.json").write_text('{"status": "runn')
    assert read_progress(Location.parse(folder / "predictions.zarr")).ended


def test_a_training_that_was_interrupted_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["distcnn", "train", "survey.zarr", "package"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package.partial").mkdir()
    place = Location.parse(tmp_path / "package")

    def interrupted():
        with watch_run(SerialExecutor(), MonitorConfig(), silent, output=place) as watched:
            watched(StageStarted("train", 8, "epochs"))
            raise Stopped

    with pytest.raises(Stopped):
        interrupted()
    text = pipeline.inspect_path(tmp_path / "package.partial")
    assert "train: interrupted" in text
    assert text.endswith("go on with    distcnn train survey.zarr package")


def test_a_finished_training_leaves_no_folder_of_notes(tmp_path):
    place = Location.parse(tmp_path / "package")
    with watch_run(SerialExecutor(), MonitorConfig(), silent, output=place) as watched:
        watched(StageStarted("train", 8, "epochs"))
        watched.look()
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_tells_it_with_its_exit_code(folder):
    run_part(folder)
    command = [sys.executable, "-m", "distcnn", "watch", "predictions.zarr", "--once"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == WatchCode.INTERRUPTED, ended.stderr
    assert "64 of 150 stars" in ended.stdout
    assert ended.stderr == ""


def test_what_is_no_command_of_ours_is_not_given_out_as_one(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "-x"])
    assert run_monitor.typed_command() == ""


def test_the_journal_the_notes_and_the_page_call_a_run_the_same(folder):
    place = Location.parse(folder / "predictions.zarr")
    config = MonitorConfig(journal=folder / "journal.jsonl")
    with (
        open_listener(config, io.StringIO()) as listener,
        watch_run(SerialExecutor(), config, listener, output=place) as watched,
    ):
        go(folder, listener=watched)
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    (note,) = read_progress(place).ended
    assert {line["run"] for line in lines} == {note["run"]}
    stored = [line for line in lines if line["event"] == "RegionStored"]
    assert len(stored) == 5
    assert all({"time", "run", "region", "attempt", "result"} <= set(line) for line in stored)


def test_runs_on_an_object_store_are_followed_from_their_objects(s3, made, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["distcnn", "predict", "package", "survey", "predictions"])
    place = Location.parse(f"s3://{BUCKET}/watched.zarr")
    stored = []

    def listen(event):
        stored.extend([event] if isinstance(event, RegionStored) else [])
        if len(stored) == 3:
            raise Stopped

    def interrupted():
        with watch_run(SerialExecutor(), MonitorConfig(), listen, output=place) as watched:
            go(made, listener=watched, predictions=place)

    with pytest.raises(Stopped):
        interrupted()
    said = []
    assert watch(place, said.append, once=True) is WatchCode.INTERRUPTED
    assert "96 of 150 stars" in said[0]
    assert any("failed; process" in line for line in said)
    assert said[-1].endswith("distcnn predict package survey predictions")
    assert not any(SECRET in (place / name).read_bytes().decode() for name in notes_of(place))
    place.remove()


def notes_of(place):
    folder = Store.open(place).private / "runs"
    return [f".distcnn/runs/{note.name}" for note in folder.children()]
