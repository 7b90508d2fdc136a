"""Files and folders that appear whole or not at all.

Every atomic write asks the disk for the data (``fsync``) before the rename, wherever it is used.
Without that a machine that loses power can keep the new name and lose the contents, and an empty
file is the one thing that none of our readers expects; the price is milliseconds for files that
are written once per run, never once per star. The rename itself is not forced: after a crash
there may be the old file or the new one, both of them whole.
"""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distcnn.files.below import files_below
from distcnn.files.locks import FileLock
from distcnn.files.names import DRAFT_SUFFIX, naming


@contextmanager
def atomic_write(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """A path to write to; it takes the place of ``path`` when the block ends without an error.

    Parameters
    ----------
    suffix : end of the draft's name, for writers that choose the format by it (``.xml``).

    Raises
    ------
    OSError : the disk refuses, or the block has written nothing; ``path`` is as it was.
    """
    draft = _draft_of(path, suffix)
    try:
        with naming(path):
            yield draft
            _force_to_disk(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace a file by these bytes; afterwards they are on disk."""
    with atomic_write(path) as draft:
        draft.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Replace a file by this text, as UTF-8; afterwards it is on disk."""
    atomic_write_bytes(path, text.encode())


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, there already; it becomes ``path`` when the block ends without an error.

    Drafts that killed processes left behind are removed first; a lock beside the folder keeps
    apart two that make the same one at once.

    Raises
    ------
    LockHeld : another process makes this folder; says who.
    OSError : the disk refuses, or ``path`` exists and is not an empty folder.
    """
    draft = _draft_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock.acquire(path.with_name(f".{path.name}.lock{DRAFT_SUFFIX}"))
    try:
        if path.is_dir() and any(path.iterdir()):
            why = "it is there already; if another run has just made it, run this again"
            raise FileExistsError(errno.EEXIST, why, str(path))
        for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}{DRAFT_SUFFIX}"):
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir()
        with naming(path):
            yield draft
            for entry in files_below(draft):
                _force_to_disk(Path(entry.path))
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        lock.remove()


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of the folder ``path`` when the block ends well.

    Python exchanges two folders in no single step: between the two renames there is no ``path``,
    but the old folder stands whole beside it, hidden, and the next call puts it back first.

    Raises
    ------
    OSError : the disk refuses; ``path`` is as it was.
    """
    old = path.with_name(f".{path.name}.old{DRAFT_SUFFIX}")
    new = path.with_name(f".{path.name}.new{DRAFT_SUFFIX}")
    if old.exists() and not path.exists():
        old.rename(path)
    for left in (old, new):
        shutil.rmtree(left, ignore_errors=True)
    with atomic_folder(new) as draft:
        yield draft
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _draft_of(path: Path, suffix: str = "") -> Path:
    # Random, because two containers that share a disk may have the same process number; hidden,
    # so that it is nobody's ``NAME.partial``.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{DRAFT_SUFFIX}{suffix}")


def _force_to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
