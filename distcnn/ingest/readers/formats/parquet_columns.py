"""Columns of Parquet as masked numbers, arrays and objects: every type that a table may have."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distcnn.arrays import Array


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
