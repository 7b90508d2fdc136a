"""Run state: where a run stands, in numbers that stay few however long it runs.

A listener of the driver. Whoever shows a run to people reads its snapshots: the page on the Dask
dashboard, the Prometheus metrics, the note beside a prediction store that ``distcnn watch``
reads. An event costs some ten microseconds here and nothing is sent from here, so that the
number of regions does not matter to those who look.
"""

import os
import platform
import secrets
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from time import time
from typing import Any

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
from distcnn.survey import RegionResult

Snapshot = dict[str, Any]
"""Numbers, texts, lists and dicts only: it goes through msgpack and JSON as it is."""

RECENT_S = 30.0
"""What "now" means: so far back the present speed and rates look."""
MIN_RECENT_REGIONS = 8
"""Regions that "now" has at least, however long they take."""
MAX_RECENT_REGIONS = 256
MAX_POINTS = 240
"""Points of a curve; when there are more, every second one goes."""
MAX_WORKERS_SHOWN = 64
MAX_MEMBERS_SHOWN = 32
MAX_ERRORS = 8
MAX_TEXT = 300
RATES = {"novel": "NOVEL_SPECTRUM", "disagree": "MEMBERS_DISAGREE"}
"""Shares of stars that are followed over time, and the flags that tell them."""
CURVES = ("time", "speed", *RATES, "disagreement")
"""Seconds since the stage began; stars/s; shares of stars; member scatter / quoted error."""


def run_name() -> str:
    """A name for a run: start (UTC), host and process, and something that no other has."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}-{platform.node()}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass
class WorkerTotals:
    """What one worker process has done: sums over its regions, and its last one."""

    engine: str = ""
    regions: int = 0
    stars: int = 0
    memory: int = 0
    last_region: str = ""
    last_time: float = 0.0
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, result: RegionResult, now: float) -> None:
        self.engine, self.last_region, self.last_time = result.engine, result.region.name, now
        self.regions += 1
        self.stars += result.stars
        self.memory = max(self.memory, result.memory)
        self.seconds.update(result.seconds)

    def to_json(self) -> Snapshot:
        return {**vars(self), "seconds": _rounded(self.seconds)}


class Curves:
    """Values over time, thinned by half whenever there are too many."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._every = 1.0  # seconds between two points

    def add(self, row: tuple[float, ...]) -> None:
        """One point, unless the last one is too near; the first of ``row`` is the time [s]."""
        if self._rows and row[0] - self._rows[-1][0] < self._every:
            return
        self._rows.append(row)
        if len(self._rows) > MAX_POINTS:
            self._rows = self._rows[::2]
            self._every *= 2

    def to_json(self) -> dict[str, list[float]]:
        columns = zip(*self._rows, strict=True) if self._rows else ([] for _ in CURVES)
        return {name: list(column) for name, column in zip(CURVES, columns, strict=True)}


@dataclass
class _Recent:
    """A stored region, as far as the present speed and rates need it."""

    time: float
    stars: int
    flagged: Mapping[str, int]
    disagreement: float | None


