"""What Zarr is given of a place: a folder's path, or a store of its own for objects.

Local stores go to Zarr's own class as they always did; what follows concerns object stores only.
"""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from distcnn.location import Location, ObjectLocation
from distcnn.location.faults import faults_of

LOCAL_CONCURRENCY = 2
"""Chunks that Zarr treats at a time on a disk: more is slower when they are compressed."""


def zarr_store_of(location: Location) -> Any:
    """What ``zarr.open_group`` takes for a place."""
    if isinstance(location, ObjectLocation):
        return PlacedObjects(location)
    return location.local_path


def concurrency_of(location: Location) -> int:
    """Chunks that Zarr treats at a time there."""
    if isinstance(location, ObjectLocation):
        return location.settings.concurrency
    return LOCAL_CONCURRENCY


class PlacedObjects(ObjectStore[Any]):  # type: ignore[misc, unused-ignore]
    """Zarr's store of objects, whose errors are those of a ``Location``.

    An object is sent whole, by one request: parts that are put together later would double the
    requests, and leave pieces behind where a writer is killed.
    """

    def __init__(self, location: ObjectLocation, *, read_only: bool = False) -> None:
        super().__init__(location.client_below(), read_only=read_only)
        self._location = location

    def with_read_only(self, read_only: bool = False) -> "PlacedObjects":
        return PlacedObjects(self._location, read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        # Never the client: each process opens its own.
        return PlacedObjects, (self._location,)

    def __str__(self) -> str:
        return str(self._location)

    def _name(self, key: str) -> str:
        return str(self._location / key)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with faults_of(self._name(key)):
            return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        with faults_of(str(self)):
            return await super().get_partial_values(prototype, key_ranges)

    async def exists(self, key: str) -> bool:
        try:
            with faults_of(self._name(key)):
                return bool(await super().exists(key))
        except FileNotFoundError:
            return False

    async def set(self, key: str, value: Buffer) -> None:
        import obstore

        self._check_writable()
        with faults_of(self._name(key)):
            await obstore.put_async(self.store, key, value.as_buffer_like(), use_multipart=False)

    async def delete(self, key: str) -> None:
        with faults_of(self._name(key)):
            await super().delete(key)

    async def _list(self, prefix: str | None = None) -> AsyncGenerator[Any, None]:
        with faults_of(str(self)):
            async for entry in super()._list(prefix):
                yield entry

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        with faults_of(str(self)):
            async for name in super().list_dir(prefix):
                yield name

    async def getsize(self, key: str) -> int:
        with faults_of(self._name(key)):
            return int(await super().getsize(key))
