"""A HATS catalogue from the rows of a survey: two rounds of tasks, and what tells of them.

A piece or a partition that is stored is not made again: a run that was killed goes on where it
stopped.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn.arrays import Array
from distcnn.catalogue.hats.files import (
    MAIN,
    MARGIN,
    partition_path,
    write_collection,
    write_index,
    write_margin_index,
    write_partition,
)
from distcnn.catalogue.hats.margins import margin_ranges
from distcnn.catalogue.hats.partitions import Partition, count_stars, partitions_of
from distcnn.catalogue.hats.pieces import (
    SPATIAL_INDEX,
    part_of,
    read_piece,
    with_spatial_index,
    write_piece,
)
from distcnn.errors import UsageError
from distcnn.executor import Executor

PARTITION_BYTES = 256 * 2**20
"""Memory that the rows of a partition take at most, and with it the task that writes them."""
MOST_STARS = 1_000_000
"""Rows of a partition at most, however small they are."""


@dataclass(frozen=True)
class HatsBuild:
    """Where a catalogue is made: ``pieces`` are read, ``folder`` becomes the catalogue."""

    name: str
    pieces: Path
    folder: Path
    most_stars: int
    """Rows of a partition at most."""
    margin: float = 0.0
    """Stars this near to a partition stand in a second catalogue too [arcseconds]; 0 = none."""

    @property
    def catalogue(self) -> Path:
        """The folder of the catalogue itself: all of it, or that part of a collection."""
        return self.folder / MAIN if self.margin else self.folder

    @property
    def margins(self) -> Path:
        """The folder of the stars in margins."""
        return self.folder / MARGIN


def most_stars(row_bytes: int) -> int:
    """Rows of a partition at most, for rows of that size."""
    return max(1, min(MOST_STARS, PARTITION_BYTES // row_bytes))


def lay_piece(build: HatsBuild, number: int, read: Callable[[], pa.Table]) -> Counter[int]:
    """Store rows as a piece, unless it is there; returns how many stars are where.

    Raises
    ------
    StoreError : a star has no position.
    """
    path = _piece(build, number)
    if path.exists():
        return count_stars(read_piece(path)[SPATIAL_INDEX].to_numpy())
    rows, index = with_spatial_index(read())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_piece(path, rows)
    return count_stars(index)


def gather_pieces(
    build: HatsBuild,
    pieces: int,
    counts: Counter[int],
    run: Executor,
    report: Callable[[int], None] = lambda rows: None,
) -> int:
    """Make the catalogue of so many pieces; returns its number of rows.

    ``report`` hears of the rows of each partition that is stored.

    Raises
    ------
    UsageError : there are no rows, and a HATS catalogue of none cannot be opened.
    """
    if not counts:
        raise UsageError("no star fulfils the condition", expected="a HATS catalogue has some")
    partitions = partitions_of(counts, build.most_stars)
    stars = 0
    for done in run(partial(gather_partition, build, pieces), partitions):
        stars += done.unwrap()
        report(done.unwrap())
    write_index(build.catalogue, build.name, partitions, counts, build.most_stars)
    if build.margin:
        found = run(partial(gather_margin, build, pieces), partitions)
        margins = {done.task: done.unwrap() for done in found}
        write_margin_index(build.margins, build.name, margins, build.margin)
        write_collection(build.folder, build.name)
    return stars


def gather_partition(build: HatsBuild, pieces: int, partition: Partition) -> int:
    """Task: store the rows of one partition unless they are there; returns their number.

    Stars at one place stand in the order of their pieces and, in a piece, of the survey.
    """
    path = partition_path(build.catalogue, partition)
    return _gather(build, pieces, path, np.array([partition.index_range]))


def gather_margin(build: HatsBuild, pieces: int, partition: Partition) -> int:
    """Task: store the stars around a partition unless they are there; returns their number."""
    path = partition_path(build.margins, partition)
    return _gather(build, pieces, path, margin_ranges(partition, build.margin))


def _gather(build: HatsBuild, pieces: int, path: Path, ranges: Array) -> int:
    if path.exists():
        return int(pq.read_metadata(path).num_rows)
    found = (read_piece(_piece(build, number)) for number in range(pieces))
    rows = pa.concat_tables([part_of(piece, ranges) for piece in found])
    if not rows.num_rows:
        return 0
    # Arrow itself sorts without keeping the order of equals.
    order = np.argsort(rows[SPATIAL_INDEX].to_numpy(), kind="stable")
    write_partition(path, rows.take(pa.array(order)))
    return int(rows.num_rows)


def _piece(build: HatsBuild, number: int) -> Path:
    return build.pieces / f"{number:06d}.arrow"
