"""Places in object stores: the kit of all places, addresses, laws, and what goes wrong."""

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import obstore
import pytest
from conformance.location_checks import LocationChecks, own_place
from object_server import BUCKET, SECRET, Relay

from distcnn.errors import LockHeld, MissingExtra, PlaceError, PlaceUnreachable, UsageError
from distcnn.location import LocalLocation, Location, ObjectSettings, client, lease
from distcnn.location.objects import MARKER


class TestObjectLocation(LocationChecks):
    leaves_drafts = False

    @pytest.fixture
    def folder(self, s3, request):
        yield from own_place(f"s3://{BUCKET}", request)


@pytest.fixture
def folder(s3, request):
    yield from own_place(f"s3://{BUCKET}", request)


@pytest.mark.parametrize("text", ["s3://b/runs/a.zarr", "gs://b/a", "az://c/x/y", "S3://b/k/"])
def test_addresses_name_places_in_object_stores_also_as_paths(text):
    place = Location.parse(text)
    assert str(place).lower() == text.lower().rstrip("/")
    assert Location.parse(Path(text)) == place
    with pytest.raises(UsageError, match="expected a path on a local or mounted disk"):
        place.local_path  # noqa: B018


def test_an_address_carries_settings_and_never_credentials(s3):
    settings = ObjectSettings(endpoint=s3, region="r", retries=1, allow_http=True)
    place = Location.parse(f"s3://{BUCKET}/a", settings) / "b"
    assert Location.parse(place.address) == place
    assert pickle.loads(pickle.dumps(place)) == place
    place.exists()
    for text in (place.address, repr(place), pickle.dumps(place).decode("latin1")):
        assert SECRET not in text
    assert str(place) == f"s3://{BUCKET}/a/b"


