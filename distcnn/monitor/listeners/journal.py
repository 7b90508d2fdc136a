"""The journal: every event as one line of JSON, for machines and for later."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from distcnn.errors import UsageError
from distcnn.events import Event, StageEnded, StageStarted
from distcnn.monitor.run_state import run_name
from distcnn.survey import RegionResult


class Journal:
    """Appends to ``path``; one object a line, read by ``pandas.read_json(path, lines=True)``.

    ``{"time": "2026-01-31T12:00:00+00:00", "run": "20260131T115900-host-4711",
    "event": "RegionStored", "stage": "predict", "region": "000000000-000002048", "attempt": 1,
    "result": {"stars": 2048, "seconds": {"read": 0.4, ...}, "memory": 812000000, ...}}``

    Every line has the time (UTC), the run (many may share a file; its page, its metrics and its
    notes have the same name),
    the event and its stage; the rest are the event's own fields. The stage of an event without
    one, such as a notice, is the stage begun last and not ended yet, null outside of stages.
    Numbers that are not finite become null, as JSON has none.

    Raises
    ------
    UsageError : the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Unbuffered, so every line is one write to a file opened for appending: it is on its
            # way at once, and the lines of two runs do not mix.
            self._stream = path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f"the journal {path} cannot be written ({error.strerror})") from None
        self.run = run_name()
        self._stages: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._stages.append(event.stage)
        record: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(),
            "run": self.run,
            "event": type(event).__name__,
            "stage": self._stages[-1] if self._stages else None,
        }
        record |= {field.name: _as_json(getattr(event, field.name)) for field in fields(event)}
        self._stream.write((json.dumps(record, allow_nan=False) + "\n").encode())
        if isinstance(event, StageEnded) and event.stage in self._stages:
            self._stages.remove(event.stage)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _as_json(value: object) -> object:
    """The value in JSON's own types."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, RegionResult):
        value = value.to_json()
    if isinstance(value, Mapping):
        return {str(name): _as_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(part) for part in value]
    return value if isinstance(value, bool | int | str) or value is None else str(value)
