"""Pieces: the rows of a region, sorted by their spatial index, in one Arrow file.

A file holds one uncompressed batch, so that of a piece no more is read than what is taken of it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from distcnn.arrays import Array
from distcnn.errors import MissingExtra, StoreError
from distcnn.files import atomic_write

SPATIAL_INDEX = "_healpix_29"
"""Column with the HEALPix pixel of order 29 (NESTED) that a star is in."""


def spatial_index(ra: Array, dec: Array) -> Array:
    """The spatial index [N] of positions in degrees [N].

    Raises
    ------
    StoreError : a position is missing or is none.
    MissingExtra : the library is not installed.
    """
    good = np.isfinite(ra) & (np.abs(dec) <= 90)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise StoreError(
            f"{int((~good).sum())} of {len(ra)} stars have no position, such as "
            f"ra {ra[row]}, dec {dec[row]}",
            expected="right ascension and declination of every star of a HATS catalogue",
            cure='Leave them out with --where "isfinite(ra) and isfinite(dec)", or name the '
            "places of the positions in ingest.source.columns, or in ingest.spectra (columns, or "
            "values of the layout), and make the survey again.",
        )
    index: Array = np.asarray(_library()(np.mod(ra, 360.0), dec), np.int64)
    return index


def _library() -> Callable[[Array, Array], Array]:
    try:
        from hats.pixel_math.spatial_index import compute_spatial_index
    except ModuleNotFoundError as error:
        raise MissingExtra.of("HATS catalogues", "hats", "hats") from error
    found: Callable[[Array, Array], Array] = compute_spatial_index
    return found


def with_spatial_index(rows: pa.Table) -> tuple[pa.Table, Array]:
    """The rows sorted by position, stars at one place in the order in which they came; and the
    spatial index that is now their first column.
    """
    index = spatial_index(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    order = np.argsort(index, kind="stable")
    field = pa.field(SPATIAL_INDEX, pa.int64(), nullable=False, metadata=_MEANING)
    moved = rows.take(pa.array(order)).add_column(0, field, [pa.array(index[order])])
    return moved.replace_schema_metadata(rows.schema.metadata), index[order]


_MEANING = {"unit": "", "ucd": "pos.healpix", "description": "HEALPix pixel of order 29, NESTED"}


def write_piece(path: Path, rows: pa.Table) -> None:
    """Store sorted rows, whole or not at all."""
    with (
        atomic_write(path) as draft,
        pa.OSFile(str(draft), "wb") as file,
        pa.ipc.new_file(file, rows.schema) as writer,
    ):
        for batch in rows.combine_chunks().to_batches():
            writer.write_batch(batch)


def read_piece(path: Path) -> pa.Table:
    """The rows of a piece, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def part_of(piece: pa.Table, ranges: Array) -> pa.Table:
    """The rows of a piece whose spatial index is in one of the ranges [R,2], low to below high."""
    index = piece[SPATIAL_INDEX].to_numpy()
    first = np.searchsorted(index, ranges)
    parts = [piece.slice(start, stop - start) for start, stop in first.tolist() if stop > start]
    return pa.concat_tables(parts) if parts else piece.slice(0, 0)
