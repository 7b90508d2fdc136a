"""Digests: one way to name data, settings and files by their content (sha256, hex)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def of_bytes(data: bytes) -> str:
    """Digest of raw bytes."""
    return hashlib.sha256(data).hexdigest()


def of_value(value: Any) -> str:
    """Digest of a JSON-like value; key order does not matter."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def of_many(value: Mapping[str, Any], name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """``of_value(value | {name: dict(pairs)})``, for pairs that come sorted, never all at once."""
    total = hashlib.sha256()
    for number, key in enumerate(sorted({*value, name})):
        total.update(f"{',' if number else '{'}{json.dumps(key)}:".encode())
        if key != name:
            text = json.dumps(value[key], sort_keys=True, separators=(",", ":"))
            total.update(text.encode())
            continue
        between = "{"
        for one, other in pairs:
            total.update(f"{between}{json.dumps(one)}:{json.dumps(other)}".encode())
            between = ","
        total.update(b"{}" if between == "{" else b"}")
    total.update(b"}")
    return total.hexdigest()


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
