"""Checkpoints: written whole or not at all, and believed only if their digest fits."""

import io
import json
from pathlib import Path
from typing import Any

import torch

from distcnn import hashing
from distcnn.files import atomic_write_bytes


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, the digest of the rest in the first line."""
    stream = io.BytesIO()
    torch.save(state, stream)
    data = stream.getvalue()
    atomic_write_bytes(path, hashing.of_bytes(data).encode() + b"\n" + data)


def load(path: Path) -> dict[str, Any] | None:
    """The state written last; None if there is none or it is damaged."""
    if not path.exists():
        return None
    digest, _, data = path.read_bytes().partition(b"\n")
    if hashing.of_bytes(data).encode() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return state


def append_line(path: Path, value: Any) -> None:
    """One more JSON line, for whoever follows the file."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(value) + "\n")
