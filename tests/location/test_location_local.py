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
        "https://x.org/a.zarr",
        "http://u:pw@x.org/a.zarr",
        "gcs://b/a",
        "abfs://b/a",
        "s3:bucket/a.zarr",
        "me@node3:/data/a.zarr",
        "node3:/data/a.zarr",
        "simplecache::s3://bucket/a.zarr",
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_another_kind_of_place_is_refused_and_never_taken_for_a_folder(
    text, kind, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is on .*expected a path on a .*file:///path, s3:") as no:
        Location.parse(kind(text))
    assert "pw" not in str(no.value)


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


REMOTE = Path("https://bucket/x")
OBJECTS = Path("s3://bucket/x")
HERE = Path("here")


@pytest.mark.parametrize(
    "stage",
    [
        lambda c, p: pipeline.simulate_archive(p, 1, 1, c),
        lambda c, p: pipeline.ingest_archive(p, HERE, c),
        lambda c, p: pipeline.look_at_study(HERE, p, c),
        lambda c, p: pipeline.tune_survey(HERE, p, c),
        lambda c, p: pipeline.run_demo(p, c),
    ],
)
@pytest.mark.parametrize("place", [REMOTE, OBJECTS])
def test_archives_and_studies_have_to_be_on_a_disk(stage, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is on (s3|https).*expected a path on a"):
        stage(Config(), place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "stage",
    [
        lambda c: pipeline.ingest_archive(HERE, REMOTE, c),
        lambda c: pipeline.plan_training(HERE, REMOTE, c),
        lambda c: pipeline.train_package(REMOTE, HERE, c),
        lambda c: pipeline.distil_package(HERE, REMOTE, HERE, c),
        lambda c: pipeline.plan_predictions(HERE, HERE, REMOTE, c),
        lambda c: pipeline.predict_survey(REMOTE, HERE, HERE, c),
        lambda c: pipeline.verify_predictions(HERE, c, survey=REMOTE),
        lambda c: pipeline.export_catalogue(HERE, REMOTE),
        lambda c: pipeline.compare_baselines(HERE, REMOTE, HERE),
        lambda c: pipeline.write_report(HERE, REMOTE, c),
        lambda c: pipeline.write_report(HERE, HERE, c, truth=REMOTE),
        lambda c: pipeline.check_package(HERE, HERE, HERE, c, baselines=REMOTE),
        lambda c: pipeline.inspect_path(REMOTE),
        lambda c: pipeline.try_engines(REMOTE, c),
    ],
)
def test_every_stage_refuses_every_place_that_nothing_is_known_of(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is on https"):
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
