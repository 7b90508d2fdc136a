"""Tables of HDF5 files: datasets of a group that share their first axis, or one of named fields.

So the Multimodal Universe (``object_id``, ``spectrum_flux``), astropy, vaex and netCDF 4 write
them. What several rows share, such as one array of wavelengths, is a column that is the same in
every row. Only what lies in the file itself is read: links to other files are left, and told.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.binary_table import BinaryTable, tell_table
from distcnn.ingest.readers.formats.containers import TableSource, sought, tell_unread
from distcnn.ingest.readers.statements.statements import TableFacts, ecsv_facts
from distcnn.ingest.readers.values.numbers import text_of

_MAX_OBJECTS = 100_000
_MAX_DEPTH = 32
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_RATIO = 200
"""How much larger than its file a dataset may be, beyond ``_MAX_UNPACKED_BYTES``."""
_ASTROPY_META = ".__table_column_meta__"
_WRAPPED = "data"
"""The one dataset in the group of a column, as vaex has it."""
_UNITS, _UCDS = ("unit", "units"), ("ucd",)
_NULLS = ("_FillValue", "missing_value")


@dataclass(frozen=True)
class Hdf5Table:
    """A table: where it stands, how many rows it has, and a way to read rows of its columns."""

    name: str
    length: int
    facts: TableFacts
    columns: Mapping[str, Callable[[int, int], Array]]
    """Name of a column -> its values in rows [start, stop)."""

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        """Columns of rows [start, stop), masked where missing."""
        return {name: self.columns[name](start, stop) for name in names}


def open_hdf5(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    """The table ``hdu``, by number from 1 or by name; of None all of them."""
    tables = hdf5_tables(table_source)
    names = [table.name for table in tables]
    whole = hdu is None and bool(tables)
    chosen = range(len(tables)) if whole else [_place_of_group(names, hdu or 1, table_source)]
    for place, name in enumerate(names) if len(names) > 1 else ():
        where = f"{Path(table_source.name).name}: {name}"
        tell_table("further tables of HDF5 files", where, place in chosen)
    for place in chosen:
        table = tables[place]
        name = table_source.name if len(tables) == 1 else f"{table_source.name}:{table.name}"
        facts = table.facts
        yield BinaryTable(
            name,
            list(table.columns),
            dict(facts.header),
            table.length,
            table.read,
            dict(facts.units),
            dict(facts.ucds),
        )


def _place_of_group(names: Sequence[str], hdu: int | str, table_source: TableSource) -> int:
    """Where the table of that number (from 1) or name stands."""
    for place, name in enumerate(names):
        if hdu in (place + 1, name, name.strip("/"), name.rpartition("/")[2]):
            return place
    raise broken(
        table_source.name,
        f"the file is not readable as hdf5: there is no table {hdu!r}",
        cure=f"Set 'hdu' of this kind of file to one that is: {', '.join(names[:20])}."
        if names
        else "It holds no datasets of rows; write them as FITS, Parquet or CSV.",
    )


def hdf5_tables(source: TableSource) -> list[Hdf5Table]:
    """The tables of an HDF5 file, those nearest to its root first; the file stays open with them.

    Raises
    ------
    FileBroken : h5py is not installed.
    Exception : of whatever class, of bytes that are no HDF5 file.
    """
    h5py = _h5py(source.name)
    stream = source.path if source.is_plain else sought(source)
    options = {"locking": False} if source.is_plain else {}
    file = h5py.File(stream, "r", rdcc_nbytes=1 << 20, **options)
    contents = _Contents(h5py, source.name, source.path.stat().st_size)
    contents.look_at(file, "", 0, _said(file))
    return sorted(contents.tables, key=lambda table: table.name.count("/"))


def _h5py(name: str) -> ModuleType:
    try:
        import h5py
    except ImportError:
        cure = "Install it, for workers too, with: pip install 'distcnn[hdf5]'."
        raise broken(name, "files of HDF5 need h5py", cure=cure) from None
    return h5py  # type: ignore[no-any-return]


@dataclass
class _Contents:
    """Gathers the tables of a file from its root on."""

    h5py: Any
    file: str
    file_bytes: int
    tables: list[Hdf5Table] = field(default_factory=list)
    seen: set[Any] = field(default_factory=set)
    count: int = 0

    def look_at(self, group: Any, path: str, depth: int, header: Mapping[str, Any]) -> None:
        """Note the tables in a group, and in those below it that are no part of its own."""
        if group in self.seen or depth > _MAX_DEPTH:  # links may lead in a circle
            return
        self.seen.add(group)
        inside = self._inside(group, path)
        own = self._datasets(inside, path, header)
        groups = {n: one for n, one in inside.items() if isinstance(one, self.h5py.Group)}
        wrapped = {n: one[_WRAPPED] for n, one in groups.items() if self._is_column(one, n)}
        length = _length_of(own | wrapped)
        inner: dict[str, Any] = {}
        for name, one in groups.items():
            parts = {} if name in wrapped else self._parts(one, f"{path}/{name}")
            if own and parts and all(_rows(part) == length for part in parts.values()):
                inner |= {f"{name}.{part}": dataset for part, dataset in parts.items()}
            elif name not in wrapped:
                self.look_at(one, f"{path}/{name}", depth + 1, {**header, **_said(one)})
        if columns := own | wrapped | inner:
            scalars = {n: _plain(one[()]) for n, one in inside.items() if self._is_scalar(one)}
            said = {**header, **{name: v for name, v in scalars.items() if v is not None}}
            self.tables.append(self._table(path or "/", columns, length, said))

    def _inside(self, group: Any, path: str) -> dict[str, Any]:
        """Groups and datasets in a group that lie in the file itself."""
        found = {}
        for name in group:
            if isinstance(group.get(name, getlink=True), self.h5py.ExternalLink):
                self._tell("links of HDF5 files to other files", f"{path}/{name}")
            elif (one := group.get(name)) is not None:  # a link may lead nowhere
                found[name] = one
        self.count += len(found)
        if self.count > _MAX_OBJECTS:
            problem = f"it holds more than {_MAX_OBJECTS} groups and datasets"
            raise broken(self.file, problem, cure="Write its stars as rows of datasets.")
        return {name: one for name, one in found.items() if self._is_here(one, f"{path}/{name}")}

    def _is_here(self, one: Any, path: str) -> bool:
        """Whether data lie in the file; told if they do not."""
        elsewhere = isinstance(one, self.h5py.Dataset) and (one.is_virtual or one.external)
        if elsewhere:
            self._tell("datasets of HDF5 files whose data lie in others", path)
        return not elsewhere

    def _tell(self, what: str, path: str) -> None:
        where = f"{PurePosixPath(self.file).name}:{path}"
        tell_unread(what, where, "copy what they hold into the file")

    def _is_scalar(self, one: Any) -> bool:
        return isinstance(one, self.h5py.Dataset) and one.shape == ()

    def _is_array(self, one: Any) -> bool:
        if not isinstance(one, self.h5py.Dataset) or not one.shape:
            return False
        return self.h5py.check_ref_dtype(one.dtype) is None

    def _datasets(
        self, inside: Mapping[str, Any], path: str, header: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Those in a group that may be columns; tables of named fields are noted."""
        found = {}
        for name, one in inside.items():
            if not self._is_array(one) or name.endswith(_ASTROPY_META):
                continue
            if one.dtype.names:
                meta = inside.get(f"{name}{_ASTROPY_META}")
                self.tables.append(self._of_fields(f"{path}/{name}", one, meta, header))
            else:
                found[name] = one
        return found

    def _is_column(self, group: Any, path: str) -> bool:
        if list(group) != [_WRAPPED]:
            return False
        return self._is_array(self._inside(group, path).get(_WRAPPED))

    def _parts(self, group: Any, path: str) -> dict[str, Any]:
        """The datasets of a group that holds nothing else."""
        inside = self._inside(group, path)
        plain = all(self._is_array(one) and not one.dtype.names for one in inside.values())
        return inside if plain else {}

    def _table(
        self, path: str, datasets: Mapping[str, Any], length: int, header: Mapping[str, Any]
    ) -> Hdf5Table:
        columns = {
            name: self._column(one, name, _rows(one) != length) for name, one in datasets.items()
        }
        facts = TableFacts(
            self.file,
            header,
            {n: t for n, one in datasets.items() if (t := _attribute(one, _UNITS))},
            {n: t for n, one in datasets.items() if (t := _attribute(one, _UCDS))},
        )
        return Hdf5Table(path, length, facts, columns)

    def _column(self, dataset: Any, name: str, is_shared: bool) -> Callable[[int, int], Array]:
        """How rows of a dataset are read; of a shared one the whole of it for every row."""
        self._check_size(dataset, name)
        said = _said(dataset)

        def read(start: int, stop: int) -> Array:
            return _meant(np.asarray(dataset[start:stop]), dataset, said)

        def read_shared(start: int, stop: int) -> Array:
            whole = _meant(np.asarray(dataset[()]), dataset, said).reshape(1, -1)
            return np.ma.repeat(whole, stop - start, axis=0)

        return read_shared if is_shared else read

    def _check_size(self, dataset: Any, name: str) -> None:
        """Refuse a dataset of which a few KiB pretend to hold GiB."""
        limit = max(_MAX_UNPACKED_BYTES, _MAX_RATIO * self.file_bytes)
        chunk = int(np.prod(dataset.chunks or (0,), dtype=float)) * dataset.dtype.itemsize
        if float(np.prod(dataset.shape, dtype=float)) * dataset.dtype.itemsize > limit:
            size = f"more than {_MAX_RATIO} times the file and {_MAX_UNPACKED_BYTES >> 30} GiB"
        elif chunk > _MAX_UNPACKED_BYTES:
            size = f"chunks of more than {_MAX_UNPACKED_BYTES >> 30} GiB"
        else:
            return
        raise broken(self.file, f"its dataset {name!r} unpacks to {size}")

    def _of_fields(
        self, path: str, dataset: Any, meta: Any, header: Mapping[str, Any]
    ) -> Hdf5Table:
        """A dataset of named fields, with what astropy notes beside it."""
        self._check_size(dataset, path)
        lines = [] if meta is None else [text_of(line) for line in np.asarray(meta[()]).tolist()]
        noted = ecsv_facts(self.file, lines)
        said = {**header, **_said(dataset), **noted.header}

        def column(name: str) -> Callable[[int, int], Array]:
            def read(start: int, stop: int) -> Array:
                return np.asarray(dataset.fields(name)[start:stop])

            return read

        facts = TableFacts(self.file, said, noted.units, noted.ucds)
        columns = {name: column(name) for name in dataset.dtype.names}
        return Hdf5Table(path, int(dataset.shape[0]), facts, columns)


