import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.errors import FingerprintMismatch, StoreCorrupt, StoreError
from distcnn.survey import Ledger

PRINT = {"input": "abc", "settings": {"batch": 256}}


def begin(folder, items=3):
    ledger = Ledger.open(folder / "ledger.jsonl", PRINT)
    for number in range(items):
        ledger.record(f"item {number}", f"digest {number}", stars=number)
    return ledger


def test_a_ledger_goes_on_where_it_stopped(tmp_path):
    begin(tmp_path)
    again = Ledger.open(tmp_path / "ledger.jsonl", PRINT)
    again.record("item 3", "digest 3", stars=3)
    done = Ledger.read(tmp_path / "ledger.jsonl").done
    assert done == {f"item {n}": {"digest": f"digest {n}", "stars": n} for n in range(4)}


def test_other_settings_may_not_continue_a_run(tmp_path):
    begin(tmp_path)
    with pytest.raises(FingerprintMismatch, match=r"settings = .*256.*expected .*128"):
        Ledger.open(tmp_path / "ledger.jsonl", PRINT | {"settings": {"batch": 128}})


@settings(max_examples=60)
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_ledger_cut_anywhere_keeps_its_whole_lines_and_goes_on(cut, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    file = begin(folder).path
    data = file.read_bytes()
    whole = max(data[:cut].count(b"\n") - 1, 0)
    file.write_bytes(data[:cut])
    again = Ledger.open(file, PRINT)
    assert len(again.done) == min(whole, 3)
    again.record("later", "digest")
    assert list(Ledger.read(file).done)[-1] == "later"
    assert len(Ledger.read(file).done) == min(whole, 3) + 1


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    file = begin(tmp_path).path
    lines = file.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace("digest 1", "digest 9")
    file.write_text("".join(lines))
    with pytest.raises(StoreCorrupt, match="line 3 is damaged"):
        Ledger.open(file, PRINT)


def test_a_ledger_that_is_not_there_cannot_be_read(tmp_path):
    with pytest.raises(StoreError, match="a ledger"):
        Ledger.read(tmp_path / "ledger.jsonl")
