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

from distcnn.errors import FingerprintMismatch, StoreError
from distcnn.survey.entries import CURE, Entries, Places, name_of, whole_lines


class Ledger:
    """Finished items of one piece of work: ``done[name]`` has the digest and further facts.

    Facts stay in the file: memory grows by about thirty bytes per item.
    """

    def __init__(
        self, path: Path, fingerprint: dict[str, Any], done: Entries | None = None
    ) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.done = Entries(path) if done is None else done
        self._end = 0  # of the last whole line that was read

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
            ledger = cls(path, fingerprint)
            ledger._append({"fingerprint": fingerprint})
            return ledger
        ledger = cls.read(path)
        if not ledger.fingerprint:
            path.unlink()
            return cls.open(path, fingerprint)
        _compare(path, ledger.fingerprint, fingerprint)
        # A process killed while appending leaves part of a line; cut it off before going on.
        if ledger._end != path.stat().st_size:
            os.truncate(path, ledger._end)
        return ledger

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Read a ledger, whatever its fingerprint.

        Raises
        ------
        StoreError : there is none.
        StoreCorrupt : a line other than the last is damaged.
        """
        fingerprint: dict[str, Any] = {}
        places, end = Places(), 0
        for begin, text, stop in whole_lines(path):
            if end:
                places[name_of(text)] = begin
            else:
                fingerprint = json.loads(text).get("fingerprint", {})
            end = stop
        ledger = cls(path, fingerprint, Entries(path, places))
        ledger._end = end
        return ledger

    def record(self, name: str, digest: str, **facts: Any) -> None:
        """Note that an item is stored; returns after the line is on disk."""
        # No file: the line begins nothing, and appending says what is wrong.
        place = self.path.stat().st_size if self.path.exists() else 0
        self._append({"name": name, "digest": digest, **facts})
        self.done.note(name, place)

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


def _compare(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    keys = sorted(set(found) | set(asked))
    for key in keys:
        if found.get(key) != asked.get(key):
            raise FingerprintMismatch(
                f"{path.parent} was begun with {key} = {_short(found.get(key))}",
                expected=f"{key} = {_short(asked.get(key))}, as asked now",
                cure=CURE,
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
