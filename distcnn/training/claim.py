"""Claim: one training at a time writes below PACKAGE.partial."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from distcnn.errors import TrainingError

LOCK = "lock"


@contextmanager
def claimed(partial: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there, while the block runs.

    A lock, unlike a file with a process number, is free as soon as its holder is gone.

    Raises
    ------
    TrainingError : another training holds it; says who.
    """
    stream = _lock(partial)
    try:
        yield
    finally:
        with suppress(OSError):  # gone with its folder, or there is work to go on with
            (partial / LOCK).unlink()
            partial.rmdir()
        stream.close()


def _lock(partial: Path) -> TextIOWrapper:
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        path = partial / LOCK
        stream = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _refusal(partial, stream) from None
        if path.exists() and path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            _sign(stream)
            return stream
        stream.close()  # the training before this one has just finished and removed it


def _sign(stream: TextIOWrapper) -> None:
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {platform.node()}")
    stream.flush()


def _refusal(partial: Path, stream: TextIOWrapper) -> TrainingError:
    with stream:
        stream.seek(0)
        holder = stream.read() or "another process"
    return TrainingError(
        f"{holder} is training into {partial}",
        expected="one training per package",
        cure="Wait for it or stop it, or give another package path.",
    )
