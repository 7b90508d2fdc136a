"""Digests: one way to name data, settings and files by their content (sha256, hex)."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def of_bytes(data: bytes) -> str:
    """Digest of raw bytes."""
    return hashlib.sha256(data).hexdigest()


def of_value(value: Any) -> str:
    """Digest of a JSON-like value; key order does not matter."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def of_file(path: Path) -> str:
    """Digest of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Digest of named arrays: names, types, shapes and bytes; the order does not matter."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        total.update(array.view(np.uint8).data if array.size else b"")
    return total.hexdigest()
