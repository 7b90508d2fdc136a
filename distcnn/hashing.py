"""Hashing: names for data, settings and files by their content, and random numbers by identity.

Digests are sha256 in hex. ``uniform`` gives every identifier its own number in [0, 1) that depends
on nothing else, so that a choice of stars is the same in every process and every order.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array


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


def of_arrays(arrays: Mapping[str, Array]) -> str:
    """Digest of named arrays: names, types, shapes and bytes; the order does not matter."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        total.update(array.view(np.uint8).data if array.size else b"")
    return total.hexdigest()


def splitmix64(bits: Array) -> Array:
    """[N] uint64 -> [N] uint64, well mixed and one to one (Steele, Lea & Flood 2014, OOPSLA)."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        z = bits + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def uniform(identifiers: Array, seed: int | None = None) -> Array:
    """A number in [0, 1) per identifier (int64 [N]), float64 [N]; another seed, other numbers."""
    bits = np.asarray(identifiers, np.int64).view(np.uint64)
    if seed is not None:
        bits = bits ^ splitmix64(np.asarray([seed], np.int64).view(np.uint64))
    # A double holds 53 bits.
    return np.asarray((splitmix64(bits) >> np.uint64(11)) * 2.0**-53)
