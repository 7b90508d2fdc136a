"""Ledgers in object stores: whole objects, never an append, few of them."""

import time

import pytest
from object_server import BUCKET, Relay

from distcnn.errors import FingerprintMismatch, PlaceUnreachable, StoreCorrupt, StoreError
from distcnn.location import Location, ObjectSettings
from distcnn.survey import Ledger
from distcnn.survey.ledger import lines as ledger_lines

PRINT = {"input": "abc", "settings": {"batch": 256}}


@pytest.fixture
def place(s3, request):
    found = Location.parse(f"s3://{BUCKET}/{request.node.name}/ledger.jsonl")
    yield found
    found.remove()


def begin(place, tasks=3):
    ledger = Ledger.open(place, PRINT)
    for number in range(tasks):
        ledger.record(f"task {number}", f"digest {number}", stars=number)
    ledger.flush()
    return ledger


def names(place):
    return sorted(name for name, _ in place.objects_below())


def test_a_ledger_goes_on_where_it_stopped(place):
    first = begin(place)
    assert dict(first.done) == dict(Ledger.read(place).done)
    again = Ledger.open(place, PRINT)
    again.record("task 3", "digest 3", stars=3)
    again.flush()
    done = Ledger.read(place).done
    assert done == {f"task {n}": {"digest": f"digest {n}", "stars": n} for n in range(4)}
    assert [name for name, _ in done.by_name()] == [f"task {n}" for n in range(4)]


def test_other_settings_may_not_continue_a_run(place):
    begin(place)
    with pytest.raises(FingerprintMismatch, match=r"\.batch = 256: .* settings\.batch = 128"):
        Ledger.open(place, PRINT | {"settings": {"batch": 128}})


def test_what_counts_for_nothing_is_begun_again(place):
    begin(place, tasks=1)
    other = PRINT | {"settings": {"batch": 128}}
    assert not Ledger.open(place, other, disposable={"task 0"}).done
    assert names(place) == ["fingerprint"]
    assert Ledger.read(place).fingerprint == other


def test_no_ledger_is_told(place):
    with pytest.raises(StoreError, match=r"does not exist: expected a ledger.*with its folder"):
        Ledger.read(place)


def test_no_object_is_ever_written_twice(place):
    ledger = begin(place, tasks=2)
    before = {name: (place / name).read_bytes() for name in names(place)}
    ledger.record("later", "digest")
    ledger.flush()
    assert {name: (place / name).read_bytes() for name in before} == before
    assert len(names(place)) == len(before) + 1


def test_lines_that_come_together_share_an_object(place):
    begin(place, tasks=300)
    assert len(names(place)) < 10


def test_lines_are_there_soon_though_nobody_waits_for_them(place):
    ledger = Ledger.open(place, PRINT)
    ledger.record("task 0", "digest 0")
    deadline = time.monotonic() + 20
    while not len(Ledger.read(place).done):
        assert time.monotonic() < deadline
    assert ledger.done.keys() == Ledger.read(place).done.keys()


def test_many_small_objects_become_few(place, monkeypatch):
    monkeypatch.setattr(ledger_lines, "MERGED_OBJECTS", 4)
    monkeypatch.setattr(ledger_lines, "SECONDS_BETWEEN_OBJECTS", 0.0)
    ledger = Ledger.open(place, PRINT)
    for number in range(40):
        ledger.record(f"task {number}", "digest")
        ledger.flush()
    read = Ledger.read(place)
    assert list(read.done) == [f"task {n}" for n in range(40)]
    assert len(names(place)) <= 1 + 3 * 3


def test_several_writers_lose_nothing(place):
    ledgers = [Ledger.open(place, PRINT) for _ in range(3)]
    for number in range(9):
        ledgers[number % 3].record(f"task {number}", "digest")
    for ledger in ledgers:
        ledger.flush()
    assert set(Ledger.read(place).done) == {f"task {n}" for n in range(9)}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data.replace(b"digest 1", b"digest 9"), "damaged"),
        (lambda data: data[:-5], "not whole"),
    ],
)
def test_a_damaged_object_is_an_error(place, damage, told):
    begin(place)
    # What came together shares an object, so it is not known before which has this task.
    every = [place / name for name in names(place)]
    (one,) = (found for found in every if b"digest 1" in found.read_bytes())
    one.write_bytes(damage(one.read_bytes()))
    for work in (lambda: Ledger.read(place).done["task 1"], lambda: Ledger.open(place, PRINT)):
        with pytest.raises(StoreCorrupt, match=told):
            work()


def test_lines_without_a_fingerprint_are_an_error(place):
    begin(place)
    (place / "fingerprint").remove()
    with pytest.raises(StoreCorrupt, match="fingerprint is missing"):
        Ledger.read(place)


def test_a_store_that_takes_no_more_is_told_and_nothing_counts(s3, place):
    down = []
    with Relay(
        s3, lambda _: (503, b"<Error><Code>SlowDown</Code></Error>") if down else None
    ) as at:
        settings = ObjectSettings(endpoint=at, allow_http=True, retries=0)
        ledger = Ledger.open(Location.parse(str(place), settings), PRINT)
        down.append(1)
        ledger.record("task 0", "digest")
        with pytest.raises(PlaceUnreachable, match="fewer requests"):
            ledger.flush()
        assert not Ledger.read(place).done
        down.clear()
        ledger.record("task 1", "digest")
        ledger.flush()
    assert set(Ledger.read(place).done) == {"task 0", "task 1"}


def test_one_ledger_takes_over_another_before_that_is_removed(place):
    other = begin(place.parent / "ledger.1-of-2.jsonl", tasks=5)
    ledger = begin(place, tasks=2)
    assert ledger.absorb(other) == 3
    (place.parent / "ledger.1-of-2.jsonl").remove()
    assert len(Ledger.read(place).done) == 5
