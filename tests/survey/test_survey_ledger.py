import gc
import json
import sys
import zlib
from types import FunctionType, ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.errors import FingerprintMismatch, StoreCorrupt, StoreError
from distcnn.survey import Ledger, check_fingerprint
from distcnn.survey.ledger import line_index as module

PRINT = {"input": "abc", "settings": {"batch": 256}}


def begin(folder, tasks=3):
    ledger = Ledger.open(folder / "ledger.jsonl", PRINT)
    for number in range(tasks):
        ledger.record(f"task {number}", f"digest {number}", stars=number)
    return ledger


def test_a_ledger_goes_on_where_it_stopped(tmp_path):
    begin(tmp_path)
    again = Ledger.open(tmp_path / "ledger.jsonl", PRINT)
    again.record("task 3", "digest 3", stars=3)
    done = Ledger.read(tmp_path / "ledger.jsonl").done
    assert done == {f"task {n}": {"digest": f"digest {n}", "stars": n} for n in range(4)}


def test_other_settings_may_not_continue_a_run(tmp_path):
    begin(tmp_path)
    with pytest.raises(FingerprintMismatch, match=r"\.batch = 256: .* settings\.batch = 128"):
        Ledger.open(tmp_path / "ledger.jsonl", PRINT | {"settings": {"batch": 128}})


@settings(max_examples=60, deadline=None)
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


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(texts, max_size=12), before=st.integers(0, 12), at_once=st.integers(1, 5))
def test_entries_are_a_dict_of_the_lines_whatever_the_names(
    names, before, at_once, tmp_path_factory
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SORT_AFTER_NAMES", at_once)
        check_entries(tmp_path_factory.mktemp("names") / "ledger.jsonl", names, before)


def check_entries(file, names, before):
    wanted = {}
    ledger = Ledger.open(file, PRINT)
    for number, name in enumerate(names):
        if number == before:
            ledger = Ledger.open(file, PRINT)
        ledger.record(name, f"digest {number}", stars=number)
        wanted[name] = {"digest": f"digest {number}", "stars": number}
    for found in (ledger.done, Ledger.read(file).done):
        assert dict(found.items()) == wanted == found
        assert sorted(map(str, found.values())) == sorted(map(str, wanted.values()))
        assert list(found.by_name()) == sorted(wanted.items())
        assert list(found.among(reversed(names))) == [wanted[name] for name in reversed(names)]
        assert all(found[name] == facts for name, facts in wanted.items())
        assert len(found) == len(wanted)
        assert "other name that is long" not in found


def test_a_ledger_holds_no_facts_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    before, reasons = reachable(begin(tmp_path, 0)), {"a reason": [[n, n] for n in range(50)]}
    ledger = Ledger.open(tmp_path / "ledger.jsonl", PRINT)
    tasks = 2 * module.SORT_AFTER_NAMES
    for number in range(tasks):
        ledger.record(f"{number:09d}-{number + 1:09d}", "0" * 64, reasons=reasons)
    assert ledger.done["000000007-000000008"]["reasons"] == reasons
    for known in (ledger, Ledger.read(ledger.path)):
        assert len(known.done) == tasks
        assert (reachable(known) - before) / tasks < 40


def reachable(thing):
    """Bytes of an object and of everything that it alone leads to."""
    seen, waiting = {}, [thing]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
            seen[id(one)] = sys.getsizeof(one)
            waiting += gc.get_referents(one)
    return sum(seen.values())


def test_facts_of_a_ledger_that_was_changed_meanwhile_are_refused(tmp_path):
    ledger = begin(tmp_path)
    data = ledger.path.read_bytes()
    ledger.path.write_bytes(data.replace(b"digest 1", b"digest 7"))
    assert ledger.done["task 0"] == {"digest": "digest 0", "stars": 0}
    with pytest.raises(StoreCorrupt, match="changed while it was in use"):
        ledger.done["task 1"]
    ledger.path.unlink()
    with pytest.raises(StoreError, match="a ledger"):
        list(ledger.done.items())
    with pytest.raises(KeyError):
        ledger.done["task 9"]


def test_a_ledger_of_before_opens_and_a_line_that_was_damaged_last_is_dropped(tmp_path):
    file = tmp_path / "ledger.jsonl"
    texts = [
        json.dumps({"fingerprint": PRINT}),
        json.dumps({"digest": "d", "name": 'a "b" \u00e9'}),
    ]
    whole = b"".join(b"%08x %s\n" % (zlib.crc32(t.encode()), t.encode()) for t in texts)
    file.write_bytes(whole + b"00000000 {}\n" + b"torn")
    ledger = Ledger.open(file, PRINT)
    assert ledger.done == {'a "b" \u00e9': {"digest": "d"}}
    assert file.read_bytes() == whole


def test_a_ledger_in_which_nothing_that_counts_is_done_is_begun_again(tmp_path):
    path = tmp_path / "ledger.jsonl"
    Ledger.open(path, {"rebin": 3}).record("labels", "abc")
    with pytest.raises(FingerprintMismatch):
        Ledger.open(path, {"rebin": 2})
    again = Ledger.open(path, {"rebin": 2}, disposable={"labels"})
    assert list(again.done) == []
    again.record("part", "abc")
    with pytest.raises(FingerprintMismatch, match=r"rebin = 2: expected rebin = 3.*Do this\."):
        Ledger.open(path, {"rebin": 3}, disposable={"labels"}, cure="Do this.")
    assert list(Ledger.open(path, {"rebin": 2}).done) == ["part"]


def test_what_differs_is_named_with_both_values_and_a_digest_in_words():
    found = {"package": "a" * 64, "split": {"seed": 1, "train": 0.5}, "a": 1, "b": 1, "c": 1}
    asked = {**found, "split": {"seed": 2, "train": 0.5}}
    with pytest.raises(FingerprintMismatch) as caught:
        check_fingerprint(found, asked, begun="x was begun")
    assert caught.value.problem == "x was begun with split.seed = 1"
    assert caught.value.expected == "split.seed = 2, as asked now"
    with pytest.raises(FingerprintMismatch, match=r"another package \(package = aaaaaaaa\.\.\.\)"):
        check_fingerprint(found, {**found, "package": "b" * 64}, begun="x was begun")
    with pytest.raises(FingerprintMismatch, match=r"a = 1, b = 1, c = 1 \(and 3 more\)"):
        check_fingerprint(found, {}, begun="x was begun")
