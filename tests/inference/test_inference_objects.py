"""Prediction with every product in an object store: same values, resumed, verified."""

import pytest
from object_server import BUCKET, SECRET, Relay

from distcnn import pipeline
from distcnn.config import Config, load_config
from distcnn.errors import (
    DigestMismatch,
    FingerprintMismatch,
    PlaceUnreachable,
    StoreBusy,
    StoreError,
    VerificationFailed,
)
from distcnn.inference import plan, verify
from distcnn.inference.prediction_store import discard_unfinished
from distcnn.location import Location, ObjectSettings, cache_folder
from distcnn.report.text import inspect
from distcnn.survey import Ledger, Store
from tests.inference.small import CONFIG, go, go_share, make_package, make_survey


@pytest.fixture
def at(s3, made, request):
    """A folder in the store with ``survey.zarr`` and ``package``."""
    folder = Location.parse(f"s3://{BUCKET}/{request.node.name}")
    for name in ("survey.zarr", "package"):
        _copy(made / name, folder / name)
    yield folder
    folder.remove()


def _copy(path, place):
    for file in sorted(path.rglob("*")):
        if file.is_file() and "ledger.jsonl" not in file.name and file.name != "lock":
            (place / file.relative_to(path).as_posix()).write_file(file)


def values(place):
    store = Store.open(place, "predictions")
    return {region.name: store.digest(region) for region in store.regions()}


def test_values_are_those_of_a_disk_to_the_bit(at, made):
    done = go(at)
    assert done.predictions == at / "predictions.zarr"
    assert values(at / "predictions.zarr") == values(made / "predictions.zarr")
    again = go(at)
    assert again.resumed == again.regions
    assert (
        verify(at / "predictions.zarr", CONFIG).identical
        == verify(made / "predictions.zarr", CONFIG).identical
    )


def test_products_on_a_disk_and_in_a_store_go_together(at, made, tmp_path):
    go(at, survey=made / "survey.zarr")
    assert verify(at / "predictions.zarr", CONFIG).failed == 0
    go(at, predictions=tmp_path / "local.zarr")
    assert values(tmp_path / "local.zarr") == values(at / "predictions.zarr")
    assert verify(tmp_path / "local.zarr", CONFIG).failed == 0


def test_surveys_and_packages_are_made_there(at, made):
    folder = at / "own"
    store = make_survey(folder / "survey.zarr")
    assert store.digest(store.regions()[0]) == Store.open(made / "survey.zarr").digest(
        store.regions()[0]
    )
    make_package(made.parent / "twin", store)
    with pytest.raises(StoreError, match="exists"):
        make_survey(folder / "survey.zarr")


def test_a_package_is_fetched_once_and_checked(at, made, monkeypatch, tmp_path):
    monkeypatch.setenv("DISTCNN_CACHE", str(tmp_path / "cache"))
    asked = []

    def look(handler):
        if handler.command == "GET" and "/members/" in handler.path:
            asked.append(handler.path)

    with Relay(_endpoint(), look) as address:
        settings = ObjectSettings(endpoint=address, allow_http=True)
        place = Location.parse(str(at / "package"), settings)
        for name in ("a", "b"):
            go(at, package=place, predictions=tmp_path / name)
    assert len(asked) == len(set(asked)) > 0
    (folder,) = [f for f in (tmp_path / "cache" / "packages").iterdir() if f.is_dir()]
    assert folder.parent == cache_folder() / "packages"
    member = next((folder / "members").glob("*.safetensors"))
    member.write_bytes(b"damaged")
    assert go(at, predictions=tmp_path / "c").failed == go(made).failed
    assert member.read_bytes() != b"damaged"


def _endpoint():
    import os

    return os.environ["AWS_ENDPOINT_URL"]


def test_a_damaged_package_in_the_store_is_refused(at, monkeypatch, tmp_path):
    monkeypatch.setenv("DISTCNN_CACHE", str(tmp_path / "cache"))
    (at / "package/members/member_00.safetensors").write_bytes(b"other")
    with pytest.raises(DigestMismatch, match=r"s3://.*member_00.safetensors has sha256"):
        go(at)
    assert not list((tmp_path / "cache" / "packages").iterdir())


def test_a_plan_says_where_and_changes_nothing(at):
    before = sorted(at.objects_below())
    text = str(plan(at / "package", at / "survey.zarr", at / "predictions.zarr", CONFIG))
    assert f"writes to   {at}/predictions.zarr" in text
    assert "as much as the store takes" in text
    assert sorted(at.objects_below()) == before


@pytest.mark.parametrize("turn", [3, 20, 80])
def test_a_lost_connection_ends_the_run_and_the_same_command_completes_it(at, made, turn):
    left = [turn]

    def look(handler):
        if handler.command == "PUT" and "predictions" in handler.path:
            left[0] -= 1
        return (503, b"<Error><Code>ServiceUnavailable</Code></Error>") if left[0] < 0 else None

    with Relay(_endpoint(), look) as address:
        settings = ObjectSettings(endpoint=address, allow_http=True, retries=0)
        places = {
            name: Location.parse(str(at / f"{name}.zarr"), settings)
            for name in ("survey", "predictions")
        }
        with pytest.raises(PlaceUnreachable, match="fewer requests"):
            go(at, **places)
    place = at / "predictions.zarr"
    if place.exists():
        ledger = place / ".distcnn" / "ledger.jsonl"
        store = Store.open(place)
        for name, line in Ledger.read(ledger).done.items() if ledger.exists() else ():
            (region,) = (r for r in store.regions() if r.name == name)
            assert store.digest(region) == line["digest"]
        with pytest.raises(StoreError, match="not finished"):
            pipeline.export_catalogue(place, at / "x.parquet")
        assert "same command again goes on" in inspect.describe(place)
    go(at)
    assert values(place) == values(made / "predictions.zarr")


