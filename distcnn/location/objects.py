"""Places in an object store: a bucket, and a key or a prefix in it."""

import errno
import posixpath
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from distcnn.errors import PlaceError, PlaceUnreachable, UsageError
from distcnn.files import files_below
from distcnn.location.client import open_client
from distcnn.location.faults import faults_of
from distcnn.location.lease import Lease
from distcnn.location.local import LocalLocation
from distcnn.location.place import Location
from distcnn.location.settings import ObjectSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MARKER = ".distcnn.partial"
"""Object of a folder that is being made or removed; it sorts before every other name of ours."""
VALIDATING = ("zarr.json", "manifest.json")
"""Objects without which a folder is no product: written last, removed first."""
PART_BYTES = 64 << 20
"""Files larger than this are sent in parts, which the store puts together at the end."""


@dataclass(frozen=True)
class ObjectLocation(Location):
    """An object, or all objects below a prefix. ``key`` has no slash at its ends."""

    scheme: str
    bucket: str
    key: str
    settings: ObjectSettings = ObjectSettings()  # noqa: RUF009 - frozen

    @classmethod
    def of_url(cls, url: str, settings: ObjectSettings | None = None) -> "ObjectLocation":
        """The place that ``s3://bucket/key`` names; a query after it has settings of its own.

        Raises
        ------
        UsageError : there is no bucket, or the address holds credentials.
        """
        scheme, _, rest = url.partition("://")
        bare, mark, query = rest.partition("?")
        parts = urlsplit(f"//{bare.partition('/')[0]}")
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                f"an address on {scheme.lower()} holds a user or a password",
                expected=f"{scheme.lower()}://bucket/name",
                cure="Credentials come from the environment or the usual files only.",
            )
        bucket, _, key = bare.partition("/")
        names = key.split("/")
        if not bucket or ".." in names or "." in names:
            raise UsageError(f"{url} names no place", expected=f"{scheme.lower()}://bucket/name")
        if mark:
            settings = ObjectSettings.from_query(query, f"{scheme}://{bare}")
        key = "/".join(name for name in names if name)
        return cls(scheme.lower(), bucket, key, settings or ObjectSettings())

    @property
    def name(self) -> str:
        return posixpath.basename(self.key) or self.bucket

    @property
    def address(self) -> str:
        query = self.settings.to_query()
        return f"{self}?{query}" if query else str(self)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def parent(self) -> "ObjectLocation":
        return self._at(posixpath.dirname(self.key))

    def __truediv__(self, name: str) -> "ObjectLocation":
        return self._at("/".join(part for part in (self.key, name.strip("/")) if part))

    def _at(self, key: str) -> "ObjectLocation":
        return ObjectLocation(self.scheme, self.bucket, key, self.settings)

    @property
    def _client(self) -> "ObjectStore":
        return open_client(self.scheme, self.bucket, self.settings)

    def client_below(self) -> "ObjectStore":
        """The client of this process, with keys relative to this folder; for arrays."""
        return open_client(self.scheme, self.bucket, self.settings, self.key)

    @property
    def _prefix(self) -> str:
        return f"{self.key}/" if self.key else ""

    # --- looking -----------------------------------------------------------------------------

    def exists(self) -> bool:
        return self._object_size() is not None or self.is_folder()

    def is_folder(self) -> bool:
        # The marker sorts first, so the first page of the list is enough however many there are.
        first = self._first_page()
        return bool(first) and not any(key == self._prefix + MARKER for key in first)

    def _first_page(self) -> list[str]:
        import obstore

        with faults_of(str(self)):
            pages = obstore.list(self._client, self._prefix, chunk_size=1000)
            return [entry["path"] for entry in next(iter(pages), [])]

    def _object_size(self) -> int | None:
        import obstore

        if not self.key:
            return None
        try:
            with faults_of(str(self)):
                return int(obstore.head(self._client, self.key)["size"])
        except FileNotFoundError:
            return None
        except PlaceUnreachable:
            raise
        except PlaceError:
            self._first_page()  # its answer, unlike that to HEAD, says what is wrong
            raise

    def children(self) -> Iterator["ObjectLocation"]:
        import obstore

        with faults_of(str(self)):
            found = obstore.list_with_delimiter(self._client, self._prefix)
        names = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        keys = (name.rstrip("/") for name in names)
        return (self._at(key) for key in keys if key not in {self.key, self._prefix + MARKER})

    def objects_below(self) -> Iterator[tuple[str, int]]:
        """Key, relative to this folder, and size [bytes] of every object below it; pages of
        1,000 are asked for as they are needed.
        """
        import obstore

        with faults_of(str(self)):
            for page in obstore.list(self._client, self._prefix, chunk_size=1000):
                yield from ((e["path"].removeprefix(self._prefix), e["size"]) for e in page)

    def size(self) -> int:
        own = self._object_size()
        return sum(size for _, size in self.objects_below()) if own is None else own

    # --- reading and writing -----------------------------------------------------------------

    def read_bytes(self) -> bytes:
        import obstore

        with faults_of(str(self)):
            return bytes(obstore.get(self._client, self.key).bytes())

    def write_bytes(self, data: bytes) -> None:
        import obstore

        with faults_of(str(self)):
            obstore.put(self._client, self.key, data, use_multipart=len(data) > PART_BYTES)

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Contents of objects below this folder, several at a time, in the order of ``names``."""
        return self._all_at_once(lambda name: (self / name).read_bytes(), names)

    @contextmanager
    def new_folder(self) -> Iterator[LocalLocation]:
        with (self.parent / f".{self.name}.lock").lock():
            if self.exists():
                why = "it is there already; if another run has just made it, run this again"
                raise FileExistsError(errno.EEXIST, why, str(self))
            with self.replace_folder() as draft:
                yield LocalLocation(draft)

    def _begin(self) -> None:
        """Remove what was left by a process that was killed, under the marker."""
        (self / MARKER).write_bytes(b"being made or removed")
        self._delete_many(key for key, _ in self.objects_below() if key != MARKER)

    def _upload(self, folder: Path) -> None:
        names = [Path(e.path).relative_to(folder).as_posix() for e in files_below(folder)]
        last = [name for name in names if name in VALIDATING]
        self._all_at_once(
            lambda name: (self / name).write_file(folder / name),
            [name for name in names if name not in VALIDATING],
        )
        for name in last:
            (self / name).write_file(folder / name)

    def write_file(self, path: Path) -> None:
        """Send a file of this machine."""
        import obstore

        large = path.stat().st_size > PART_BYTES
        with faults_of(str(self)):
            data: Any = path if large else path.read_bytes()
            obstore.put(self._client, self.key, data, use_multipart=large, chunk_size=PART_BYTES)

    @contextmanager
    def new_file(self, suffix: str = "") -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="distcnn-") as scratch:
            draft = Path(scratch) / f"{self.name}{suffix}"
            yield draft
            self.write_file(draft)

    @contextmanager
    def replace_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="distcnn-") as scratch:
            draft = Path(scratch) / self.name
            draft.mkdir()
            yield draft
            self._begin()
            self._upload(draft)
            (self / MARKER)._delete()

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="distcnn-") as scratch:
            path = Path(scratch) / self.name
            self.download(path)
            yield path

    def download(self, path: Path) -> None:
        """Make this object, or all below this folder, files at ``path``.

        Raises
        ------
        FileNotFoundError : there is none.
        """
        if self._object_size() is not None:
            path.write_bytes(self.read_bytes())
            return
        names = [key for key, _ in self.objects_below()]
        if not names:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", str(self))

        def fetch(name: str) -> None:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes((self / name).read_bytes())

        self._all_at_once(fetch, names)

    def move_to(self, target: Location) -> None:
        if not isinstance(target, ObjectLocation) or target.bucket != self.bucket:
            raise PlaceError(f"{self} cannot be moved to {target}", expected="the same bucket")
        if target.exists():
            raise FileExistsError(errno.EEXIST, "it is there already", str(target))
        target._begin()
        names = [key for key, _ in self.objects_below()]
        first = [name for name in names if name not in VALIDATING]
        for group in (first, [name for name in names if name in VALIDATING]):
            self._all_at_once(lambda name: self._copy(name, target), group)
        (target / MARKER)._delete()
        self.remove()

    def _copy(self, name: str, target: "ObjectLocation") -> None:
        import obstore

        with faults_of(str(self / name)):
            obstore.copy(self._client, self._prefix + name, target._prefix + name)

    # --- removing ----------------------------------------------------------------------------

    def remove(self) -> None:
        if self.key:
            self._delete()
        if not self._first_page():
            return
        (self / MARKER).write_bytes(b"being made or removed")
        for name in VALIDATING:
            (self / name)._delete()
        self._delete_many(key for key, _ in self.objects_below() if key != MARKER)
        (self / MARKER)._delete()

    def _delete(self) -> None:
        import obstore

        try:
            with faults_of(str(self)):
                obstore.delete(self._client, self.key)
        except FileNotFoundError:
            pass

    def _delete_many(self, names: Iterable[str]) -> None:
        self._all_at_once(lambda name: (self / name)._delete(), names)

    def delete_objects(self, names: Iterable[str]) -> None:
        """Remove objects below this folder, several at a time; those that are gone do not count."""
        self._delete_many(names)

    def remove_drafts(self) -> None:
        """Nothing: a writer that is killed leaves no part of an object."""

    def _all_at_once(self, work: Any, names: Iterable[str]) -> list[Any]:
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            return list(pool.map(work, names))

    # --- the rest ----------------------------------------------------------------------------

    def free_bytes(self) -> int:
        return sys.maxsize

    def lock(self, *, shared: bool = False, claim: bool = True) -> Lease:
        return Lease.acquire(self, shared=shared)

    def relative_to(self, base: Location) -> str:
        if not isinstance(base, ObjectLocation) or not self._is_beside(base):
            return self.address
        return posixpath.relpath(f"/{self.key}", f"/{base.key}")

    def _is_beside(self, other: "ObjectLocation") -> bool:
        mine, theirs = ((p.scheme, p.bucket, p.settings) for p in (self, other))
        return mine == theirs

    def resolve(self, address: str) -> Location:
        place = Location.parse(address, self.settings)
        if not isinstance(place, LocalLocation) or place.path.is_absolute():
            return place
        return self._at(posixpath.normpath(posixpath.join(f"/{self.key}", address)).strip("/"))

    @property
    def local_path(self) -> Path:
        raise UsageError(
            f"{self} is on {self.scheme}",
            expected="a path on a local or mounted disk, or file:///path",
            cure="Copy it to a disk first.",
        )
