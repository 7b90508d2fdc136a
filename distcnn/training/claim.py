"""Claim: one training at a time writes below PACKAGE.partial."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distcnn.errors import LockHeld, TrainingError
from distcnn.files import FileLock

LOCK = "lock"


@contextmanager
def claimed(partial: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there, while the block runs.

    Raises
    ------
    TrainingError : another training holds it; says who.
    """
    lock = _lock(partial)
    try:
        yield
    finally:
        with suppress(OSError):  # gone with its folder, or there is work to go on with
            (partial / LOCK).unlink()
            partial.rmdir()
        lock.release()


def _lock(partial: Path) -> FileLock:
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock.acquire(partial / LOCK)
        except FileNotFoundError:
            continue  # the training before this one has just finished and removed the folder
        except LockHeld as held:
            raise TrainingError(
                f"another training works there: {held.problem}",
                expected="one training per package",
                cure="Wait for it or stop it, or give another package path.",
            ) from None
