"""The files of a HATS catalogue: a Parquet file per partition, and what tells of them all.

dataset/Norder=k/Dir=d/Npix=p.parquet    rows of pixel p of order k
dataset/_metadata, _common_metadata      footers of all files; the columns
partition_info.csv, hats.properties      which pixels there are; what the catalogue is
point_map.fits                           stars on the sky
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn import __version__
from distcnn.catalogue.hats.partitions import COUNT_ORDER, INDEX_ORDER, Partition
from distcnn.catalogue.hats.pieces import SPATIAL_INDEX
from distcnn.files import atomic_write, atomic_write_text

HATS_VERSION = "v1.0"
MAIN, MARGIN = "catalogue", "margin"
"""Folders of a collection."""
MAP_ORDER = 8
"""Order of the map of stars on the sky: pixels of 14 arcminutes, 6 MB."""
ROW_GROUP_STARS = 65_536
"""Rows that are read at once by those who look for a few of them."""

_POSITIONS = {
    "hats_col_ra": "ra",
    "hats_col_dec": "dec",
    "hats_col_healpix": SPATIAL_INDEX,
    "hats_col_healpix_order": INDEX_ORDER,
    "hats_npix_suffix": ".parquet",
}


def partition_path(folder: Path, partition: Partition) -> Path:
    """Where the file of a partition is."""
    directory = partition.pixel // 10_000 * 10_000
    inside = f"Norder={partition.order}/Dir={directory}/Npix={partition.pixel}.parquet"
    return folder / "dataset" / inside


def write_partition(path: Path, rows: pa.Table) -> None:
    """Store the rows of a partition, sorted by position, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as draft:
        pq.write_table(rows, draft, compression="zstd", row_group_size=ROW_GROUP_STARS)


def write_index(
    folder: Path,
    name: str,
    partitions: Sequence[Partition],
    counts: Mapping[int, int],
    most_stars: int,
) -> None:
    """Write what tells of the partitions, once all of them are there."""
    from hats.catalog.partition_info import PartitionInfo
    from hats.io.file_io.file_io import write_fits_image
    from hats.io.parquet_metadata import write_parquet_metadata
    from hats.pixel_math.healpix_pixel import HealpixPixel

    stars = int(write_parquet_metadata(folder))
    pixels = [HealpixPixel(one.order, one.pixel) for one in partitions]
    PartitionInfo.from_healpix(pixels).write_to_file(folder / "partition_info.csv")
    write_fits_image(_map(counts), folder / "point_map.fits")
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    write_properties(
        folder / "hats.properties",
        {
            "obs_collection": name,
            "dataproduct_type": "object",
            "hats_nrows": stars,
            **_POSITIONS,
            "hats_max_rows": most_stars,
            "hats_order": max(one.order for one in partitions),
            "hats_estsize": size // 1024,
            "hats_builder": f"distcnn {__version__}",
            "hats_version": HATS_VERSION,
            "moc_sky_fraction": f"{sum(1 / (12 << 2 * one.order) for one in partitions):.5f}",
        },
    )


def write_margin_index(
    folder: Path, name: str, counts: Mapping[Partition, int], margin: float
) -> None:
    """Write what tells of the margins ``counts`` (stars of each); ``margin`` in arcseconds."""
    from hats.catalog.partition_info import PartitionInfo
    from hats.io.parquet_metadata import write_parquet_metadata
    from hats.pixel_math.healpix_pixel import HealpixPixel

    partitions = [one for one, stars in counts.items() if stars]
    pixels = [HealpixPixel(one.order, one.pixel) for one in sorted(partitions)]
    write_parquet_metadata(folder)
    PartitionInfo.from_healpix(pixels).write_to_file(folder / "partition_info.csv")
    write_properties(
        folder / "hats.properties",
        {
            "obs_collection": f"{name}_{MARGIN}",
            "dataproduct_type": "margin",
            "hats_nrows": sum(counts.values()),
            **_POSITIONS,
            "hats_primary_table_url": MAIN,
            "hats_margin_threshold": float(margin),
            "hats_order": max(one.order for one in partitions),
            "hats_builder": f"distcnn {__version__}",
            "hats_version": HATS_VERSION,
        },
    )


def write_collection(folder: Path, name: str) -> None:
    """Write what makes a catalogue and its margins one."""
    write_properties(
        folder / "collection.properties",
        {
            "obs_collection": name,
            "hats_primary_table_url": MAIN,
            "all_margins": MARGIN,
            "default_margin": MARGIN,
        },
    )


def main_folder(folder: Path) -> Path:
    """The catalogue itself, of a collection or alone."""
    return folder / MAIN if (folder / "collection.properties").exists() else folder


def write_properties(path: Path, values: Mapping[str, object]) -> None:
    """Write properties as Java does, without a date; those of a catalogue under both its names."""
    lines = ["#HATS catalog", *(f"{key}={value}" for key, value in values.items())]
    names = {path.name, "properties"} if path.name == "hats.properties" else {path.name}
    for name in names:
        atomic_write_text(path.with_name(name), "\n".join(lines) + "\n")


def read_properties(path: Path) -> dict[str, str]:
    """The properties of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line.strip() and line[0] not in "#!")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _map(counts: Mapping[int, int]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    stars = np.zeros(12 << 2 * MAP_ORDER, np.int64)
    shift = 2 * (COUNT_ORDER - MAP_ORDER)
    for pixel, found in counts.items():
        stars[pixel >> shift] += found
    return stars
