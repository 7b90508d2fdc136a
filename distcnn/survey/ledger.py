"""Ledger: what is done, under which fingerprint.

A text file of JSON lines with one writer. The first line holds the fingerprint (digests of
input, package, settings, code version); every other line one finished item with the digest
of what it stored. A line is appended and flushed to disk only after its item is stored.
Presence of chunks proves nothing; the ledger does.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from distcnn.errors import FingerprintMismatch, StoreCorrupt, StoreError

_CURE = "Use another output path, or remove this one to begin again."


class Ledger:
    """Finished items of one piece of work: ``done[name]`` has the digest and further facts."""

    def __init__(self, path: Path, fingerprint: dict[str, Any], done: dict[str, Any]) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.done: dict[str, dict[str, Any]] = done

    @classmethod
    def open(cls, path: Path, fingerprint: dict[str, Any]) -> "Ledger":
        """Begin a ledger, or go on with the one there.

        Raises
        ------
        FingerprintMismatch : the one there was begun from other input, settings or code.
        StoreCorrupt : a line other than the last is damaged.
        """
        fingerprint = json.loads(json.dumps(fingerprint))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            ledger = cls(path, fingerprint, {})
            ledger._append({"fingerprint": fingerprint})
            return ledger
        ledger = cls.read(path)
        if not ledger.fingerprint:
            path.unlink()
            return cls.open(path, fingerprint)
        _compare(path, ledger.fingerprint, fingerprint)
        ledger._drop_torn_line()
        return ledger

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Read a ledger, whatever its fingerprint.

        Raises
        ------
        StoreError : there is none.
        StoreCorrupt : a line other than the last is damaged.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error})", expected="a ledger") from None
        lines = data.split(b"\n")
        entries = [_parse(line) for line in lines[:-1]]
        if None in entries[:-1]:
            number = entries.index(None) + 1
            raise StoreCorrupt(f"{path}, line {number} is damaged", cure=_CURE)
        whole = [entry for entry in entries if entry is not None]
        fingerprint = whole[0].get("fingerprint", {}) if whole else {}
        return cls(path, fingerprint, {entry.pop("name"): entry for entry in whole[1:]})

    def record(self, name: str, digest: str, **facts: Any) -> None:
        """Note that an item is stored; returns after the line is on disk."""
        entry = {"name": name, "digest": digest, **facts}
        self._append(entry)
        self.done[name] = {"digest": digest, **facts}

    def _append(self, entry: dict[str, Any]) -> None:
        text = json.dumps(entry, separators=(",", ":"))
        line = f"{zlib.crc32(text.encode()):08x} {text}\n"
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error})",
                cure="Free space, then run the same command again.",
            ) from None

    def _drop_torn_line(self) -> None:
        # A process killed while appending leaves part of a line; cut it off before going on.
        data = self.path.read_bytes()
        end = data.rfind(b"\n") + 1
        last = data[data.rfind(b"\n", 0, max(end - 1, 0)) + 1 : max(end - 1, 0)]
        if _parse(last) is None:
            end -= len(last) + 1
        if end != len(data):
            os.truncate(self.path, end)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None if its checksum does not fit."""
    check, _, text = line.partition(b" ")
    if check != f"{zlib.crc32(text):08x}".encode():
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry


def _compare(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    keys = sorted(set(found) | set(asked))
    for key in keys:
        if found.get(key) != asked.get(key):
            raise FingerprintMismatch(
                f"{path.parent} was begun with {key} = {_short(found.get(key))}",
                expected=f"{key} = {_short(asked.get(key))}, as asked now",
                cure=_CURE,
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
