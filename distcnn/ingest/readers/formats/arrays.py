"""Tables of one row per star whose columns hold whole arrays, in FITS, VOTable and Parquet."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import Block, Rejected, member_of
from distcnn.ingest.readers.formats.binary import BinaryTable, as_matrix
from distcnn.ingest.readers.formats.scalars import identify, star_columns
from distcnn.schema import Reason


def array_blocks(
    table: BinaryTable,
    identifier: str,
    columns: Mapping[str, Sequence[str]],
    *,
    pixels: int,
    texts: bool,
    rows: int,
    ids: Array | None,
) -> Iterator[Block]:
    """Blocks with ``source_id`` and the variables of ``columns``.

    Parameters
    ----------
    columns : variable -> its column; several columns make up an array, one number each.
    pixels : length of an array; rows of another length are quarantined.
    texts : identifiers may be texts.
    """
    every = [identifier, *dict.fromkeys(c for several in columns.values() for c in several)]
    for numbers, values in table.blocks(rows, every):
        stars, rejected = identify(values[identifier], numbers, table.name, texts=texts)
        block = Block(numbers, star_columns(stars), tuple(rejected))
        yield _arrays_of(block, values, columns, pixels=pixels, name_of_file=table.name, ids=ids)


def _arrays_of(
    block: Block,
    values: Mapping[str, Array],
    columns: Mapping[str, Sequence[str]],
    *,
    pixels: int,
    name_of_file: str,
    ids: Array | None,
) -> Block:
    """The block with its arrays; rows with an array of another length are quarantined."""
    source_id = block.columns["source_id"].copy()
    rejected, out = list(block.rejected), {}
    for name, several in columns.items():
        if name in ("ra", "dec", "snr"):
            out[name] = values[several[0]].astype(float)
            continue
        if len(several) > 1:
            out[name] = np.stack([values[column] for column in several], axis=1)
            continue
        out[name], lengths = as_matrix(values[several[0]], pixels)
        for index in np.flatnonzero((lengths != pixels) & (source_id > 0)):
            detail = f"{name} has {lengths[index]} values, the grid {pixels}"
            star, row = int(source_id[index]), int(block.rows[index])
            rejected.append(Rejected(name_of_file, row, star, Reason.ARRAY_LENGTH, detail))
            source_id[index] = 0
    for name in ("flux", "flux_error", "xp", "xp_error"):
        if name in out:
            out[name] = out[name].astype(np.float32)
    keep = (source_id > 0) & member_of(source_id, ids)
    return Block(block.rows, {**block.columns, "source_id": source_id, **out}).take(
        keep, tuple(rejected)
    )
