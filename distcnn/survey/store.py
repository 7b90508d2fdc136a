"""Stores: sharded Zarr v3 groups with a crc32c on every chunk, readable by xarray.

A store exists whole, filled with nothing, before the first row is computed; workers then
fill whole regions. Encoding (int16 flux, float16 errors) happens at this door only: what is
read is float32 with NaN for missing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.errors import DistcnnError, StoreCorrupt, StoreError
from distcnn.location import A_PACKAGE, STORES, Address, Location, ObjectLocation, contents_of
from distcnn.schema import PREDICTIONS_FORMAT, STAR, SURVEY_FORMAT
from distcnn.survey.layout import Quantised, to_float32
from distcnn.survey.regions import Region, Tiles, check_whole_shards, tile
from distcnn.survey.rows import RowKey
from distcnn.survey.shard_files import ShardFiles
from distcnn.survey.zarr_store import concurrency_of, zarr_store_of

FORMATS = {"survey": SURVEY_FORMAT, "predictions": PREDICTIONS_FORMAT}
PRIVATE = ".distcnn"
_DECISIVE = {
    "survey": ("survey", "release", "inputs", "ingest", "labels", "bands", "fingerprint"),
    "predictions": ("fingerprint",),
}
"""Attributes that decide the contents of a store, by its kind."""
# The variable ``label`` holds the values, so on disk the dimension takes another name:
# xarray reads a variable named like its own dimension as a coordinate.
ON_DISK = {"label": "label_name"}


@contextmanager
def settings(location: Location) -> Iterator[None]:
    """Zarr's own settings while a store is at work."""
    with zarr.config.set({"async.concurrency": concurrency_of(location)}):
        yield


