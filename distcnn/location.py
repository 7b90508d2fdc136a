"""Location: where a store or a package is, and every operation on it as a whole.

Stores and packages lie on local folders today and in object stores next. Whatever joins, looks,
lists, moves, removes or locks them goes through a ``Location``, so that the next kind of place is
one class here that passes ``tests/conformance/location_checks.py`` and a line in ``parse``.

An object store has to provide, with these promises (S3 through obstore is the first one meant):

- ``exists``, ``is_folder``, ``children`` and ``size`` from listing a prefix: a folder is a prefix
  that has at least one object below it.
- ``read_bytes`` and ``write_bytes`` of one object. A PUT is atomic already. No conditional PUT
  and no bulk DELETE: Swift refuses both.
- ``new_folder``: there is no rename. Write every object under the final prefix and the one that
  makes the folder valid last (``zarr.json`` at the root, ``manifest.json``); ``exists`` then has
  to mean that this object is there.
- ``move_to``: copy every object, the valid-making one last, then ``remove`` the old ones.
- ``remove``: the valid-making object first, then the rest.
- ``free_bytes``: no limit (``sys.maxsize``).
- ``lock``: no object store has one that ends with its process. Either a lease that is renewed,
  or a lock on the machine that runs the command, saying that it guards against no other.
- ``zarr_store``: what ``zarr.open_group`` takes (``zarr.storage.ObjectStore``).
- no ``local_path``: it raises. Who needs it today: the ledger, which appends lines to one file
  (it becomes one object per region); the lists of quarantined rows and of failed stars;
  memory-mapped parts of ingest, which stay on a local disk; and the processes of training,
  which share a folder of work.
"""

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from os import path as os_path
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import unquote, urlsplit

from distcnn.errors import UsageError
from distcnn.files import (
    DRAFT_SUFFIX,
    FileLock,
    atomic_folder,
    atomic_write_bytes,
    bytes_below,
    files_below,
)

# At least two letters, so that no drive is one. ``Path`` makes one slash of "s3://". With "@" it
# is a place for scp, with "::" a chain of fsspec; some write "s3:bucket" without a slash.
_URL = re.compile(r"([A-Za-z][\w+.@-]+):(?=[/:])|(s3|gs|gcs|https?|sftp|hdfs|az|abfss?):")


class Location(ABC):
    """A place for a file or a folder; a value: comparable, hashable, and it can be pickled."""

    @staticmethod
    def parse(value: "Address") -> "Location":
        """The place that a text (``runs/a.zarr``, ``file:///data/a.zarr``) or a path names.

        Raises
        ------
        UsageError : it is on a kind of place that is not supported; never taken for a folder.
        """
        if isinstance(value, Location):
            return value
        match = _URL.match(str(value))
        if match is None:
            return LocalLocation(Path(value))
        scheme = (match[1] or match[2]).lower()
        if scheme != "file":
            # A path that was made of an address has lost one of its slashes.
            typed = re.sub(r"^(\w+:)/(?!/)", r"\1//", str(value))
            raise UsageError(
                f"{typed} is on {scheme}",
                expected="a path on a local or mounted disk, or file:///path",
                cure="Copy it to a disk, or mount it.",
            )
        return LocalLocation(_path_of_url(str(value)))

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the address."""

    @property
    @abstractmethod
    def address(self) -> str:
        """A text from which ``parse`` makes the same place in any process, wherever it runs."""

    @property
    @abstractmethod
    def parent(self) -> Self:
        """The folder that holds it."""

    @abstractmethod
    def __truediv__(self, name: str) -> Self:
        """The place ``name`` (which may have slashes) inside this folder."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether a file is there, or a folder with something in it.

        An empty folder is nothing, as it is in an object store: a job's script may have made it.
        """

    @abstractmethod
    def is_folder(self) -> bool:
        """Whether a folder is there."""

    @abstractmethod
    def children(self) -> Iterator[Self]:
        """What is in the folder, in no order; nothing if there is none."""

    @abstractmethod
    def size(self) -> int:
        """Bytes of the file, or of all files below the folder; 0 if nothing is there."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The contents of a file.

        Raises
        ------
        OSError : there is none, or it cannot be read.
        """

    @abstractmethod
    def write_bytes(self, data: bytes) -> None:
        """Replace a file, whole or not at all; folders on the way are made.

        Afterwards it survives a crash.

        Raises
        ------
        OSError : the place refuses.
        """

    @abstractmethod
    def new_folder(self) -> AbstractContextManager[Self]:
        """A folder to fill; it is here, complete, when the block ends without an error.

        Two that make the same folder at once are the caller's to keep apart.

        Raises
        ------
        OSError : something is here already, or the place refuses.
        """

    @abstractmethod
    def move_to(self, target: Self) -> None:
        """Become ``target``, where nothing may be: a folder with everything in it.

        Raises
        ------
        OSError : something is there already, or the place refuses.
        """

    @abstractmethod
    def remove(self) -> None:
        """Remove a file, or a folder with everything in it; nothing happens if there is none."""

    @abstractmethod
    def remove_drafts(self) -> None:
        """Remove what writers that were killed have left below this folder."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Bytes that can still be written there, whether or not the folder exists yet."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[object]:
        """Hold this file, made if it is not there, against every other process; never waits.

        Raises
        ------
        LockHeld : somebody else has it; says who.
        """

    @abstractmethod
    def relative_to(self, base: Self) -> str:
        """The address as seen from a folder: with it two products may be moved together."""

    @abstractmethod
    def resolve(self, address: str) -> Self:
        """The place that an address, which may be relative to this folder, names."""

    @property
    @abstractmethod
    def zarr_store(self) -> Any:
        """What ``zarr.open_group`` takes."""

    @property
    @abstractmethod
    def local_path(self) -> Path:
        """The path on this machine, for what needs files.

        Raises
        ------
        UsageError : it is not on this machine.
        """


