"""Creating: a store whole and empty, before anything is computed for it."""

import warnings
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ZarrUserWarning

from distcnn.errors import StoreError
from distcnn.location import Address, Location
from distcnn.schema import NAME, Variable
from distcnn.survey.layout import INT16_FILL, Coordinate, Layout
from distcnn.survey.store import FORMATS, ON_DISK, PRIVATE, Store, settings
from distcnn.survey.zarr_store import zarr_store_of


def create_store(address: Address, layout: Layout) -> Store:
    """Make a whole store of missing values; it appears at ``address`` complete or not at all.

    Raises
    ------
    StoreError : the path exists, or the disk refuses.
    LockHeld : another process makes the same store at this moment.
    """
    location = Location.parse(address)
    if location.exists():
        raise StoreError(f"{location} exists", cure="Give another path or remove it.")
    try:
        with location.new_folder() as draft:
            _create(draft, layout)
    except OSError as error:
        raise StoreError(f"{location} cannot be written ({error})") from None
    return Store.open(location, layout.kind)


def _create(location: Location, layout: Layout) -> None:
    names = [ON_DISK.get(name, name) for name in layout.coordinates]
    attrs = {
        "format": FORMATS[layout.kind],
        "kind": layout.kind,
        **layout.attrs,
        **layout.row_key.to_attrs(),
    }
    attrs["coordinates"] = " ".join([*names, *layout.row_key.names])
    with settings(location):
        group = zarr.create_group(zarr_store_of(location), zarr_format=3, attributes=attrs)
        for variable in layout.variables:
            _create_variable(group, variable, layout)
        for name, coordinate in layout.coordinates.items():
            _create_coordinate(group, name, coordinate)
        _consolidate(location)
    with (location / PRIVATE).new_folder():
        pass


def _create_variable(group: zarr.Group, variable: Variable, layout: Layout) -> None:
    shape = tuple(layout.sizes[dim] for dim in variable.dims)
    rest = shape[1:]
    quantised = layout.quantised.get(variable.name)
    dtype = np.dtype("int16") if quantised else np.dtype(variable.dtype)
    fill: Any = np.nan if dtype.kind == "f" else INT16_FILL if quantised else 0
    attrs: dict[str, Any] = {"description": variable.description}
    if variable.unit:
        attrs["units"] = variable.unit
    if quantised:
        attrs |= {"scale_factor": quantised.step, "add_offset": quantised.offset}
        attrs |= {"_FillValue": INT16_FILL, "largest_error": quantised.step / 2}
    group.create_array(
        variable.name,
        shape=shape,
        dtype=dtype,
        chunks=(layout.chunk_stars, *rest),
        shards=(layout.shard_stars, *rest),
        compressors=[*_compressors(variable), Crc32cCodec()],
        fill_value=fill,
        dimension_names=[ON_DISK.get(dim, dim) for dim in variable.dims],
        attributes=attrs,
    )


def _compressors(variable: Variable) -> list[BloscCodec]:
    # Names are few bytes beside spectra; plain, any tool finds them in the store's files.
    if NAME in variable.dims:
        return []
    return [BloscCodec(cname="lz4", shuffle="bitshuffle")]


def _create_coordinate(group: zarr.Group, name: str, coordinate: Coordinate) -> None:
    texts = coordinate.values.dtype.kind in "UO"
    array = group.create_array(
        ON_DISK.get(name, name),
        shape=coordinate.values.shape,
        chunks=coordinate.values.shape,
        dtype=str if texts else coordinate.values.dtype,
        compressors=[Crc32cCodec()],
        dimension_names=(ON_DISK.get(coordinate.dim, coordinate.dim),),
        attributes=coordinate.attrs,
    )
    array[:] = coordinate.values.astype(object) if texts else coordinate.values


def _consolidate(location: Location) -> None:
    with warnings.catch_warnings():
        # Zarr warns that consolidated metadata is younger than the v3 specification, and of
        # our own folder beside the arrays.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(zarr_store_of(location))
