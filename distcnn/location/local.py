"""Places on a local or mounted disk."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import path as os_path
from pathlib import Path

from distcnn.files import (
    DRAFT_SUFFIX,
    FileLock,
    atomic_folder,
    atomic_write,
    atomic_write_bytes,
    bytes_below,
    files_below,
    remove_folder,
    replace_folder,
)
from distcnn.location.place import Location


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

    def move_to(self, target: Location) -> None:
        # POSIX would let an empty folder or a file be taken over.
        if target.exists():
            raise FileExistsError(f"{target} exists")
        self.path.rename(target.local_path)

    def remove(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            remove_folder(self.path)
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

    def lock(self, *, shared: bool = False, claim: bool = True) -> FileLock:
        return FileLock.acquire(self.path, shared=shared, claim=claim)

    def relative_to(self, base: Location) -> str:
        if not isinstance(base, LocalLocation):
            return self.address
        return os_path.relpath(self.path.absolute(), base.path.absolute())

    def resolve(self, address: str) -> Location:
        place = Location.parse(address)
        if not isinstance(place, LocalLocation):
            return place
        return LocalLocation((self.path / place.path).resolve())

    @contextmanager
    def new_file(self, suffix: str = "") -> Iterator[Path]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path, suffix=suffix) as draft:
            yield draft

    @contextmanager
    def replace_folder(self) -> Iterator[Path]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(self.path) as draft:
            yield draft

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        yield self.path

    @property
    def outer(self) -> Path:
        return self.path

    @property
    def local_path(self) -> Path:
        return self.path