class Store:
    """An open store. Cheap to open, holds no data, safe to open in many processes."""

    def __init__(self, location: Location, group: zarr.Group) -> None:
        self.location = location
        self.private = location / PRIVATE
        self.attrs: dict[str, Any] = dict(group.attrs)
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._coordinates: dict[str, zarr.Array[Any]] = {}
        self._values: dict[str, Array] = {}
        self._shard_files: dict[str, ShardFiles | None] = {}
        self.sizes: dict[str, int] = {}
        for name, array in group.arrays():
            self._sort_in(name, array)
        self.variables = tuple(sorted(self._arrays))

    def _sort_in(self, name: str, array: "zarr.Array[Any]") -> None:
        dims: tuple[str, ...] = tuple(getattr(array.metadata, "dimension_names", None) or ("?",))
        known = {disk: dim for dim, disk in ON_DISK.items()}
        self.sizes.update(zip((known.get(d, d) for d in dims), array.shape, strict=True))
        if dims[0] == STAR:
            # Empty chunks are written too: a missing file must mean a missing result.
            self._arrays[name] = array.with_config({"write_empty_chunks": True})
        else:
            self._coordinates[name] = array

    @classmethod
    def open(cls, address: Address, kind: str | None = None) -> "Store":
        """Open the store at ``address``, of the ``kind`` given if any.

        Raises
        ------
        StoreError : no store there, another kind, or a format of another distcnn version.
        """
        location = Location.parse(address)
        try:
            with settings(location):
                group = zarr.open_group(zarr_store_of(location), mode="r+", use_consolidated=True)
                store = cls(location, group)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _no_store(location, kind, error) from None
        found = store.attrs.get("kind")
        if found not in FORMATS or (kind and found != kind):
            raise StoreError(f"{location} is {contents_of(location)}", expected=_wanted(kind))
        if store.attrs.get("format") != FORMATS[found]:
            raise StoreError(
                f"{location} has format {store.attrs.get('format')}",
                expected=f"format {FORMATS[found]}",
                cure="It was written by another version of distcnn; make it again.",
            )
        return store

    @classmethod
    def open_kept(cls, address: Address, kind: str) -> "Store":
        """The same, but kept in this process for as long as its metadata are the same file: to open
        one takes milliseconds, which counts where it is done for every region.

        Raises
        ------
        StoreError : as for ``open``.
        """
        location = Location.parse(address)
        try:
            facts = (location.local_path / "zarr.json").stat()
        except (OSError, DistcnnError):  # an object store, or nothing there
            return cls.open(location, kind)
        return _kept(location.address, kind, (facts.st_ino, facts.st_mtime_ns, facts.st_size))

    @property
    def path(self) -> Path:
        """The folder on this machine; raises where there is none (``Location.local_path``)."""
        return self.location.local_path

    @property
    def identity(self) -> str:
        """Digest of what decides the contents, wherever the store lies: what answers, maps and
        other products of it are said to be made from.
        """
        told = {name: self.attrs.get(name) for name in _DECISIVE[self.attrs["kind"]]}
        return hashing.of_value({**told, "sizes": self.sizes})

    @property
    def row_key(self) -> RowKey:
        """The variables that say what a row is."""
        return RowKey.from_attrs(self.attrs)

    @property
    def stars(self) -> int:
        """Number of rows."""
        return self.sizes[STAR]

    @property
    def shard_stars(self) -> int:
        """Rows in one shard, the least that can be written."""
        return int((self._arrays[self.variables[0]].shards or (self.stars,))[0])

    @property
    def chunk_stars(self) -> int:
        """Rows in one inner chunk, the least that can be read."""
        return int(self._arrays[self.variables[0]].chunks[0])

    def regions(self, shards: int = 1) -> Tiles:
        """The store cut into regions of whole shards."""
        return tile(self.stars, shard=self.shard_stars, shards=shards)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates that are not per star."""
        known = {disk: dim for dim, disk in ON_DISK.items()}
        return tuple(sorted(known.get(name, name) for name in self._coordinates))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a variable."""
        return tuple(self._arrays[name].shape)

    def itemsize(self, name: str) -> int:
        """Bytes of one value of a variable as it is held, before compression."""
        return int(self._arrays[name].dtype.itemsize)

    def units(self, name: str) -> str:
        """Unit of a variable (VOUnit); empty if it has none."""
        return str(self._arrays[name].attrs.get("units", ""))

    def coordinate(self, name: str) -> Array:
        """Values of a coordinate: float64, or texts.

        Raises
        ------
        StoreError : there is no such coordinate.
        """
        if name not in self._values:
            values = np.asarray(self._coordinate(name)[:])
            real = values.dtype.kind == "f"
            self._values[name] = values if real else np.array(values.tolist(), dtype=str)
        return self._values[name].copy()

    def _coordinate(self, name: str) -> "zarr.Array[Any]":
        key = ON_DISK.get(name, name)
        if key in self._coordinates:
            return self._coordinates[key]
        raise StoreError(
            f"{self.location} has no coordinate {name!r}",
            expected=f"one of {', '.join(sorted(self._coordinates))}",
        )

    def coordinate_attrs(self, name: str) -> dict[str, Any]:
        """Attributes of a coordinate, such as unit, medium and frame of ``wavelength``."""
        return dict(self._coordinate(name).attrs)

    def variable_attrs(self, name: str) -> dict[str, Any]:
        """Attributes of a variable, such as its units."""
        return dict(self._arrays[name].attrs)

    def read(self, region: Region, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Values of a region, decoded: real variables are float32 or float64 with NaN.

        Raises
        ------
        StoreCorrupt : a chunk does not match its checksum, or a shard of a finished store is gone.
        StoreError : an unknown variable.
        """
        raw = self.read_stored(region, self.variables if names is None else names)
        return {name: self._decode(name, values) for name, values in raw.items()}

    def read_stored(self, region: Region, names: Sequence[str]) -> dict[str, Array]:
        """Values of a region as they are stored: codes of ``quantisation``, float16 as such.

        Raises
        ------
        StoreCorrupt, StoreError : as for ``read``.
        """
        for name in names:
            if name not in self._arrays:
                raise StoreError(
                    f"{self.location} has no variable {name!r}",
                    expected=f"one of {', '.join(self.variables)}",
                )
        with settings(self.location):
            values = self._each(lambda name: self._read_one(name, region), names)
            return dict(zip(names, values, strict=True))

    def _each(self, work: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
        """``work`` for every variable: one after the other on a disk; all at once where each
        waits for requests, which are most of the time there.
        """
        if not isinstance(self.location, ObjectLocation):
            return [work(name) for name in names]
        with ThreadPoolExecutor(self.location.settings.concurrency) as pool:
            return list(pool.map(work, names))

    def _read_one(self, name: str, region: Region) -> Array:
        if self.attrs.get("complete"):
            self._require_shards(name, region)
        try:
            files = self._files_of(name)
            if files is None:
                return np.asarray(self._arrays[name][region.slice])
            return files.read(region.start, region.stop)
        except (ValueError, RuntimeError, OSError, IndexError, TypeError) as error:
            raise StoreCorrupt(
                f"{self.location}: {name} of region {region.name} cannot be read ({error})",
                expected="bytes that match their checksum",
                cure="Restore the file from a copy, or make the store again.",
            ) from None

    def _require_shards(self, name: str, region: Region) -> None:
        # Zarr reads a missing file as missing values without a word.
        shard = self.shard_stars
        zeros = ["0"] * (len(self._arrays[name].shape) - 1)
        for index in range(region.start // shard, -(-region.stop // shard)):
            file = self.location / "/".join((name, "c", str(index), *zeros))
            if not file.exists():
                raise StoreCorrupt(
                    f"{file} is missing", cure="Restore it from a copy, or make the store again."
                )

    def _decode(self, name: str, values: Array) -> Array:
        return to_float32(values, self.quantisation(name))

    @property
    def quantised(self) -> dict[str, Quantised]:
        """The variables that are held as integers, and how."""
        found = ((name, self.quantisation(name)) for name in self.variables)
        return {name: how for name, how in found if how is not None}

    def blank(self, name: str, rows: int) -> Array:
        """Missing values of a real variable, as ``read_stored`` gives them."""
        how = self.quantisation(name)
        fill = np.nan if how is None else how.fill
        return np.full((rows, *self.shape(name)[1:]), fill, self._arrays[name].dtype)

    def quantisation(self, name: str) -> Quantised | None:
        """How a variable is held as integers; None if it is not."""
        attrs = self._arrays[name].attrs
        if "scale_factor" not in attrs:
            return None
        step, offset = attrs["scale_factor"], attrs["add_offset"]
        return Quantised(float(str(step)), float(str(offset)))

    def write(self, region: Region, arrays: Mapping[str, Array]) -> str:
        """Store every variable of a region of whole shards; returns the digest of what was stored.

        Raises
        ------
        RegionError : the region does not cover whole shards.
        StoreError : a variable is missing or has another shape, or the disk is full.
        """
        check_whole_shards(region, stars=self.stars, shard=self.shard_stars)
        self._check_arrays(region, arrays)
        encoded = {name: self._encode(name, np.asarray(arrays[name])) for name in self.variables}
        try:
            with settings(self.location):
                self._each(lambda name: self._write_one(name, region, encoded[name]), encoded)
        except OSError as error:
            raise StoreError(
                f"{self.location}: region {region.name} cannot be written ({error})",
                cure="Free space or choose another disk, then run the same command again.",
            ) from None
        return hashing.of_arrays(encoded)

    def _write_one(self, name: str, region: Region, values: Array) -> None:
        files = self._files_of(name)
        if files is None:
            self._arrays[name][region.slice] = values
        else:
            files.write(region.start, values)

    def _files_of(self, name: str) -> ShardFiles | None:
        """The files of a variable on this machine; None where Zarr has to reach them."""
        if isinstance(self.location, ObjectLocation):
            return None
        if name not in self._shard_files:
            folder = self.location.local_path / name
            self._shard_files[name] = ShardFiles.of(self._arrays[name], folder)
        return self._shard_files[name]

    def _check_arrays(self, region: Region, arrays: Mapping[str, Array]) -> None:
        if set(arrays) != set(self.variables):
            odd = sorted(set(arrays) ^ set(self.variables))
            raise StoreError(f"variables {odd} are missing or unknown", expected=str(self.location))
        for name in self.variables:
            shape = (region.size, *self._arrays[name].shape[1:])
            if np.shape(arrays[name]) != shape:
                raise StoreError(f"{name} has shape {np.shape(arrays[name])}", expected=f"{shape}")

    def _encode(self, name: str, values: Array) -> Array:
        quantised = self.quantisation(name)
        if quantised is not None:
            return quantised.encode(values)
        with np.errstate(over="ignore"):
            return values.astype(self._arrays[name].dtype)

    def digest(self, region: Region) -> str:
        """Digest of a region as it stands on disk; equals what ``write`` returned.

        Raises
        ------
        StoreCorrupt : a chunk does not match its checksum.
        """
        return hashing.of_arrays(self.read_stored(region, self.variables))

    def annotate(self, attrs: Mapping[str, Any]) -> None:
        """Merge attributes into the store's own, all at once or not at all.

        Raises
        ------
        StoreError : the disk refuses.
        """
        # Zarr would write the file without the consolidated metadata first, and a process
        # killed in between leaves a store that cannot be opened.
        file = self.location / "zarr.json"
        try:
            whole = json.loads(file.read_bytes())
            whole["attributes"] |= dict(attrs)
            file.write_bytes(json.dumps(whole, indent=2).encode())
        except OSError as error:
            raise StoreError(f"{self.location} cannot be annotated ({error})") from None
        self.attrs |= dict(attrs)


@lru_cache(maxsize=4)
def _kept(address: str, kind: str, facts: tuple[int, ...]) -> Store:
    return Store.open(address, kind)


def _wanted(kind: str | None) -> str:
    return f"a {(kind or 'survey or prediction').removesuffix('s')} store"


def _no_store(location: Location, kind: str | None, error: Exception) -> StoreError:
    """What to say of a place that Zarr cannot open."""
    found = contents_of(location)
    if found in STORES:  # damaged in what Zarr reads besides
        found = f"damaged ({type(error).__name__}: {error})"
    return StoreError(
        f"{location} is {'' if found == A_PACKAGE else 'not a store of distcnn but '}{found}",
        expected=_wanted(kind),
        cure="Restore it from a copy, or make it again." if "damaged" in found else "",
    )
