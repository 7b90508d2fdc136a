"""Scratch: one temporary folder per cluster, removed at exit.

A run that was killed cannot remove its own folder, so the next one does it: a folder whose
lock is free belongs to no one.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distcnn.errors import LockHeld
from distcnn.files import FileLock
from distcnn.stopping import removed_at_end

PREFIX = "distcnn-workers-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder for the files of one cluster's workers; gone afterwards."""
    remove_abandoned(Path(tempfile.gettempdir()))
    folder, lock = _claim_new()
    try:
        with removed_at_end(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def remove_abandoned(base: Path) -> list[Path]:
    """Remove the folders below ``base`` that killed runs left behind; returns them."""
    return [lock.parent for lock in base.glob(f"{PREFIX}*/lock") if _remove_if_free(lock)]


def _remove_if_free(lock: Path) -> bool:
    try:
        with FileLock.acquire(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)
    except (LockHeld, OSError):  # in use, another user's, or just removed by someone else
        return False
    return True


def _claim_new() -> tuple[Path, FileLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Another run may take it for abandoned just before the lock.
        with suppress(LockHeld, FileNotFoundError):
            return folder, FileLock.acquire(folder / "lock")
