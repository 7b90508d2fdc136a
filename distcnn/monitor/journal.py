"""The journal: every event as one line of JSON, for machines and for later."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from distcnn.errors import UsageError
from distcnn.events import Event


class Journal:
    """Appends to ``path``; ``{"time": "...", "event": "Advanced", "stage": ..., "count": ...}``.

    Numbers that are not finite become null, as JSON has none.

    Raises
    ------
    UsageError : the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"the journal {path} cannot be written ({error.strerror})") from None

    def __call__(self, event: Event) -> None:
        record: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(),
            "event": type(event).__name__,
        }
        record |= {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        self._stream.write(json.dumps(record, allow_nan=False) + "\n")
        self._stream.flush()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _plain(value: object) -> object:
    """The value in JSON's own types."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    return value if isinstance(value, bool | int | str) or value is None else str(value)
