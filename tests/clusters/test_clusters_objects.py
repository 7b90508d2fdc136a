"""The whole pipeline on a real object store: Swift with its S3 interface, and local workers."""

import os
import threading
from pathlib import Path

import pytest
from clusters.machines.swift_store import SwiftStore, why_not
from clusters.object_flow import LOCAL, SERIAL, configuration, digests, run_stages
from conformance.cluster_checks import wait_until
from conformance.location_checks import LocationChecks, own_place

from distcnn import pipeline
from distcnn.errors import PlaceError, PlaceUnreachable, VerificationFailed
from distcnn.events import RegionStored
from distcnn.location import Location, client
from distcnn.survey import Ledger, Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # FITS knows no dex; astropy warns of it and keeps it.
    pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning"),
]
BUCKET = "surveys"


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    if reason := why_not():
        pytest.skip(reason)
    store = SwiftStore(tmp_path_factory.mktemp("swift"))
    with pytest.MonkeyPatch.context() as patch:
        try:
            store.start()
            store.make_bucket(BUCKET)
            patch.delenv("AWS_PROFILE", raising=False)
            for name, value in store.environment.items():
                patch.setenv(name, value)
            yield store
        finally:
            store.stop()


@pytest.fixture
def fresh_clients(swift):
    client._open.cache_clear()
    yield
    client._open.cache_clear()


@pytest.fixture(scope="module")
def products(swift, tmp_path_factory):
    """The same run on a disk and in the store: the folder, the place, and what was told."""
    folder, told = tmp_path_factory.mktemp("flow"), []
    config = configuration(*SERIAL)
    pipeline.simulate_archive(folder / "archive", config.demo.stars, 1, config)
    run_stages(folder / "archive", lambda name: folder / name, config, config, [])
    place = Location.parse(f"s3://{BUCKET}/flow", config.objects.settings)
    predicting = configuration(*LOCAL)
    run_stages(folder / "archive", lambda name: f"{place}/{name}", config, predicting, told)
    return folder, place, told


@pytest.mark.parametrize("name", ["survey.zarr", "predictions.zarr"])
def test_arrays_are_those_of_a_disk_to_the_byte(products, name):
    folder, place, _ = products
    files = {
        path.relative_to(folder / name).as_posix(): path.read_bytes()
        for path in (folder / name).rglob("*")
        if path.is_file() and "c" in path.relative_to(folder / name).parts
    }
    stored = {key for key, _ in (place / name).objects_below() if "/c/" in f"/{key}"}
    assert stored == set(files)
    assert all((place / name / key).read_bytes() == files[key] for key in stored)


def test_package_catalogue_and_page_are_those_of_a_disk(products):
    folder, place, _ = products
    for file in (folder / "package" / "members").iterdir():
        assert (place / "package/members" / file.name).read_bytes() == file.read_bytes()
    with (place / "catalogue.parquet").local_copy() as path:
        assert path.stat().st_size == pytest.approx(
            (folder / "catalogue.parquet").stat().st_size, rel=0.05
        )
    assert (place / "report/index.html").read_bytes().startswith(b"<!")
    hats = folder / "catalogue.hats"
    files = {file.relative_to(hats).as_posix() for file in hats.rglob("*") if file.is_file()}
    assert {name for name, _ in (place / "catalogue.hats").objects_below()} == files


def test_every_product_tells_what_it_is(products):
    _, place, _ = products
    for name, told in (
        ("survey.zarr", "a survey of 4"),
        ("package", "a package"),
        ("predictions.zarr", "a prediction store of 4"),
        ("catalogue.parquet", "a catalogue of 4"),
    ):
        text = pipeline.inspect_path(f"{place}/{name}", configuration())
        assert text.startswith(f"{place}/{name}: "), text[:200]
        assert told in text


def test_the_secret_is_in_nothing_that_was_written_or_told(swift, products):
    folder, place, told = products
    secret = swift.secret.encode()
    for key, _ in place.objects_below():
        assert secret not in (place / key).read_bytes(), key
    assert not any(swift.secret in str(event) for event in told)
    cache = Path(os.environ["DISTCNN_CACHE"])
    for file in (f for at in (folder, cache) for f in at.rglob("*") if f.is_file()):
        assert secret not in file.read_bytes(), file


def test_a_server_killed_in_the_middle_ends_the_run_and_the_same_command_completes_it(
    swift, products
):
    folder, place, _ = products

    def kill(event):
        if isinstance(event, RegionStored) and "proxy" in swift.running:
            swift.kill("proxy")

    words = [f"{place}/{name}" for name in ("package", "survey.zarr", "killed.zarr")]
    # In this process, so that it dies after the very first region.
    config = configuration(*SERIAL)
    try:
        with pytest.raises(PlaceUnreachable, match=r"cannot be reached.*goes on where it stopped"):
            pipeline.predict_survey(*words, config, kill)
    finally:
        swift.start()
    store = Store.open(place / "killed.zarr")
    ledger = store.private / "ledger.jsonl"
    noted = dict(Ledger.read(ledger).done) if ledger.exists() else {}
    assert {name: line["digest"] for name, line in noted.items()}.items() <= digests(
        folder / "predictions.zarr"
    ).items()
    pipeline.predict_survey(*words, config)
    assert digests(place / "killed.zarr") == digests(folder / "predictions.zarr")
    told = str(pipeline.verify_predictions(words[2], config))
    assert "is sound" in told


def test_lost_objects_are_found(products):
    _, place, _ = products
    chunk = next(key for key, _ in (place / "predictions.zarr").objects_below() if "/c/" in key)
    kept = (place / "predictions.zarr" / chunk).read_bytes()
    (place / "predictions.zarr" / chunk).remove()
    with pytest.raises(VerificationFailed, match="is missing"):
        pipeline.verify_predictions(f"{place}/predictions.zarr", configuration())
    (place / "predictions.zarr" / chunk).write_bytes(kept)


@pytest.mark.parametrize(
    ("environment", "address", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, f"s3://{BUCKET}/x", "secret key does not fit"),
        ({"AWS_ACCESS_KEY_ID": "other:reader"}, f"s3://{BUCKET}/x", "access is denied"),
        ({}, "s3://absent/x", "no such bucket"),
        ({"AWS_REGION": "eu-west-1"}, f"s3://{BUCKET}/x", "region is another"),
    ],
)
def test_what_is_refused_is_told_before_any_work(
    environment, address, told, swift, products, fresh_clients, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = products[0]
    with pytest.raises(PlaceError, match=told) as refused:
        pipeline.predict_survey(
            folder / "package", folder / "survey.zarr", address, configuration(*SERIAL)
        )
    assert swift.secret not in str(refused.value)


class TestSwift(LocationChecks):
    leaves_drafts = False

    @pytest.fixture
    def folder(self, swift, request):
        yield from own_place(f"s3://{BUCKET}", request)


def test_a_store_that_comes_back_in_time_is_waited_for(swift):
    # More tries than by default: on a busy machine a server takes minutes to start.
    place = Location.parse(f"s3://{BUCKET}/waited?retries=1000&retry_seconds=300")
    swift.kill("proxy")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(place.exists()))
    waiting.start()
    swift.start()
    waiting.join()
    assert answers == [False]
    wait_until(lambda: not place.exists())
