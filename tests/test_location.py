"""Places of stores and packages: local ones, and the refusal of what is no folder here."""

from pathlib import Path

import pytest
from conformance.location_checks import LocationChecks

from distcnn import pipeline
from distcnn.config import Config
from distcnn.errors import UsageError
from distcnn.location import LocalLocation, Location


class TestLocalLocation(LocationChecks):
    @pytest.fixture
    def folder(self, tmp_path):
        return LocalLocation(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a.zarr",
        "gs://b/a",
        "https://x.org/a.zarr",
        "s3:bucket/a.zarr",
        "me@node3:/data/a.zarr",
        "node3:/data/a.zarr",
        "simplecache::s3://bucket/a.zarr",
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_an_object_store_is_refused_and_never_taken_for_a_folder(text, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is on .*expected a path on a local.*file:///path"):
        Location.parse(kind(text))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///data/a.zarr", "/data/a.zarr"),
        ("file://localhost/data/a%20b", "/data/a b"),
        ("runs/a.zarr", "runs/a.zarr"),
        ("a:b/c.zarr", "a:b/c.zarr"),
        ("./x", "x"),
    ],
)
def test_local_addresses_are_paths(text, path):
    assert Location.parse(text).local_path == Path(path)


def test_a_file_address_that_was_made_a_path_is_still_understood():
    assert Location.parse(Path("file:///data/a.zarr")).local_path == Path("/data/a.zarr")


def test_a_file_address_of_another_machine_is_refused():
    with pytest.raises(UsageError, match="on the machine node3"):
        Location.parse("file://node3/data")


def test_a_symbolic_link_is_removed_without_what_it_points_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    LocalLocation(tmp_path / "link").remove()
    assert (tmp_path / "real" / "x").exists()
    assert not (tmp_path / "link").exists()


def test_no_stage_begins_on_a_place_that_it_would_take_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is on s3"):
        pipeline.predict_survey(tmp_path, tmp_path, Path("s3://bucket/p.zarr"), Config())
    with pytest.raises(UsageError, match="is on s3"):
        pipeline.verify_predictions(tmp_path, Config(), package=Path("s3://bucket/package"))
    assert list(tmp_path.iterdir()) == []


REMOTE = Path("s3://bucket/x")
HERE = Path("here")


@pytest.mark.parametrize(
    "stage",
    [
        lambda c: pipeline.simulate_archive(REMOTE, 1, 1, c),
        lambda c: pipeline.ingest_archive(REMOTE, HERE, c),
        lambda c: pipeline.ingest_archive(HERE, REMOTE, c),
        lambda c: pipeline.plan_training(HERE, REMOTE, c),
        lambda c: pipeline.train_package(REMOTE, HERE, c),
        lambda c: pipeline.distil_package(HERE, REMOTE, HERE, c),
        lambda c: pipeline.look_at_study(HERE, REMOTE, c),
        lambda c: pipeline.tune_survey(HERE, REMOTE, c),
        lambda c: pipeline.plan_predictions(HERE, HERE, REMOTE, c),
        lambda c: pipeline.predict_survey(REMOTE, HERE, HERE, c),
        lambda c: pipeline.verify_predictions(HERE, c, survey=REMOTE),
        lambda c: pipeline.export_catalogue(HERE, REMOTE),
        lambda c: pipeline.compare_baselines(HERE, REMOTE, HERE),
        lambda c: pipeline.write_report(HERE, REMOTE, c),
        lambda c: pipeline.write_report(HERE, HERE, c, truth=REMOTE),
        lambda c: pipeline.check_predictions(HERE, [], c, baselines=REMOTE),
        lambda c: pipeline.inspect_path(REMOTE),
        lambda c: pipeline.try_engines(REMOTE, c),
        lambda c: pipeline.run_demo(REMOTE, c),
    ],
)
def test_every_stage_refuses_every_place_that_is_no_disk(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is on s3"):
        stage(Config())
    assert list(tmp_path.iterdir()) == []


def test_stages_take_the_address_of_a_local_file(tmp_path):
    (tmp_path / "a.csv").touch()
    told = pipeline.inspect_path(Path(f"file://{tmp_path}"))
    assert told.startswith(f"{tmp_path}: a folder of 1 files")


def test_an_empty_folder_is_nothing_and_is_taken_over(tmp_path):
    (tmp_path / "made_before").mkdir()
    place = Location.parse(tmp_path / "made_before")
    assert not place.exists()
    with place.new_folder() as draft:
        (draft / "x").write_bytes(b"1")
    assert place.exists()
    (tmp_path / "target").mkdir()
    place.move_to(Location.parse(tmp_path / "target"))
    assert (tmp_path / "target" / "x").read_bytes() == b"1"
