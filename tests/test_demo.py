"""The whole pipeline on few stars, through the command line, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray
from astropy.table import Table

# FITS knows no dex; astropy warns of it and keeps it.
pytestmark = pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning")

SMALL = [
    *("--set", "demo.stars=500", "--set", "simulate.stars_per_file=250"),
    *("--set", "ingest.store.shard_stars=256", "--set", "ingest.store.chunk_stars=128"),
    *("--set", "train.members=2", "--set", "train.epochs=3"),
    *("--set", "train.stacking.trees=10", "--set", "train.stacking.inducing=64"),
    *("--set", "cluster.workers=2", "--set", "demo.checks=[halo,external]"),
]


def distcnn(*words, cwd):
    command = [sys.executable, "-m", "distcnn", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo_run")
    done = distcnn("demo", "demo", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "demo", done


@pytest.mark.timeout(2400)
def test_the_demo_makes_every_product_and_says_where(demo_run):
    demo, done = demo_run
    for name in ("catalogue.fits", "catalogue.parquet", "catalogue.vot", "report/index.html"):
        assert (demo / name).stat().st_size > 1000
        assert f"demo/{name}" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_science_checks_that_are_asked_for_lie_beside_the_predictions(demo_run):
    demo, _ = demo_run
    answers = {path.parent.name for path in (demo / "checks").glob("*/answer.json")}
    assert answers == {"halo", "external"}
    held = json.loads((demo / "checks" / "external" / "answer.json").read_text())
    assert "another survey (simulated)" in held["sentence"]


def test_no_star_is_lost_between_archive_and_catalogue(demo_run):
    demo, _ = demo_run
    truth = pq.read_table(demo / "archive" / "truth.parquet").to_pandas()
    with xarray.open_zarr(demo / "survey.zarr") as survey:
        stars = set(survey.source_id.values.tolist())
    quarantined = pq.read_table(
        demo / "survey.zarr" / ".distcnn" / "quarantine.parquet"
    ).to_pandas()
    assert stars == set(truth.source_id) == set(Table.read(demo / "catalogue.fits")["source_id"])
    assert len(quarantined) == truth.trouble.str.contains("duplicate").sum()


def test_the_three_catalogues_agree(demo_run):
    demo, _ = demo_run
    fits = Table.read(demo / "catalogue.fits")
    votable = Table.read(demo / "catalogue.vot")
    parquet = Table.read(demo / "catalogue.parquet")
    for name in ("source_id", "teff", "eteff", "flags"):
        assert np.array_equal(np.asarray(fits[name]), np.asarray(votable[name]), equal_nan=True)
        assert np.array_equal(np.asarray(fits[name]), np.asarray(parquet[name]), equal_nan=True)
    assert {"teff", "eteff", "logg", "elogg", "mh", "emh", "feh", "efeh"} <= set(fits.colnames)
    assert {"alpham", "ealpham", "flag_boundary"} <= set(fits.colnames)


def test_the_report_has_its_numbers_beside_it(demo_run):
    numbers = json.loads((demo_run[0] / "report" / "metrics.json").read_text())
    assert numbers["simulated"] is True
    methods = {row["method"] for row in numbers["accuracy"]}
    assert len(methods) == 5


def test_the_same_command_again_finds_everything_done(demo_run):
    demo, _ = demo_run
    before = {p: p.read_bytes() for p in (demo / "package").rglob("*") if p.is_file()}
    done = distcnn("demo", "demo", *SMALL, cwd=demo.parent)
    assert done.returncode == 0, done.stderr
    assert {p: p.read_bytes() for p in (demo / "package").rglob("*") if p.is_file()} == before
    assert "epoch 1 of" not in done.stderr


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("archive", ["RvsMeanSpectrum", "files"]),
        ("survey.zarr", ["a survey of 500 stars", "complete      yes", "labelled"]),
        ("package", ["a package of 2 members", "complete      yes", "split"]),
        ("predictions.zarr", ["a prediction store of 500 stars", "complete      yes", "digest"]),
        ("baselines.parquet", ["baselines for teff", "ridge regression, same inputs"]),
        ("catalogue.fits", ["a catalogue of 500 stars", "teff"]),
        ("catalogue.parquet", ["a catalogue of 500 stars", "teff"]),
        ("catalogue.vot", ["a catalogue of 500 stars", "teff"]),
    ],
)
def test_inspect_tells_what_each_product_is(demo_run, name, texts):
    done = distcnn("inspect", demo_run[0] / name, cwd=demo_run[0])
    assert done.returncode == 0, done.stderr
    for text in texts:
        assert text in done.stdout


def test_a_dry_run_prints_the_plan_and_writes_nothing(demo_run):
    demo, _ = demo_run
    words = ("predict", "package", "survey.zarr", "other.zarr", "--cluster", "local", "--dry-run")
    done = distcnn(*words, cwd=demo)
    assert done.returncode == 0, done.stderr
    assert "500" in done.stdout
    assert not (demo / "other.zarr").exists()


def test_predict_over_other_settings_is_refused(demo_run):
    demo, _ = demo_run
    words = ("predict", "package", "survey.zarr", "predictions.zarr", "--set", "predict.batch=64")
    done = distcnn(*words, "--cluster", "serial", cwd=demo)
    assert done.returncode == 1
    assert "batch" in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_finds_a_byte_that_was_changed(demo_run):
    demo, _ = demo_run
    assert distcnn("verify", "predictions.zarr", cwd=demo).returncode == 0
    shard = next((demo / "predictions.zarr" / "label" / "c").rglob("0"))
    shard = shard if shard.is_file() else next(p for p in shard.rglob("*") if p.is_file())
    good = shard.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    shard.write_bytes(bytes(bad))
    done = distcnn("verify", "predictions.zarr", cwd=demo)
    shard.write_bytes(good)
    assert done.returncode == 1
    assert "000000000-" in done.stderr


def test_the_readmes_first_lines_are_the_two_commands():
    readme = Path(__file__).parents[1].joinpath("README.md").read_text().splitlines()
    commands = [line.split("#")[0].strip() for line in readme if line.startswith("    make")]
    assert commands[:2] == ["make demo", "make test"]