def _rows(dataset: Any) -> int:
    return int(dataset.shape[0])


def _length_of(datasets: Mapping[str, Any]) -> int:
    """Rows of a table: as many as most datasets have; of two numbers that of the most axes."""
    counts = Counter(map(_rows, datasets.values()))
    axes = {n: max(d.ndim for d in datasets.values() if _rows(d) == n) for n in counts}
    return max(counts, key=lambda n: (counts[n], axes[n], n), default=0)


def _said(place: Any) -> dict[str, Any]:
    """Attributes of one value of a file, group or dataset, those that can be read."""
    found = {}
    for name in place.attrs:
        try:
            value = _plain(place.attrs[name])
        except Exception:  # a type of HDF5 that numpy does not have # noqa: S112
            continue
        if value is not None:
            found[str(name)] = value
    return found


def _plain(value: Any) -> Any:
    """A single number, logical or text as Python has it; else None."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size == 1 else None
    value = value.item() if isinstance(value, np.generic) else value
    value = text_of(value) if isinstance(value, (bytes, str)) else value
    return value if isinstance(value, (bool, int, float, str)) else None


def _attribute(dataset: Any, names: Sequence[str]) -> str:
    said = {name.lower(): value for name, value in _said(dataset).items()}
    return next((str(said[name]) for name in names if said.get(name)), "")


def _nulls(dataset: Any, said: Mapping[str, Any]) -> Iterator[float]:
    """Numbers that stand for missing ones: those of netCDF, and what a dataset is filled with."""
    yield from (said[name] for name in _NULLS if isinstance(said.get(name), (int, float)))
    filled = dataset.fillvalue
    if np.ndim(filled) == 0 and np.isfinite(filled) and filled != 0:  # 0 where none is given
        yield np.asarray(filled).item()


def _meant(values: Array, dataset: Any, said: Mapping[str, Any]) -> Array:
    """Values with their nulls masked, and scaled as netCDF has it."""
    if values.dtype.kind not in "iuf":
        return values
    missing = np.zeros(values.shape, bool)
    for null in _nulls(dataset, said):
        missing |= values == null
    scale, offset = said.get("scale_factor", 1), said.get("add_offset", 0)
    if (scale, offset) != (1, 0):
        values = values * np.float64(scale) + np.float64(offset)
    masked: Array = np.ma.array(values, mask=missing) if missing.any() else values
    return masked
