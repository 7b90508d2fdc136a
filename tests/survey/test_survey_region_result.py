import json
from dataclasses import replace

import pytest

from distcnn.errors import RegionError
from distcnn.survey import Ledger, Region, RegionResult

RESULT = RegionResult(
    region=Region(32, 64),
    digest="ab" * 32,
    stars=32,
    done=29,
    failed=3,
    flagged={"NO_XP": 4},
    reasons={"unreadable": ((40, 10**15), (41, 10**15 + 7)), "not finite": ((50, 3),)},
    batch=8,
    planned_batch=16,
    engine="eager float32",
    parity=1.8153e-05,
    seconds={"load": 0.0, "read": 0.1, "infer": 0.2, "write": 0.05, "total": 0.35},
    memory=800_000_000,
    worker="host:12",
)
FIRST_LINE = {
    "digest": "cd" * 32,
    "done": 32,
    "failed": 0,
    "flagged": {},
    "reasons": {},
    "batch": 16,
    "engine": "eager",
    "parity": 0.0,
    "seconds": 1.5,
}
"""A line as the first version wrote it."""


def test_a_result_survives_a_ledger(tmp_path):
    ledger = Ledger.open(tmp_path / "ledger.jsonl", {})
    ledger.record(RESULT.region.name, **RESULT.to_json())
    ((name, line),) = Ledger.read(ledger.path).done.items()
    assert RegionResult.from_json(name, line) == RESULT


def test_the_keys_of_a_ledger_line_are_those_that_stores_on_disk_have():
    assert list(RESULT.to_json()) == [
        *("digest", "stars", "done", "failed", "flagged", "reasons", "batch", "planned"),
        *("engine", "parity", "seconds", "memory", "worker", "disagreement"),
    ]


def test_a_line_of_the_first_version_is_read():
    result = RegionResult.from_json("000000032-000000064", FIRST_LINE)
    assert (result.stars, result.planned_batch, result.seconds) == (32, 16, {"total": 1.5})
    assert (result.memory, result.worker) == (0, "")
    assert json.loads(json.dumps(result.to_json())) == FIRST_LINE | {
        "stars": 32,
        "planned": 16,
        "seconds": {"total": 1.5},
        "memory": 0,
        "worker": "",
        "disagreement": None,
    }


def test_every_failed_row_has_its_reason():
    assert RESULT.reason_by_row == {40: "unreadable", 41: "unreadable", 50: "not finite"}
    assert replace(RESULT, reasons={}).reason_by_row == {}


def test_a_line_whose_name_is_no_region_is_refused():
    with pytest.raises(RegionError):
        RegionResult.from_json("member-3", FIRST_LINE)