Address: TypeAlias = "str | Path | Location"
"""What the outer functions take for a place; ``Location.parse`` makes it one."""


@dataclass(frozen=True)
class LocalLocation(Location):
    """A path on a local or mounted disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def address(self) -> str:
        return str(self.path.absolute())

    @property
    def parent(self) -> "LocalLocation":
        return LocalLocation(self.path.parent)

    def __truediv__(self, name: str) -> "LocalLocation":
        return LocalLocation(self.path / name)

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        if self.path.is_dir():
            return next(self.children(), None) is not None
        return self.path.exists()

    def is_folder(self) -> bool:
        return self.path.is_dir()

    def children(self) -> Iterator["LocalLocation"]:
        return map(LocalLocation, self.path.iterdir()) if self.path.is_dir() else iter(())

    def size(self) -> int:
        if self.path.is_dir():
            return bytes_below(self.path)
        return self.path.stat().st_size if self.path.exists() else 0

    def read_bytes(self) -> bytes:
        return self.path.read_bytes()

    def write_bytes(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(self.path, data)

    @contextmanager
    def new_folder(self) -> Iterator["LocalLocation"]:
        with atomic_folder(self.path) as draft:
            yield LocalLocation(draft)

    def move_to(self, target: "LocalLocation") -> None:
        # POSIX would let an empty folder or a file be taken over.
        if target.exists():
            raise FileExistsError(f"{target} exists")
        self.path.rename(target.path)

    def remove(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)

    def remove_drafts(self) -> None:
        for file in files_below(self.path):
            if file.name.endswith(DRAFT_SUFFIX):
                Path(file.path).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        folder = self.path.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def lock(self) -> FileLock:
        return FileLock.acquire(self.path)

    def relative_to(self, base: "LocalLocation") -> str:
        return os_path.relpath(self.path.absolute(), base.path.absolute())

    def resolve(self, address: str) -> "LocalLocation":
        return LocalLocation((self.path / address).resolve())

    @property
    def zarr_store(self) -> Path:
        return self.path

    @property
    def local_path(self) -> Path:
        return self.path


def _path_of_url(url: str) -> Path:
    # "file:/data" is what a Path made of "file:///data".
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(
            f"{url} is on the machine {parts.netloc}", expected="file:///path, with three slashes"
        )
    return Path(unquote(parts.path))
