"""The interface of every place, and how an address becomes one."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from distcnn.errors import UsageError
from distcnn.files import Lock
from distcnn.location.settings import ObjectSettings

SCHEMES = ("s3", "gs", "az", "file")
"""Beginnings of addresses that are supported."""
# At least two letters, so that no drive is one. ``Path`` makes one slash of "s3://". With "@" it
# is a place for scp, with "::" a chain of fsspec; some write "s3:bucket" without a slash.
_URL = re.compile(r"([A-Za-z][\w+.@-]+):(?=[/:])|(s3|gs|gcs|https?|sftp|hdfs|az|abfss?):")


class Location(ABC):
    """A place for a file or a folder; a value: comparable, hashable, and it can be pickled."""

    @staticmethod
    def parse(value: "Address", settings: ObjectSettings | None = None) -> "Location":
        """The place that a text (``runs/a.zarr``, ``s3://bucket/a.zarr``) or a path names.

        Parameters
        ----------
        settings : how to reach it if it is in an object store and its address does not say so.

        Raises
        ------
        UsageError : it is empty, or on a kind of place that is not supported; never taken for a
            folder.
        """
        if isinstance(value, Location):
            return value
        if not str(value).strip():
            raise UsageError(
                "a path is empty",
                expected="a folder or an address",
                cure="A variable of the shell may have no value.",
            )
        match = _URL.match(str(value))
        if match is None:
            from distcnn.location.local import LocalLocation

            path = Path(value)
            # In quotes and in files no shell has made a folder of the sign of one's home.
            return LocalLocation(path.expanduser() if path.parts[:1] == ("~",) else path)
        return _of_url(str(value), (match[1] or match[2]).lower(), settings)

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
    def parent(self) -> "Location":
        """The folder that holds it."""

    @abstractmethod
    def __truediv__(self, name: str) -> "Location":
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
    def children(self) -> "Iterator[Location]":
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
    def new_folder(self) -> "AbstractContextManager[Location]":
        """A folder to fill; it is here, complete, when the block ends without an error.

        Two that make the same folder at once are the caller's to keep apart.

        Raises
        ------
        OSError : something is here already, or the place refuses.
        """

    @abstractmethod
    def move_to(self, target: "Location") -> None:
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
    def lock(self, *, shared: bool = False, claim: bool = True) -> Lock:
        """Hold this file, made if it is not there, against every other process; never waits.

        Parameters
        ----------
        shared : others may hold it too, if they share it.
        claim : on a disk without locks, make a file instead; else nothing is held there.

        Raises
        ------
        LockHeld : somebody else has it; says who.
        """

    @abstractmethod
    def relative_to(self, base: "Location") -> str:
        """The address as seen from a folder: with it two products may be moved together."""

    @abstractmethod
    def resolve(self, address: str) -> "Location":
        """The place that an address, which may be relative to this folder, names."""

    @abstractmethod
    def new_file(self, suffix: str = "") -> AbstractContextManager[Path]:
        """A path on this machine to write to; it becomes this file when the block ends well.

        Parameters
        ----------
        suffix : end of the path's name, for writers that choose the format by it (``.xml``).

        Raises
        ------
        OSError : the place refuses, or the block has written nothing; the file is as it was.
        """

    @abstractmethod
    def replace_folder(self) -> AbstractContextManager[Path]:
        """A folder on this machine to fill; it takes the place of this one when the block ends.

        Raises
        ------
        OSError : the place refuses.
        """

    @abstractmethod
    def local_copy(self) -> AbstractContextManager[Path]:
        """The file or folder as a path on this machine, while the block runs; not to be written.

        Raises
        ------
        OSError : there is none, or it cannot be read.
        """

    @property
    def outer(self) -> "Path | Location":
        """What callers are given of a place: a path where it is on this machine."""
        return self

    @property
    @abstractmethod
    def local_path(self) -> Path:
        """The path on this machine, for what needs files.

        Raises
        ------
        UsageError : it is not on this machine.
        """


Address: TypeAlias = str | Path | Location
"""What the outer functions take for a place; ``Location.parse`` makes it one."""


def _of_url(text: str, scheme: str, settings: ObjectSettings | None) -> Location:
    # A path that was made of an address has lost one of its slashes; of "file:///data" it has
    # made "file:/data".
    typed = re.sub(r"^(\w+:)/(?!/)", r"\1//", text)
    if scheme == "file":
        from distcnn.location.local import LocalLocation

        return LocalLocation(_path_of_url(text))
    if scheme in SCHEMES and typed.lower().startswith(f"{scheme}://"):
        from distcnn.location.objects import ObjectLocation

        return ObjectLocation.of_url(typed, settings)
    raise UsageError(
        f"{_without_user(typed)} is on {scheme}",
        expected="a path on a local or mounted disk, file:///path, s3://bucket/name, "
        "gs://bucket/name or az://container/name",
        cure="Copy it to one of these, or mount it.",
    )


def _without_user(url: str) -> str:
    """The address without the secret of ``scheme://user:secret@host``."""
    return re.sub(r"//[^/@]*:[^/@]*@", "//...@", url)


def _path_of_url(url: str) -> Path:
    # "file:/data" is what a Path made of "file:///data".
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(
            f"{url} is on the machine {parts.netloc}", expected="file:///path, with three slashes"
        )
    return Path(unquote(parts.path))
