"""Locks: a file or a folder that one process has for itself, until its end at the latest."""

import errno
import fcntl
import os
import platform
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from distcnn.errors import LockHeld
from distcnn.files.removal import remove_folder

FOLDER_LOCK = "lock"
"""File that is locked while one process has a folder for itself."""


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
            remove_folder(path)
        elif path.name != FOLDER_LOCK:
            path.unlink(missing_ok=True)


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