def test_another_run_is_refused_and_an_unfinished_one_removed_on_request(at):
    go(at)
    place = at / "predictions.zarr"
    with pytest.raises(FingerprintMismatch):
        go(at, config=CONFIG.model_copy(update={"batch": 8}))
    discard_unfinished(place)
    assert place.exists(), "a finished store stays"
    Store.open(place).annotate({"complete": False})
    with (place / ".distcnn" / "lock").lock(), pytest.raises(StoreBusy, match="by another run"):
        go(at)
    discard_unfinished(place)
    assert not place.exists()
    assert not list(place.objects_below())


def test_elements_of_a_job_array_share_a_store(at, made):
    for share in ("1/3", "2/3", "3/3"):
        last = go_share(at, share)
    assert last.whole is not None
    assert values(at / "predictions.zarr") == values(made / "predictions.zarr")
    ledgers = [p.name for p in (at / "predictions.zarr/.distcnn").children() if "ledger" in p.name]
    assert ledgers == ["ledger.jsonl"]


def test_missing_and_flipped_objects_are_found(at):
    go(at)
    place = at / "predictions.zarr"
    chunk = place / "label" / "c" / "1" / "0"
    good = chunk.read_bytes()
    chunk.remove()
    with pytest.raises(VerificationFailed, match=r"c/1/0 is missing"):
        verify(place, CONFIG)
    chunk.write_bytes(good[:9] + bytes([good[9] ^ 64]) + good[10:])
    with pytest.raises(VerificationFailed, match=r"region .*cannot be read"):
        verify(place, CONFIG)
    chunk.write_bytes(good)
    ledger = place / ".distcnn" / "ledger.jsonl"
    for name, _ in ledger.objects_below():
        if name != "fingerprint":
            (ledger / name).remove()
    with pytest.raises(VerificationFailed, match="regions are not in the ledger"):
        verify(place, CONFIG)


def test_nothing_that_is_written_holds_the_secret(at, tmp_path):
    events = []
    go(at, listener=events.append)
    told = [*map(str, events), inspect.describe(at / "predictions.zarr")]
    told += [str(verify(at / "predictions.zarr", CONFIG))]
    for text in told:
        assert SECRET not in text
    for name, _ in at.objects_below():
        data = (at / name).read_bytes()
        assert SECRET.encode() not in data, name
        assert b"tester" not in data, name


def test_the_settings_of_a_run_reach_every_place(at, monkeypatch):
    endpoint = _endpoint()
    for name in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name)
    config = Config.model_validate(
        {"objects": {"endpoint": endpoint, "allow_http": True}, "cluster": {"backend": "serial"}}
    )
    text = [str(at / name) for name in ("package", "survey.zarr", "predictions.zarr")]
    pipeline.predict_survey(*text, config)
    pipeline.verify_predictions(text[2], config)
    pipeline.export_catalogue(text[2], str(at / "c.parquet"), config=config)
    told = pipeline.inspect_path(str(at / "c.parquet"), config)
    assert told.startswith(f"{at}/c.parquet: a catalogue of 150 stars")
    assert pipeline.inspect_path(str(at / "package"), config).startswith(f"{at}/package: ")


def test_a_hats_catalogue_in_a_store_is_that_of_a_disk_and_can_be_opened_there(at, tmp_path):
    hats = pytest.importorskip("hats", reason="the library hats is not installed")
    from obstore.fsspec import register
    from upath import UPath

    go(at)
    config = load_config("demo", ["cluster.backend=serial"])
    for target in (at / "c.hats", tmp_path / "c.hats"):
        pipeline.export_catalogue(
            str(at / "predictions.zarr"), str(target), config=config, margin=3600.0
        )
    files = {p for p in (tmp_path / "c.hats").rglob("*") if p.is_file()}
    expected = {p.relative_to(tmp_path / "c.hats").as_posix(): p.read_bytes() for p in files}
    names = [name for name, _ in (at / "c.hats").objects_below()]
    found = {name: (at / "c.hats" / name).read_bytes() for name in names}
    tables = [name for name in expected if name.endswith((".parquet", ".csv", "properties"))]
    assert found.keys() == expected.keys()
    assert {name: found[name] for name in tables} == {name: expected[name] for name in tables}
    assert len(tables) > 4
    register("s3", asynchronous=False)  # what lsdb's users without s3fs do
    place = UPath(
        str(at / "c.hats"), endpoint=_endpoint(), region="us-east-1",
        client_options={"allow_http": True},
    )  # fmt: skip
    catalogue = hats.read_hats(place)
    assert catalogue.main_catalog.catalog_info.total_rows == 150