class RunState:
    """Sums over the events of one run, and what of them is recent.

    Parameters
    ----------
    run : its name, the same in the journal.
    facts : what is known of it beforehand, shown as it is (command, output, cluster).
    clock : seconds since 1970.
    """

    def __init__(
        self, run: str, facts: Snapshot | None = None, clock: Callable[[], float] = time
    ) -> None:
        self.run, self.facts, self.clock = run, dict(facts or {}), clock
        self._lock = Lock()
        self.began = clock()
        self.status = "starting"
        self._begin("", 0, "", 0)

    def _begin(self, stage: str, total: int, unit: str, before: int) -> None:
        now = self.clock()
        self.stage, self.total, self.unit, self.before = stage, total, unit, before
        self.stage_began = self.last_progress = now
        self.longest_gap = 0.0
        self.done = 0
        self.regions = self.failed_attempts = self.quarantined = 0
        self.flagged: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.workers: dict[str, WorkerTotals] = {}
        self.members: dict[int, Snapshot] = {}
        self.last_region = ""
        self.errors: deque[Snapshot] = deque(maxlen=MAX_ERRORS)
        self.recent: deque[_Recent] = deque(maxlen=MAX_RECENT_REGIONS)
        self.curves = Curves()
        self.version = 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.version += 1
            match event:
                case StageStarted():
                    self._begin(event.stage, event.total, event.unit, event.done)
                    self.status = "running"
                case RegionStored():
                    self._stored(event)
                case Advanced() if event.stage == self.stage:
                    self._progress(event.count)
                case EpochEnded():
                    self._epoch(event)
                case RegionFailed():
                    self.failed_attempts += 1
                    self._note(event.error, event.region, event.attempt)
                case Notice(level="warning"):
                    self._note(event.text, "", 0)
                case StageEnded() if event.stage == self.stage:
                    self.status = "complete"
                    self.last_progress = self.clock()

    def _stored(self, event: RegionStored) -> None:
        result = event.result
        now = self._progress(event.count)
        self.regions += 1
        self.quarantined += result.failed
        self.last_region = event.region
        self.flagged.update(result.flagged)
        self.seconds.update(result.seconds)
        self.workers.setdefault(result.worker, WorkerTotals()).add(result, now)
        self.recent.append(_Recent(now, result.stars, result.flagged, result.disagreement))

    def _progress(self, count: int) -> float:
        now = self.clock()
        self.done += count
        self.longest_gap = max(self.longest_gap, now - self.last_progress)
        self.last_progress = now
        return now

    def _epoch(self, event: EpochEnded) -> None:
        self._progress(0)
        self.members.pop(event.member, None)
        self.members[event.member] = {
            "epoch": event.epoch,
            "epochs": event.epochs,
            "loss": event.loss,
            "validation": event.validation,
            "stars_per_second": event.stars_per_second,
        }
        while len(self.members) > MAX_MEMBERS_SHOWN:
            del self.members[next(iter(self.members))]

    def _note(self, text: str, region: str, attempt: int) -> None:
        self.errors.append(
            {"time": self.clock(), "region": region, "attempt": attempt, "text": text[:MAX_TEXT]}
        )

    def silence(self) -> float:
        """Seconds without progress; 0 where nothing is to be done."""
        with self._lock:
            return self._silence(self.clock())

    def end(self, status: str) -> None:
        """The run is over: ``complete``, ``failed``, ``stopped``."""
        with self._lock:
            self.version += 1
            if self.status != "complete" or status == "failed":
                self.status = status

    def set_stalled(self, text: str) -> None:
        """Say what is stuck; an empty text says that it goes on."""
        with self._lock:
            self.version += 1
            if self.status in _WAITING:
                self.status = "stalled" if text else "running"
            self.facts["stalled"] = text

    def speed(self, now: float) -> float:
        """Units per second of late; of the whole stage where units are not stars of regions."""
        recent = self._recent(now)
        if len(recent) > 1 and now > recent[0].time:
            return sum(one.stars for one in list(recent)[1:]) / (now - recent[0].time)
        return self.done / (now - self.stage_began) if now > self.stage_began else 0.0

    def _recent(self, now: float) -> deque[_Recent]:
        recent = self.recent
        while len(recent) > MIN_RECENT_REGIONS and now - recent[0].time > RECENT_S:
            recent.popleft()
        return recent

    def tick(self) -> None:
        """Add a point to the curves; called about once a second."""
        with self._lock:
            if self.status not in _WAITING or not self.recent:
                return
            now = self.clock()
            rates = self._rates(now)
            at = round(now - self.stage_began, 1)
            self.curves.add((at, round(self.speed(now), 1), *(rates[n] for n in CURVES[2:])))

    def _rates(self, now: float) -> dict[str, float]:
        """Of the stars of late: shares by flag, and what members disagree by."""
        recent = self._recent(now)
        stars = sum(one.stars for one in recent) or 1
        rates = {
            name: round(sum(one.flagged.get(flag, 0) for one in recent) / stars, 5)
            for name, flag in RATES.items()
        }
        known = [(one.stars, one.disagreement) for one in recent if one.disagreement is not None]
        spread = sum(n * value for n, value in known) / (sum(n for n, _ in known) or 1)
        return {**rates, "disagreement": round(spread, 4)}

    def snapshot(self) -> Snapshot:
        """Everything, as plain values."""
        with self._lock:
            now = self.clock()
            left = max(0, self.total - self.before - self.done)
            mean = self.done / (now - self.stage_began) if now > self.stage_began else 0.0
            workers = sorted(self.workers.items(), key=lambda item: -item[1].last_time)
            return {
                "run": self.run,
                **self.facts,
                "version": self.version,
                "time": now,
                "began": self.began,
                "status": self.status,
                "stage": self.stage,
                "unit": self.unit,
                "total": self.total,
                "before": self.before,
                "done": self.done,
                "left": left,
                "elapsed": round(now - self.stage_began, 2),
                "speed": round(self.speed(now), 2),
                "mean_speed": round(mean, 2),
                "seconds_left": round(left / mean, 1) if mean and left else None,
                "silence": round(self._silence(now), 2),
                "regions": self.regions,
                "failed_attempts": self.failed_attempts,
                "quarantined": self.quarantined,
                "flags": dict(self.flagged),
                "seconds": _rounded(self.seconds),
                "rates": self._rates(now),
                "last_region": self.last_region,
                "workers": {name: one.to_json() for name, one in workers[:MAX_WORKERS_SHOWN]},
                "worker_count": len(self.workers),
                "members": {str(number): dict(one) for number, one in self.members.items()},
                "errors": list(self.errors),
                "curves": self.curves.to_json(),
            }

    def _silence(self, now: float) -> float:
        return now - self.last_progress if self.status in _WAITING else 0.0


_WAITING = ("running", "stalled")


def _rounded(seconds: Counter[str]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
