"""Tables of two identifiers per row: those of a crosswalk from one catalogue to another."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from distcnn.arrays import Array
from distcnn.config import CutConfig
from distcnn.ingest.readers.base import Block, find_column, look_for, member_of
from distcnn.ingest.readers.formats.binary import open_table
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource
from distcnn.ingest.readers.formats.text.arrays import ArrayText
from distcnn.ingest.readers.values.numbers import numbers
from distcnn.ingest.readers.values.scalars import identify, reject, star_columns

LABEL_ID, DISTANCE, BRIGHTNESS = "label_id", "angular_distance", "magnitude_difference"
"""Variables of a crosswalk besides source_id; distance and brightness may be missing."""


def crosswalk_blocks(
    table_source: TableSource,
    columns: Mapping[str, str],
    cuts: Sequence[CutConfig],
    *,
    hdu: int | str,
    rows: int,
    ids: Array | None,
) -> Iterator[Block]:
    """Blocks with source_id, label_id and its label_name, distance, brightness, ``cut/NAME``.

    ``columns``: variable -> column. ``ids`` are those of the label table.
    """
    with _open(table_source, columns, hdu) as table:
        star, label = (
            find_column(table.columns, columns.get(n, n), table.name)
            for n in ("source_id", LABEL_ID)
        )
        found = _numbers_of(table, columns, cuts)
        for places, values in table.blocks(rows, [star, label, *found.values()]):
            stars, rejected = identify(values[star], places, table.name, True)
            labels, more = identify(values[label], places, table.name, True)
            unread = table.take_rejected() if isinstance(table, ArrayText) else ()
            rejected += [row for row in more if row.row not in {r.row for r in rejected}]
            out = star_columns(stars)
            for variable, column in found.items():
                out[variable], problems = numbers(values[column], column, table.name)
                reject(stars.source_id, problems, places, table.name, rejected)
            out |= {LABEL_ID: labels.source_id, "label_name": labels.name}
            out |= {n: np.full(len(places), np.nan) for n in (DISTANCE, BRIGHTNESS) if n not in out}
            keep = (stars.source_id > 0) & (labels.source_id > 0)
            keep &= member_of(labels.source_id, ids)
            yield Block(places, out).take(keep, (*unread, *rejected))


@contextmanager
def _open(
    table_source: TableSource, columns: Mapping[str, str], hdu: int | str
) -> Iterator[BinaryTable | ArrayText]:
    if table_source.format != "text":
        yield open_table(table_source, hdu)
        return
    text = table_source.text()
    with text.stream:
        wanted = (columns.get(name, name) for name in ("source_id", LABEL_ID))
        yield ArrayText(text, [look_for(text.columns, name) or "" for name in wanted])


def _numbers_of(
    table: BinaryTable | ArrayText, columns: Mapping[str, str], cuts: Sequence[CutConfig]
) -> dict[str, str]:
    """Columns of numbers by variable; those of the distances may be missing unless named."""
    found = {}
    for name in (DISTANCE, BRIGHTNESS):
        if name in columns or look_for(table.columns, name):
            found[name] = find_column(table.columns, columns.get(name, name), table.name)
    for cut in cuts:
        found[f"cut/{cut.column}"] = find_column(table.columns, cut.column, table.name)
    return found
