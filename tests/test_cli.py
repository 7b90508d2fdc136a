import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from catalogue.simple_predictions import make_predictions
from inference.small import make_package, make_survey

COMMANDS = [
    "simulate",
    "conf",
    "ingest",
    "train",
    "tune",
    "distil",
    "plan",
    "predict",
    "verify",
    "export",
    "package",
    "compare",
    "report",
    "check",
    "map",
    "inspect",
    "doctor",
    "demo",
]


def distcnn(*words, cwd=None, **variables):
    command = [sys.executable, "-m", "distcnn", *map(str, words)]
    env = os.environ | variables
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)


@pytest.fixture(scope="module")
def top_help():
    return distcnn("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command, top_help):
    assert re.search(rf"^  {command} ", top_help, re.MULTILINE)
    readme = Path(__file__).parents[1].joinpath("README.md").read_text()
    assert f"distcnn {command}" in readme or f"make {command}" in readme


def test_a_typing_error_is_wrong_usage_and_names_the_nearest_command():
    done = distcnn("predikt")
    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert "predict" in done.stderr


def test_a_missing_argument_is_wrong_usage():
    assert distcnn("train", "survey.zarr").returncode == 2
    assert distcnn("ingest", ".").returncode == 2


def test_files_are_tried_without_writing_and_a_configuration_is_guessed(tmp_path):
    path = tmp_path / "star.csv"
    rows = [f"{5000 + pixel},{1 + 0.01 * (pixel % 7)},0.01" for pixel in range(60)]
    path.write_text("\n".join(["wavelength,flux,flux_error", *rows, ""]))
    guessed = distcnn("conf", "--guess", path)
    assert guessed.returncode == 0, guessed.stderr
    (tmp_path / "my.yaml").write_text(guessed.stdout)
    words = ["ingest", "--try", path, path, "--conf", tmp_path / "my.yaml"]
    tried = distcnn(*words, "--png", tmp_path / "png")
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.count("1 spectrum, 0 quarantined") == 2
    assert "60 pixels from 5000 to 5059 Angstrom" in tried.stdout
    assert (tmp_path / "png" / "star.csv.png").stat().st_size > 1000
    assert {one.name for one in tmp_path.iterdir()} == {"star.csv", "my.yaml", "png"}
    other = distcnn("ingest", "--try", path, "--conf", "sdss_boss")
    assert (other.returncode, "cannot be used" in other.stdout) == (3, True)


def test_configurations_that_come_along_are_listed():
    listed = distcnn("conf").stdout
    for name in ("demo", "gaia_rvs_dr3", "lamost_lrs", "mwm"):
        assert re.search(rf"^{name} +\S", listed, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ingest", "nowhere", "s.zarr"], "nowhere does not exist"),
        (["ingest", "--try", "nowhere.fits"], "nowhere.fits does not exist"),
        (["conf", "--guess", "nowhere.fits"], "nowhere.fits does not exist"),
        (["train", "no.zarr", "package"], "no.zarr does not exist"),
        (["tune", "no.zarr", "study"], "no.zarr does not exist"),
        (["tune", "no.zarr", "study", "--dry-run"], "no.zarr does not exist"),
        (["distil", "no", "small", "--survey", "s.zarr"], "no does not exist"),
        (["verify", "no.zarr"], "no.zarr does not exist"),
        (["check", "all", "package", "no.zarr", "out"], "package does not exist"),
        (["check", "predictions.zarr"], "--predictions PREDICTIONS"),
        (["check", "nothing", "package", "no.zarr", "out"], "'nothing' is no check"),
        (["compare", "no.zarr", "b.parquet", "--package", "p"], "no.zarr does not exist"),
        (["inspect", "no.zarr"], "no.zarr does not exist"),
        (["package", "import", "p", "no.h5", "--survey", "s.zarr"], "no.h5 does not exist"),
    ],
)
def test_a_path_that_is_not_there_is_wrong_usage_in_one_line(words, message, tmp_path):
    done = distcnn(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "all", "empty", "here", "out"], "empty is an empty folder"),
        (["compare", "here", "b.csv", "--package", "here"], "ends in .parquet"),
    ],
)
def test_a_place_of_the_wrong_kind_is_wrong_usage_and_nothing_is_made(words, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "here").write_text("something")
    done = distcnn(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "train.epocs=3"], "Did you mean 'epochs'"),
        (["--set", "train.epochs=0"], "greater than or equal to 1"),
        (["--set", "train"], "has no '='"),
        (["--conf", "nothing"], "no configuration file 'nothing'"),
        (["--cluster", "slrm"], "(pip install 'distcnn[cuda]'), serial"),
        (["--set", "tune.noise={low: 1, high: 0}"], "low = 1 must be below high = 0"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(words, message, tmp_path):
    done = distcnn("train", tmp_path, "package", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_store_is_told_so(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    done = distcnn("verify", tmp_path)
    assert done.returncode == 1
    assert "is not a store of distcnn" in done.stderr
    assert "a folder of 1 files" in distcnn("inspect", tmp_path).stdout


def test_export_takes_the_columns_and_rows_that_are_asked_for(tmp_path):
    make_predictions(tmp_path / "predictions.zarr", 200)
    readme = Path(__file__).parents[1].joinpath("README.md").read_text()
    (shown,) = re.findall(r"^    distcnn (export .* --columns .*)$", readme, re.MULTILINE)
    done = distcnn(*shlex.split(shown), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = distcnn("inspect", "good.fits", cwd=tmp_path).stdout
    assert "teff_error " in told
    assert "logg_error" not in told
    done = distcnn("export", "predictions.zarr", "c.fits", "--where", "flag == 0", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'flags'?" in done.stderr
    assert not (tmp_path / "c.fits").exists()


def test_version_is_printed():
    assert distcnn("--version").stdout.startswith("distcnn 0.")


def test_doctor_tries_the_engines_on_a_package(tmp_path):
    survey = make_survey(tmp_path / "survey.zarr")
    make_package(tmp_path / "package", survey)
    done = distcnn("doctor", tmp_path / "package", "--set", "predict.batch=16")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\* \w+ +b?float(32|16)", done.stdout, re.MULTILINE)
    assert "graphs float32" in done.stdout


def test_an_unknown_engine_is_named_with_those_there_are(tmp_path):
    survey = make_survey(tmp_path / "survey.zarr")
    make_package(tmp_path / "package", survey)
    done = distcnn(
        "predict", tmp_path / "package", survey.path, tmp_path / "p", "--engine", "tensor"
    )
    assert done.returncode == 1
    assert "predict.engine" in done.stderr
    assert "torchscript" in done.stderr


def test_doctor_finds_this_machine_fit():
    done = distcnn("doctor")
    assert done.returncode == 0
    assert "storage: round trip right" in done.stdout


def test_a_journal_is_kept_where_the_configuration_says(tmp_path):
    asked = ("simulate", "archive", "--stars", "20", "--cluster", "serial")
    done = distcnn(*asked, "--set", "monitor.journal=run.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["StageStarted", "Advanced", "StageEnded"]
    assert {event["stage"] for event in events} == {"simulate"}
    assert "simulate: done" in done.stderr


def test_training_writes_tensorboard_logs_where_it_is_asked_to(tmp_path):
    (tmp_path / "file").write_text("")
    done = distcnn("train", tmp_path, "package", "--tensorboard", "file/logs", cwd=tmp_path)
    assert done.returncode == 2
    assert "file/logs cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tuning_of_no_trials_is_wrong_usage():
    assert distcnn("tune", "survey.zarr", "study", "--trials", "0").returncode == 2


def test_no_name_is_too_odd_for_a_terminal(tmp_path):
    done = distcnn("inspect", "\u0141\u00e9", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert r"\u0141" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_configuration_of_dask_is_a_clear_error(tmp_path):
    (tmp_path / "dask.yaml").write_text("a: [")
    words = ("simulate", "archive", "--stars", "20", "--cluster", "local")
    done = distcnn(*words, cwd=tmp_path, DASK_CONFIG=str(tmp_path / "dask.yaml"))
    assert done.returncode == 1
    assert "dask.yaml" in done.stderr
    assert "Traceback" not in done.stderr


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_a_command_runs_where_its_streams_are_closed(closed, tmp_path):
    words = "simulate archive --stars 20 --cluster serial"
    line = f"exec {sys.executable} -m distcnn {words} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "archive" / "truth.parquet").exists()
    assert done.stdout == b""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_is_no_error(unbuffered, tmp_path):
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "distcnn", "plan", "--stars", "1e6"],
        stdout=written,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_answer_that_finds_no_room_is_an_error():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "distcnn", "plan", "--stars", "1e6"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    assert done.returncode == 1
    assert done.stderr.startswith("distcnn: the disk is full")


def test_an_output_folder_may_be_made_before(tmp_path):
    survey = make_survey(tmp_path / "survey.zarr")
    make_package(tmp_path / "package", survey)
    (tmp_path / "p.zarr").mkdir()
    words = ("predict", tmp_path / "package", survey.path, tmp_path / "p.zarr")
    done = distcnn(*words, "--cluster", "serial", "--engine", "eager")
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "p.zarr").iterdir())


def test_a_working_directory_that_is_gone_is_said(tmp_path):
    (tmp_path / "gone").mkdir()
    line = f"rmdir ../gone; exec {sys.executable} -m distcnn --version"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path / "gone",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(
        "distcnn: the working directory is gone (No such file or directory).\n"
    )
