"""Files of HDF5 with every feature that their tables have, all holding the same three stars."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from table_features import (
    ARRAYS,
    BOTH,
    ENDS,
    PACKERS,
    STARS,
    Feature,
    astropy,
    packed,
    values_of,
    with_unit,
)


def hdf5(fill: Callable[[h5py.File, str, Any], None], name: str = "t.h5", **options: Any):
    """A writer of a file that ``fill`` fills with the column of a role, given its values."""

    def write(folder: Path, role: str) -> str:
        column, values = values_of(role)
        with h5py.File(folder / name, "w", **options) as file:
            fill(file, column, np.array(values))
        return name

    return write


def datasets(file: h5py.Group, column: str, values: Any, **options: Any) -> None:
    file["source_id"] = STARS
    file.create_dataset(column, data=values, **options)


def in_groups(file: h5py.File, column: str, values: Any) -> None:
    """As vaex has it: a group for each column."""
    for name, one in (("source_id", STARS), (column, values)):
        file[f"table/columns/{name}/data"] = one


def in_a_group(file: h5py.File, column: str, values: Any) -> None:
    file["source_id"], file[f"in/{column}"] = STARS, values


def of_fields(file: h5py.File, column: str, values: Any) -> None:
    kinds = [("source_id", "i8"), (column, "f8", values.shape[1:])]
    rows = np.array(list(zip(STARS, values, strict=True)), kinds)
    file["stars"] = rows


def in_two_tables(file: h5py.File, column: str, values: Any) -> None:
    file["other/x"] = [1, 2]
    datasets(file.create_group("stars"), column, values)


def scaled_as_netcdf(file: h5py.File, column: str, values: Any) -> None:
    file["source_id"] = STARS
    file[column] = np.round((values - 1) / 0.25).astype("i2")
    file[column].attrs.update({"scale_factor": 0.25, "add_offset": 1.0, "_FillValue": -99})


def of_other_length(file: h5py.File, column: str, values: Any) -> None:
    datasets(file, column, values)
    file["wave"], file["version"], file["mean"] = [1.0, 2.0, 3.0, 4.0], "1.0", 2.5


def ragged(file: h5py.File, column: str, values: Any) -> None:
    file["source_id"] = STARS
    rows = file.create_dataset(column, 3, h5py.vlen_dtype("f8"))
    for place, row in enumerate(values):
        rows[place] = row


def with_links(file: h5py.File, column: str, values: Any) -> None:
    datasets(file, column, values)
    file["again"], file["nowhere"] = h5py.SoftLink("/"), h5py.SoftLink("/gone")
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")


HDF5 = [
    Feature("hdf5", "datasets", hdf5(datasets)),
    Feature("hdf5", "called .hdf5", hdf5(datasets, "t.hdf5")),
    Feature("hdf5", "called .csv", hdf5(datasets, "t.csv")),
    Feature("hdf5", "of the newest version", hdf5(datasets, libver="latest")),
    Feature("hdf5", "behind a block of something else", hdf5(datasets, userblock_size=512)),
    Feature("hdf5", "chunks that are packed", hdf5(
        lambda f, c, v: datasets(f, c, v, chunks=(1, *v.shape[1:]), compression="gzip",
                                 shuffle=True, fletcher32=True))),
    Feature("hdf5", "bytes in the other order", hdf5(
        lambda f, c, v: datasets(f, c, v.astype(">f4")))),
    Feature("hdf5", "half precision", hdf5(lambda f, c, v: datasets(f, c, v.astype("f2")))),
    Feature("hdf5", "a group", hdf5(lambda f, c, v: datasets(f.create_group("survey"), c, v))),
    Feature("hdf5", "a column in a group", hdf5(in_a_group), ARRAYS,
            {"columns": {"flux": "in.flux"}}),
    Feature("hdf5", "a group for each column", hdf5(in_groups)),
    Feature("hdf5", "named fields", hdf5(of_fields)),
    Feature("hdf5", "quantities of astropy", astropy("hdf5", "t.h5", with_unit, path="stars",
                                                    serialize_meta=True)),
    Feature("hdf5", "table by number", hdf5(in_two_tables), BOTH, {"hdu": 2}),
    Feature("hdf5", "table by name", hdf5(in_two_tables), BOTH, {"hdu": "stars"}),
    Feature("hdf5", "integers scaled as in netCDF", hdf5(scaled_as_netcdf)),
    Feature("hdf5", "datasets of another length", hdf5(of_other_length)),
    Feature("hdf5", "rows of their own length", hdf5(ragged), ARRAYS),
    Feature("hdf5", "links", hdf5(with_links)),
    *(Feature("hdf5", f"packed by {name}", packed(hdf5(datasets), pack, f"t.h5.{ENDS[name]}"))
      for name, pack in PACKERS.items()),
]  # fmt: skip