@pytest.mark.parametrize(
    "text",
    [
        "s3://user:hidden1@bucket/a",
        "s3://key@bucket/a",
        f"s3://{BUCKET}/a?endpoint=http://u:hidden1@h",
        f"s3://{BUCKET}/a?secret_access_key=hidden1",
        f"s3://{BUCKET}/a?retries=hidden1",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(text):
    with pytest.raises(UsageError) as refused:
        Location.parse(text)
    assert "hidden1" not in str(refused.value)


@pytest.mark.parametrize("text", ["s3://", "s3:///a", "s3://b/../a", "az://"])
def test_an_address_without_a_place_is_refused(text):
    with pytest.raises(UsageError):
        Location.parse(text)


def test_places_find_each_other_across_stores(folder, tmp_path):
    survey, package = folder / "s.zarr", folder / "deep/package"
    assert package.relative_to(survey) == "../deep/package"
    assert survey.resolve("../deep/package") == package
    local = LocalLocation(tmp_path / "p")
    assert survey.resolve(local.relative_to(survey)) == local
    assert local.resolve(survey.relative_to(local)) == survey
    other = Location.parse("s3://other/x")
    assert survey.resolve(other.relative_to(survey)) == other


def test_a_folder_that_is_being_made_is_not_there_and_is_made_anew(folder):
    made = folder / "store"
    (made / MARKER).write_bytes(b"")
    (made / "left/over").write_bytes(b"1")
    assert not made.exists()
    assert not made.is_folder()
    with made.new_folder() as draft:
        (draft / "zarr.json").write_bytes(b"{}")
    assert [name for name, _ in made.objects_below()] == ["zarr.json"]


def test_what_makes_a_folder_valid_is_written_last_and_removed_first(folder, monkeypatch):
    did = []
    real_put, real_delete = obstore.put, obstore.delete

    def put(store, key, *args, **options):
        did.append(("put", key.rpartition("/")[2]))
        return real_put(store, key, *args, **options)

    def delete(store, key):
        did.append(("delete", key.rpartition("/")[2]))
        return real_delete(store, key)

    monkeypatch.setattr(obstore, "put", put)
    monkeypatch.setattr(obstore, "delete", delete)
    with (folder / "p").new_folder() as draft:
        for name in ("manifest.json", "a", "members/z"):
            (draft / name).write_bytes(b"1")
    written = [name for _, name in did if name in {MARKER, "manifest.json", "a", "z"}]
    assert written[0] == written[-1] == MARKER
    assert written[-2] == "manifest.json"
    did.clear()
    (folder / "p").remove()
    removed = [name for verb, name in did if verb == "delete"]
    assert removed.index("manifest.json") < min(removed.index("a"), removed.index("z"))
    assert removed[-1] == MARKER


def test_no_request_is_conditional_or_deletes_in_bulk(s3, folder, monkeypatch):
    seen = []
    relay = Relay(s3, lambda handler: seen.append((handler.command, handler.path, handler)))
    with relay as address:
        place = Location.parse(str(folder), ObjectSettings(endpoint=address, allow_http=True))
        with (place / "p").new_folder() as draft:
            (draft / "manifest.json").write_bytes(b"1")
            (draft / "x").write_bytes(b"1")
        (place / "p").remove()
    assert {command for command, _, _ in seen} <= {"GET", "HEAD", "PUT", "DELETE"}
    assert not any(name.lower().startswith("if-") for _, _, h in seen for name in h.headers)


def _error(code, status):
    text = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>"
    return lambda _: (status, text.encode())


@pytest.mark.parametrize(
    ("code", "status", "kind", "told"),
    [
        ("AccessDenied", 403, PlaceError, "access is denied.*Check the credentials"),
        ("InvalidAccessKeyId", 403, PlaceError, "access key is unknown"),
        ("SignatureDoesNotMatch", 403, PlaceError, "secret key does not fit"),
        ("ExpiredToken", 400, PlaceError, "token has expired"),
        ("NoSuchBucket", 404, PlaceError, "no such bucket"),
        ("PermanentRedirect", 301, PlaceError, "another region.*objects.region"),
        ("AuthorizationHeaderMalformed", 400, PlaceError, "region is another"),
        ("SlowDown", 503, PlaceUnreachable, "fewer requests"),
        ("InternalError", 500, PlaceUnreachable, "cannot be reached"),
        ("TooManyRequests", 429, PlaceUnreachable, "fewer requests"),
        ("Odd", 418, PlaceError, "cannot be used"),
    ],
)
def test_every_answer_is_told_with_its_cure_and_nothing_of_its_text(code, status, kind, told, s3):
    with Relay(s3, _error(code, status)) as address:
        settings = ObjectSettings(endpoint=address, allow_http=True, retries=1, retry_seconds=5)
        place = Location.parse(f"s3://{BUCKET}/x", settings)
        for work in (place.read_bytes, lambda: place.write_bytes(b"1"), place.size):
            with pytest.raises(kind, match=told) as met:
                work()
            assert type(met.value) is kind
            assert SECRET not in str(met.value)
            assert "obstore" not in repr(met.value.__context__ and met.value.__cause__)


def test_an_overloaded_server_is_asked_again(s3, folder):
    turns = iter([(503, b"<Error><Code>SlowDown</Code></Error>")] * 2)
    with Relay(s3, lambda _: next(turns, None)) as address:
        settings = ObjectSettings(endpoint=address, allow_http=True, retries=3)
        place = Location.parse(f"{folder}/x", settings)
        place.write_bytes(b"1")
        assert place.read_bytes() == b"1"


def test_a_server_that_is_not_there_is_told_within_bounds(s3):
    settings = ObjectSettings(endpoint="http://127.0.0.1:9", allow_http=True, retries=1)
    with pytest.raises(PlaceUnreachable, match=r"cannot be reached \(connect\).*objects.retries"):
        Location.parse("s3://b/x", settings).exists()


def test_a_bucket_that_is_not_there_is_told(s3):
    for work in ("exists", "size", "read_bytes", "is_folder"):
        with pytest.raises(PlaceError, match="s3://none/x: there is no such bucket"):
            getattr(Location.parse("s3://none/x"), work)()


def test_an_endpoint_without_encryption_has_to_be_meant(s3, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(PlaceError, match=r"not encrypted.*AWS_ALLOW_HTTP=true"):
        Location.parse("s3://b/x").exists()


def test_missing_credentials_are_told_at_once(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(PlaceError, match="no credentials for s3://b here"):
        Location.parse("s3://b/x").exists()


def test_credentials_come_from_the_files_of_the_tools(s3, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text(
        f"[own]\naws_access_key_id = tester\naws_secret_access_key = {SECRET}\n"
    )
    (tmp_path / "config").write_text(f"[profile own]\nendpoint_url = {s3}\nregion = us-east-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "own")
    assert not Location.parse(f"s3://{BUCKET}/nothing").exists()
    client._open.cache_clear()
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(PlaceError, match="no profile 'absent'"):
        Location.parse(f"s3://{BUCKET}/nothing").exists()


def test_a_profile_that_needs_a_program_says_how_to_get_its_keys(s3, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[default]\nsso_session = my\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(PlaceError, match=r"uses sso_session.*aws configure export-credentials"):
        Location.parse("s3://b/x").exists()


def test_without_the_library_the_extra_is_named(s3, monkeypatch):
    client._open.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore", None)
    for text in ("s3://b/x", "gs://b/x", "az://b/x"):
        with pytest.raises(MissingExtra, match=r"pip install 'distcnn\[s3\]'"):
            Location.parse(text).client_below()


def test_a_lease_that_was_not_renewed_counts_no_more(folder, monkeypatch):
    place = folder / "lock"
    (place / "alone-0123").write_bytes(b"process 1 on elsewhere")
    with pytest.raises(LockHeld, match=r"held by process 1 on elsewhere.*it counts no more"):
        place.lock()
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    place.lock().release()
    assert not place.exists()


def test_a_lease_of_a_dead_process_of_this_machine_counts_no_more(folder):
    number = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    ).stdout
    holder = f"process {int(number)} on {os.uname().nodename}"
    (folder / "lock/alone-0123").write_bytes(holder.encode())
    (folder / "lock").lock().release()


def test_of_many_that_want_a_lease_at_once_never_two_have_it(folder):
    place, holders, most = folder / "lock", [], []

    def want():
        try:
            with place.lock():
                holders.append(1)
                most.append(len(holders))
                (folder / "work").write_bytes(b"1")
                holders.pop()
        except LockHeld:
            pass

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) <= {1}
    place.lock().release()


def test_a_forked_process_is_told_to_be_started_anew(folder):
    folder.exists()
    monkey = list(client._opened_by)
    try:
        client._opened_by[:] = [-1]
        with pytest.raises(PlaceError, match="before this process was forked"):
            folder.exists()
    finally:
        client._opened_by[:] = monkey
