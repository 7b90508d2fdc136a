"""Tables of Parquet files, their columns as masked numbers, arrays and objects."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distcnn.arrays import Array
from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource, sought
from distcnn.ingest.readers.statements.statements import parquet_facts


def open_parquet(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    """The table of a Parquet file, read by row groups."""
    content = table_source.path if table_source.is_plain else sought(table_source)
    file = pq.ParquetFile(content)
    groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    edges = np.concatenate([[0], np.cumsum(groups)])
    facts = parquet_facts(table_source.name, file.schema_arrow)
    inside: dict[str, tuple[str, ...]] = {}
    for place, column in enumerate(file.schema_arrow):
        if column.name in file.schema_arrow.names[:place]:
            continue  # of one name several: look_for refuses it, and others may be read
        inside |= {name: (column.name, *path) for name, path in inner_columns(column)}

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        outer = list(dict.fromkeys(inside.get(name, (name,))[0] for name in names))
        part = file.read_row_groups(list(range(first, last)), columns=outer)
        part = part.slice(start - int(edges[first]), stop - start)
        found = {}
        for name in names:
            column, *path = inside.get(name, (name,))
            parts = [] if path else [n for n, where in inside.items() if where[0] == name]
            if parts:
                problem = f"column {name!r} holds several in each row: {', '.join(parts)}"
                raise broken(table_source.name, problem, cure="Name one of them in 'columns'.")
            found[name] = from_arrow(inner(part[column].combine_chunks(), path))
        return found

    yield BinaryTable(
        table_source.name,
        [*file.schema_arrow.names, *inside],
        dict(facts.header),
        file.metadata.num_rows,
        read,
        dict(facts.units),
        dict(facts.ucds),
    )


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def inner_columns(
    column: pa.Field, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names ``spectrum.flux`` of what lies inside a column of structs, or of lists of structs."""
    kind = column.type
    while _is_list(kind):
        kind = kind.value_type
    for part in kind if pa.types.is_struct(kind) else ():
        inside = (*path, part.name)
        yield f"{column.name}.{part.name}", inside
        for name, deeper in inner_columns(part, inside):
            yield f"{column.name}.{name}", deeper


def inner(column: pa.Array, path: Sequence[str]) -> pa.Array:
    """What lies inside a column along a path of names; a list of structs becomes one of values."""
    if not path:
        return column
    if not _is_list(column.type):
        return inner(pc.struct_field(column, path[0]), path[1:])
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    values = inner(column.values, path)
    kind = pa.LargeListArray if pa.types.is_large_list(column.type) else pa.ListArray
    mask = column.is_null() if column.null_count else None
    return kind.from_arrays(column.offsets, values, mask=mask)


def from_arrow(column: pa.Array) -> Array:
    """A column of Parquet: masked numbers, or objects with None where it is null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return from_arrow(column.dictionary_decode())
    if pa.types.is_fixed_size_list(kind) and not column.null_count:
        flat = from_arrow(column.flatten())
        return flat.reshape(len(column), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        flat, edges = from_arrow(column.values), column.offsets.to_numpy()
        valid = column.is_valid().to_pylist()
        rows = [flat[edges[n] : edges[n + 1]] if good else None for n, good in enumerate(valid)]
        return _objects(rows)
    if pa.types.is_floating(kind) or pa.types.is_temporal(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        zero = pa.scalar(0, pa.int8()).cast(kind)
        values = column.fill_null(zero).to_numpy(zero_copy_only=False)
        missing = column.is_null().to_numpy(zero_copy_only=False)
        return np.ma.array(values, mask=missing) if column.null_count else np.asarray(values)
    return _objects(column.to_pylist())


def _objects(values: Sequence[Any]) -> Array:
    column = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value
    return column
