"""Conformance kit of listeners: a listener is finished when these pass.

A subclass gives the fixture ``listener``, newly opened for every test.
"""

from pathlib import Path

import numpy as np
import pytest

from distcnn.events import (
    Advanced,
    EpochEnded,
    Event,
    Notice,
    RegionFailed,
    RegionStored,
    StageEnded,
    StageStarted,
)
from distcnn.survey import Region, RegionResult

ORDERLY = (
    StageStarted("predict", 100, "stars", done=20),
    Notice("20 stars are stored from an earlier run"),
    Advanced("predict", 40, "worker 1"),
    Advanced("predict", 40),
    StageEnded("predict", {"stars": 100, "seconds": 1.5}),
)

RESULT = RegionResult(
    region=Region(0, 32),
    digest="abc",
    stars=32,
    done=31,
    failed=1,
    flagged={"NO_XP": 2},
    reasons={"no flux": ((7, 4711),)},
    batch=16,
    planned_batch=32,
    engine="eager float32",
    parity=1e-6,
    seconds={"load": 0.1, "read": 0.2, "infer": 1.0, "write": 0.3, "total": 1.5},
    memory=500_000_000,
    worker="host:1",
)
STORED = RegionStored("predict", RESULT.region.name, 2, RESULT)


class ListenerChecks:
    """What every listener bears without an exception."""

    def test_an_orderly_stage(self, listener):
        tell(listener, *ORDERLY)

    def test_two_stages_at_once(self, listener):
        tell(listener, StageStarted("read", 3, "files"), StageStarted("write", 5, "stars"))
        tell(listener, Advanced("read", 1), Advanced("write", 5), StageEnded("write"))
        tell(listener, Advanced("read", 2), StageEnded("read"))

    def test_regions_that_are_stored_and_that_fail(self, listener):
        tell(listener, StageStarted("predict", 64, "stars"))
        tell(listener, RegionFailed("predict", STORED.region, 1, "[disk] full"), STORED)
        tell(listener, StageEnded("predict"), STORED)

    def test_members_that_train(self, listener):
        tell(listener, StageStarted("train", 4, "epochs"))
        for epoch in (1, 2):
            for member in (0, 1):
                tell(listener, EpochEnded(member, epoch, 2, -1.0, float("nan"), 12345.6))
                tell(listener, Advanced("train", 1))
        tell(listener, StageEnded("train"))

    def test_nothing_to_do(self, listener):
        tell(listener, StageStarted("export", 0, "stars"), StageEnded("export"))

    def test_events_out_of_order(self, listener):
        tell(listener, Advanced("unknown", 1), StageEnded("unknown"))
        tell(listener, EpochEnded(0, 1, 2, 0.0, 0.0, 0.0))
        tell(listener, *ORDERLY, *ORDERLY, Advanced("predict", 1), StageEnded("predict"))
        tell(listener, StageStarted("twice", 1, "stars"), StageStarted("twice", 2, "stars"))

    def test_more_than_was_announced(self, listener):
        tell(listener, StageStarted("ingest", 10, "files"), Advanced("ingest", 11))

    @pytest.mark.parametrize(
        "value", [np.float32(1.5), np.int64(3), float("inf"), Path("a/b"), None, True, [1, (2,)]]
    )
    def test_facts_of_any_kind(self, listener, value):
        tell(listener, StageEnded("report", {"fact": value, "array": np.arange(2)}))

    def test_texts_with_brackets_lines_and_letters(self, listener):
        tell(listener, Notice("[bold]a/[red]\nsecond line: é [/]", "warning"), Notice(""))
        tell(listener, StageStarted("[alpha/M]", 1, "stars"), Advanced("[alpha/M]", 1))
        tell(listener, StageEnded("[alpha/M]", {"[x]": "[/y]"}))

    def test_closing_twice(self, listener):
        tell(listener, *ORDERLY)
        listener.close()
        listener.close()

    def test_closing_in_the_middle_of_a_stage(self, listener):
        tell(listener, StageStarted("predict", 10, "stars"), EpochEnded(0, 1, 2, 0.0, 0.0, 1.0))
        listener.close()


def tell(listener, *events: Event) -> None:
    for event in events:
        listener(event)
