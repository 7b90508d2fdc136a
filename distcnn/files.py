"""Files: written whole or not at all, locked against a second writer, counted below a folder.

Every atomic write asks the disk for the data (``fsync``) before the rename, wherever it is used.
Without that a machine that loses power can keep the new name and lose the contents, and an empty
file is the one thing that none of our readers expects; the price is milliseconds for files that
are written once per run, never once per star. The rename itself is not forced: after a crash
there may be the old file or the new one, both of them whole.
"""

import errno
import fcntl
import glob
import os
import platform
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from distcnn.errors import LockHeld

DRAFT_SUFFIX = ".partial"
"""End of the names of drafts; what carries it belongs to a writer that lives or was killed."""
FOLDER_LOCK = "lock"
"""File that is locked while one process has a folder for itself."""


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


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there, is this process's alone while the block runs.

    Its lock file goes at the end, and the folder too if nothing else is in it.

    Raises
    ------
    LockHeld : another process holds it; says who.
    OSError : the folder cannot be made, or the lock not opened.
    """
    lock = _lock_in(folder)
    try:
        yield
    finally:
        lock.remove()
        with suppress(OSError):  # gone already, or there is work to go on with
            folder.rmdir()


def _lock_in(folder: Path) -> "FileLock":
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever held it before may remove the folder just now, between the two lines.
        with suppress(FileNotFoundError):
            return FileLock.acquire(folder / FOLDER_LOCK)


def empty_folder(folder: Path) -> None:
    """Remove all that is in a folder but the lock on it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != FOLDER_LOCK:
            path.unlink(missing_ok=True)


def _draft_of(path: Path, suffix: str = "") -> Path:
    # Random, because two containers that share a disk may have the same process number; hidden,
    # so that it is nobody's ``NAME.partial``.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{DRAFT_SUFFIX}{suffix}")


def _force_to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


class Lock(ABC):
    """What is held until ``release``, ``remove``, or the end of the block."""

    @abstractmethod
    def release(self) -> None:
        """Free it."""

    @abstractmethod
    def remove(self) -> None:
        """Free it, and leave no file of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class FileLock(Lock):
    """An exclusive lock on a file; it is free as soon as the process that holds it is gone.

    A lock, unlike a file with a process number, needs no cleaning up after a crash and holds
    across containers. ``flock`` belongs to the open file, so a second ``acquire`` in the same
    process is refused as well; child processes do not take part in it (see ``_leave_to_parent``).
    A file system without locks (some of NFS) gets a file that is made once instead, ``_claim``.
    """

    def __init__(self, path: Path, descriptor: int | None, claim: Path | None = None) -> None:
        self.path = path
        self._descriptor, self._claim = descriptor, claim
        _HELD.add(self)

    @classmethod
    def acquire(cls, path: Path, *, shared: bool = False, claim: bool = True) -> "FileLock":
        """Lock the file, made if it is not there; its folder has to be. Never waits.

        Parameters
        ----------
        shared : others may hold it too, if they share it.
        claim : where there are no locks, make a file instead; else nothing is held there.

        Raises
        ------
        LockHeld : somebody else has it; says who.
        OSError : the file cannot be opened.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise LockHeld.by(holder, path) from None
            except OSError as error:
                os.close(descriptor)
                if error.errno not in _NO_LOCKS:
                    raise OSError(error.errno, error.strerror, str(path)) from error
                return cls(path, None, _claim(path) if claim else None)
            except BaseException:
                os.close(descriptor)
                raise
            # The holder before may have removed the file between our opening and our locking:
            # then the lock is on a file that nobody else will ever find.
            if _is_file_at(path, descriptor):
                break
            os.close(descriptor)
        os.ftruncate(descriptor, 0)
        # Of one width, for those who share it may write at the same time.
        os.pwrite(
            descriptor, f"{this_holder():80}".encode() if shared else this_holder().encode(), 0
        )
        return cls(path, descriptor)

    def release(self) -> None:
        """Free the lock; the file stays."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        if self._claim is not None:
            self._claim.unlink(missing_ok=True)
        self._close()

    def remove(self) -> None:
        """Remove the file, if it is still there and no one else's, and free the lock."""
        held = self._descriptor is not None and _is_file_at(self.path, self._descriptor)
        if held or self._claim is not None:
            self.path.unlink(missing_ok=True)
        self.release()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._claim = None


_HELD: WeakSet[FileLock] = WeakSet()


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What ``flock`` answers where the file system has no locks."""


def this_holder() -> str:
    """What this process writes into what it holds."""
    return f"process {os.getpid()} on {platform.node()}"


def is_gone(holder: str) -> bool:
    """Whether ``holder`` is a process of this machine that runs no more; of others no one knows."""
    number, _, host = holder.removeprefix("process ").partition(" on ")
    return host == platform.node() and number.isdigit() and not _is_alive(int(number))


def _claim(path: Path) -> Path:
    """A file beside ``path`` that only one process can make, for file systems without locks.

    It outlives a killed process. On the same machine that is noticed and the file is taken over;
    from another machine there is no telling, so the user is asked.
    """
    claim = path.with_name(f"{path.name}.claim")
    while True:
        try:
            descriptor = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            _remove_if_dead(claim)
            continue
        os.write(descriptor, this_holder().encode())
        os.close(descriptor)
        return claim


def _remove_if_dead(claim: Path) -> None:
    """Raises LockHeld unless the process that made the claim was one of this machine, now gone."""
    try:
        holder = claim.read_text(errors="replace")
    except FileNotFoundError:
        return
    if not is_gone(holder):
        raise LockHeld(
            f"{claim} is held by {holder or 'another process'}",
            cure=f"Wait for its end, or remove {claim} if it runs no more: "
            "this file system has no locks.",
        )
    # Renamed first: another process may have taken it over between our reading and our removing.
    mine = claim.with_name(f"{claim.name}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        claim.rename(mine)
        if mine.read_text(errors="replace") != holder:
            os.link(mine, claim)
        mine.unlink()


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Give an error of the disk the path that it is about: a full one is met by ``write``,
    which knows no names.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_file_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _leave_to_parent() -> None:
    # A forked worker that outlives its parent would hold the parent's lock on; closing its own
    # copy of the descriptor leaves the lock with the parent. Started programs inherit none.
    for lock in list(_HELD):
        lock._close()


os.register_at_fork(after_in_child=_leave_to_parent)


def relative_name(path: Path, folder: Path) -> str:
    """A file's name below a folder, as text that can be stored; see ``printable``."""
    return printable(path.relative_to(folder).as_posix())


def printable(name: str) -> str:
    r"""The name of a file as text that can be stored and shown: ``caf\xe9.csv``.

    Names are bytes; those of old disks are often no UTF-8, and Python keeps such bytes as
    characters that no file, table or terminal takes.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def files_below(folder: Path | str) -> Iterator["os.DirEntry[str]"]:
    """Every file below a folder, in no order; links to folders are not followed.

    A prediction store of a million regions has twenty million files, many of them in one folder;
    ``rglob`` would hold the list of a folder in memory.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(entry.path)
            else:
                yield entry


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(entry.stat().st_size for entry in files_below(folder) if entry.is_file())
