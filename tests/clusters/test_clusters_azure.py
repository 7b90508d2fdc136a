"""The whole pipeline on Azure Blob Storage, by its emulator, and local workers."""

import pytest
from clusters.machines.azure_store import ACCOUNT, AzureStore, why_not
from clusters.object_flow import LOCAL, SERIAL, configuration, digests, run_stages
from conformance.location_checks import LocationChecks, own_place

from distcnn import pipeline
from distcnn.errors import PlaceError, VerificationFailed
from distcnn.location import Location, client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # FITS knows no dex; astropy warns of it and keeps it.
    pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning"),
]
CONTAINER = "surveys"


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    if reason := why_not():
        pytest.skip(reason)
    store = AzureStore(tmp_path_factory.mktemp("azurite"))
    with pytest.MonkeyPatch.context() as patch:
        try:
            store.start().make_container(CONTAINER)
            for name, value in store.environment.items():
                patch.setenv(name, value)
            client._open.cache_clear()
            yield store
        finally:
            store.stop()
            client._open.cache_clear()


@pytest.fixture
def fresh_clients(azure):
    client._open.cache_clear()
    yield
    client._open.cache_clear()


class TestAzure(LocationChecks):
    leaves_drafts = False

    @pytest.fixture
    def folder(self, azure, request):
        yield from own_place(f"az://{CONTAINER}", request)


def test_the_products_of_a_run_are_those_of_a_disk(azure, tmp_path):
    config, told = configuration(*SERIAL), []
    pipeline.simulate_archive(tmp_path / "archive", config.demo.stars, 1, config)
    run_stages(tmp_path / "archive", lambda name: tmp_path / name, config, config, [])
    place = Location.parse(f"az://{CONTAINER}/flow", config.objects.settings)
    run_stages(
        tmp_path / "archive", lambda name: f"{place}/{name}", config, configuration(*LOCAL), told
    )
    for name in ("survey.zarr", "predictions.zarr"):
        assert digests(place / name) == digests(tmp_path / name)
        assert pipeline.inspect_path(f"{place}/{name}", config).startswith(f"{place}/{name}: ")
    assert (place / "report/index.html").read_bytes().startswith(b"<!")
    assert (place / "catalogue.parquet").size() > 0
    for key, _ in place.objects_below():
        assert azure.secret.encode() not in (place / key).read_bytes(), key
    assert not any(azure.secret in str(event) for event in told)
    chunk = next(key for key, _ in (place / "predictions.zarr").objects_below() if "/c/" in key)
    (place / "predictions.zarr" / chunk).remove()
    with pytest.raises(VerificationFailed, match="is missing"):
        pipeline.verify_predictions(f"{place}/predictions.zarr", config)


@pytest.mark.parametrize(
    ("environment", "address", "told"),
    [
        ({}, "az://absent/x", "no such container"),
        ({"AZURE_STORAGE_KEY": "d3Jvbmc="}, f"az://{CONTAINER}/x", "is denied"),
        ({"AZURE_STORAGE_KEY": "not base64!"}, f"az://{CONTAINER}/x", "cannot be used"),
        ({"AZURE_STORAGE_ACCOUNT": "another"}, f"az://{CONTAINER}/x", "is denied"),
    ],
)
def test_what_is_refused_is_told(environment, address, told, azure, fresh_clients, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PlaceError, match=told) as refused:
        Location.parse(address).write_bytes(b"1")
    assert azure.secret not in str(refused.value)


def test_a_connection_string_is_taken_as_the_tools_of_azure_take_it(
    azure, fresh_clients, monkeypatch
):
    for name in azure.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={azure.secret};"
        f"BlobEndpoint={azure.endpoint};",
    )
    assert not Location.parse(f"az://{CONTAINER}/nothing").exists()
