"""HATS: a folder of Parquet files, one per HEALPix pixel, for LSDB and whatever reads that.

Rows are laid down as pieces and gathered from them (``catalogue.hats``): block by block in this
process, or region by region in the workers of a cluster, by the same functions and with the same
bytes in the end.
"""

from collections import Counter
from functools import partial
from pathlib import Path
from shutil import rmtree

import pyarrow as pa
import pyarrow.parquet as pq

from distcnn.catalogue.hats import (
    HatsBuild,
    gather_pieces,
    lay_piece,
    main_folder,
    most_stars,
    read_properties,
)
from distcnn.catalogue.rows import SharedRows
from distcnn.catalogue.table import CatalogueTable
from distcnn.catalogue.writers.base import FINISHED, STAGE, CatalogueHeader
from distcnn.catalogue.writers.parquet import (
    OWN_HEADERS,
    arrow_schema,
    arrow_table,
    header_of,
)
from distcnn.errors import UsageError
from distcnn.events import Advanced, Listener, StageEnded, StageStarted
from distcnn.executor import Executor, SerialExecutor

SORTING = "sort by position"


def write(path: Path, table: CatalogueTable) -> int:
    """Fill the folder; returns the number of rows."""
    schema = _schema(table)
    build = _build(table, path / "pieces", path)
    counts: Counter[int] = Counter()
    pieces = 0
    for pieces, block in enumerate(table.blocks(), start=1):
        counts += lay_piece(build, pieces - 1, partial(arrow_table, block, schema))
    rows = gather_pieces(build, pieces, counts, SerialExecutor())
    rmtree(build.pieces)
    return rows


def write_shared(
    work: Path,
    table: CatalogueTable,
    rows: SharedRows,
    run: Executor,
    listener: Listener,
) -> int:
    """Fill ``work/catalogue`` by tasks; what an earlier run has left in ``work`` is used."""
    schema = _schema(table)
    build = _build(table, work / "pieces", work / FINISHED)
    counts: Counter[int] = Counter()
    listener(StageStarted(SORTING, rows.regions.stars, "stars"))
    for done in run(partial(_lay_region, build, rows, schema), range(len(rows.regions))):
        counts += done.unwrap()
        listener(Advanced(SORTING, rows.regions[done.task].size))
    listener(StageEnded(SORTING))
    listener(StageStarted(STAGE, table.rows, "stars"))
    return gather_pieces(
        build, len(rows.regions), counts, run, lambda stars: listener(Advanced(STAGE, stars))
    )


def read_header(path: Path) -> CatalogueHeader:
    """The header of a catalogue folder."""
    folder = main_folder(path)
    schema = pq.read_schema(folder / "dataset" / "_common_metadata")
    return header_of(schema, int(read_properties(folder / "hats.properties")["hats_nrows"]))


def _lay_region(build: HatsBuild, rows: SharedRows, schema: pa.Schema, number: int) -> Counter[int]:
    return lay_piece(build, number, lambda: arrow_table(rows.read(number), schema))


def _build(table: CatalogueTable, pieces: Path, folder: Path) -> HatsBuild:
    entries = {entry.name: entry.value for entry in table.header}
    name = "_".join(filter(None, (entries.get("SURVEY"), entries.get("RELEASE")))) or "catalogue"
    return HatsBuild(name, pieces, folder, most_stars(table.dtype.itemsize), table.margin)


def _schema(table: CatalogueTable) -> pa.Schema:
    schema = arrow_schema(table)
    missing = [name for name in ("ra", "dec") if name not in schema.names]
    if missing:
        raise UsageError(
            f"a HATS catalogue without {' and '.join(missing)}",
            expected="the positions, by which it is partitioned",
            cure="Add ra,dec to --columns.",
        )
    # Every partition repeats this, and those two headers are of kilobytes per column.
    kept = {key: text for key, text in schema.metadata.items() if key.decode() not in OWN_HEADERS}
    return schema.with_metadata(kept)
