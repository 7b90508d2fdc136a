"""Host cache: packages from object stores, fetched once per machine, kept by their digest.

``DISTCNN_CACHE/packages/DIGEST`` appears whole or not at all. A file in it is checked by its digest
whenever it is read, as in any package; one that is damaged there is fetched again.
"""

import time
from pathlib import Path

from distcnn import hashing
from distcnn.errors import DigestMismatch, LockHeld
from distcnn.files import FileLock, atomic_folder, remove_folder
from distcnn.location import LocalLocation, Location, cache_folder
from distcnn.manifest import MANIFEST, Manifest, read_file

PATIENCE_SECONDS = 600.0
"""Longest wait for another process of this machine that fetches the same package."""
_POLL_SECONDS = 0.1


def local_files(location: Location, manifest: Manifest) -> Location:
    """Where the files of a package can be read fast: its own folder, or this host's copy.

    Raises
    ------
    DigestMismatch : a file in the object store is not the one that the manifest names.
    LockHeld : another process fetches it and does not come to an end.
    OSError : the cache cannot be written.
    """
    if isinstance(location, LocalLocation):
        return location
    folder = cache_folder() / "packages" / manifest.digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _wait_for(folder.with_name(f"{manifest.digest}.lock"))
    try:
        if folder.is_dir() and not _is_sound(folder, manifest):
            remove_folder(folder)
        if not folder.is_dir():
            _fetch(location, manifest, folder)
    finally:
        lock.remove()
    return LocalLocation(folder)


def _fetch(location: Location, manifest: Manifest, folder: Path) -> None:
    with atomic_folder(folder) as draft:
        for name in manifest.files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(read_file(location, manifest, name))
        (draft / MANIFEST).write_bytes(manifest.to_bytes())


def _is_sound(folder: Path, manifest: Manifest) -> bool:
    """Whether every file has its size and digest; some MB, so that nobody reads a damaged one."""
    try:
        return all(
            hashing.of_file(folder / name) == digest for name, digest in manifest.files.items()
        )
    except (OSError, DigestMismatch):
        return False


def _wait_for(path: Path) -> FileLock:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return FileLock.acquire(path)
        except LockHeld:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
