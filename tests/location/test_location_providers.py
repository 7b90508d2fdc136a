"""Google's and Azure's stores: what is refused before anything is asked for, and Google's XML."""

import json
import os

import pytest
from conformance.location_checks import LocationChecks, own_place
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from object_server import BUCKET, SECRET, google_relay

from distcnn.errors import PlaceError
from distcnn.location import Location, ObjectSettings, client


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment that says nothing of any store, on a machine of no provider."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for provider in ("gs", "az"):
        monkeypatch.setattr(f"distcnn.location.providers.{provider}.machine_is_of", lambda _: False)
    client._open.cache_clear()
    yield tmp_path
    client._open.cache_clear()


def _refused(address, match, settings=None):
    with pytest.raises(PlaceError, match=match) as refused:
        Location.parse(address, settings).exists()
    assert SECRET not in str(refused.value)


def test_missing_credentials_are_told_before_anything_is_asked(bare, monkeypatch):
    _refused("gs://b/x", r"no credentials for gs://b here.*GOOGLE_APPLICATION_CREDENTIALS")
    _refused("az://b/x", r"which storage account az://b is.*AZURE_STORAGE_ACCOUNT")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine")
    _refused("az://b/x", r"no credentials for az://b here.*az login")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read as credentials"),
        ("[]", "cannot be read as credentials"),
        (f"{{{SECRET}", "cannot be read as credentials"),
        (json.dumps({"type": "external_account", "x": SECRET}), "external_account.*gcloud auth"),
        (json.dumps({"type": "service_account", "private_key": SECRET}), "cannot be used"),
    ],
)
def test_a_file_of_google_that_cannot_be_used_is_told(content, told, bare, monkeypatch):
    path = bare / "key.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    _refused("gs://b/x", told)


def test_a_key_of_azure_that_is_none_is_told(bare, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine")
    monkeypatch.setenv("AZURE_STORAGE_KEY", f"{SECRET}!")
    _refused("az://b/x", "credentials cannot be used")


@pytest.mark.parametrize("address", ["gs://b/x", "az://b/x"])
def test_an_endpoint_without_encryption_has_to_be_meant(address, bare):
    _refused(address, r"not encrypted.*ALLOW_HTTP=true", ObjectSettings(endpoint="http://h:1"))


@pytest.fixture(scope="module")
def account():
    """A service account whose key nobody knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    return {
        "type": "service_account",
        "client_email": "tester@example.org",
        "private_key": key.private_bytes(*form).decode(),
        "private_key_id": "1",
    }


@pytest.fixture
def google(bare, account, object_endpoint, monkeypatch):
    with google_relay(object_endpoint) as address:
        key = bare / "service_account.json"
        key.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        monkeypatch.setenv("GOOGLE_BASE_URL", address)
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        client._open.cache_clear()
        yield address


class TestGoogleLocation(LocationChecks):
    leaves_drafts = False

    @pytest.fixture
    def folder(self, google, request):
        yield from own_place(f"gs://{BUCKET}", request)


def test_a_bucket_that_is_not_there_is_told(google):
    _refused("gs://none/x", "gs://none/x: there is no such bucket")
