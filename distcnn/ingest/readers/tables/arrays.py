"""Tables of one row per star whose columns hold whole arrays, in every format."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.preprocess.velocity import VELOCITY_VARIABLES
from distcnn.ingest.readers.base import Block, Rejected, RowProblem, member_of
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.text.arrays import ArrayText
from distcnn.ingest.readers.values.numbers import arrays, numbers
from distcnn.ingest.readers.values.scalars import identify, reject, star_columns
from distcnn.schema import Reason

ONE_NUMBER = ("ra", "dec", "snr", *VELOCITY_VARIABLES)
"""Variables of spectra that are one number per star."""
Converter = Callable[[dict[str, Array]], dict[str, Array]]


def _as_they_are(columns: dict[str, Array]) -> dict[str, Array]:
    return columns


def array_blocks(
    table: BinaryTable | ArrayText,
    identifier: str,
    columns: Mapping[str, Sequence[str]],
    *,
    pixels: int,
    texts: bool,
    rows: int,
    ids: Array | None,
    convert: Converter = _as_they_are,
) -> Iterator[Block]:
    """Blocks with ``source_id`` and the variables of ``columns``.

    Parameters
    ----------
    columns : variable -> its column; several columns make up an array, one number each.
    pixels : length of an array; rows of another length are quarantined. Rows that bring a
        ``wavelength`` of their own have a length of their own, and NaN behind it.
    texts : identifiers may be texts.
    convert : what is done to the columns while they are float64 still.
    """
    every = [identifier, *dict.fromkeys(c for several in columns.values() for c in several)]
    for places, values in table.blocks(rows, every):
        stars, rejected = identify(values[identifier], places, table.name, texts=texts)
        unread = table.take_rejected() if isinstance(table, ArrayText) else ()
        block = Block(places, star_columns(stars), (*unread, *rejected))
        yield _arrays_of(
            block,
            values,
            columns,
            pixels=_own_pixels(values, columns) or pixels,
            name_of_file=table.name,
            ids=ids,
            convert=convert,
        )


def _own_pixels(values: Mapping[str, Array], columns: Mapping[str, Sequence[str]]) -> int:
    """Length of the longest row if every row has wavelengths of its own, else 0."""
    several = columns.get("wavelength", ())
    if len(several) != 1:
        return len(several)
    column = values[several[0]]
    if column.dtype != object:
        return int(np.prod(column.shape[1:], dtype=int))
    return max((0 if row is None else np.size(row) for row in column), default=0)


def stacked(
    values: Mapping[str, Array], several: Sequence[str], file: str
) -> tuple[Array, dict[int, RowProblem]]:
    """Columns of one number each as one array per row [n, columns]; problems by place."""
    problems: dict[int, RowProblem] = {}
    parts: list[Array] = []
    for column in several:
        part, bad = numbers(values[column], column, file)
        parts.append(part)
        problems = bad | problems
    return np.stack(parts, axis=1), problems


def _arrays_of(
    block: Block,
    values: Mapping[str, Array],
    columns: Mapping[str, Sequence[str]],
    *,
    pixels: int,
    name_of_file: str,
    ids: Array | None,
    convert: Converter,
) -> Block:
    """The block with its arrays; rows with an array of another length are quarantined."""
    source_id = block.columns["source_id"].copy()
    rejected, out = list(block.rejected), {}
    expected = np.full(len(block), pixels)
    own = "wavelength" in columns and len(columns["wavelength"]) == 1
    if own:
        expected = arrays(values[columns["wavelength"][0]], pixels, "wavelength", padded=True)[1]
    for name, several in columns.items():
        problems: dict[int, RowProblem] = {}
        lengths = expected
        if name in ONE_NUMBER:
            out[name], problems = numbers(values[several[0]], several[0], name_of_file)
        elif len(several) > 1:
            out[name], problems = stacked(values, several, name_of_file)
        else:
            column = values[several[0]]
            out[name], lengths, problems = arrays(column, pixels, several[0], padded=own)
        reject(source_id, problems, block.rows, name_of_file, rejected)
        if name in ("xp", "xp_error"):
            lengths = np.where(lengths == 0, pixels, lengths)  # the star has none
        for index in np.flatnonzero((lengths != expected) & (source_id > 0)):
            grid = "its wavelengths are" if own else "the grid"
            detail = f"{name} has {lengths[index]} values, {grid} {expected[index]}"
            star, row = int(source_id[index]), int(block.rows[index])
            rejected.append(Rejected(name_of_file, row, star, Reason.ARRAY_LENGTH, detail))
            source_id[index] = 0
    out = convert(out)
    for name in ("flux", "flux_error", "xp", "xp_error"):
        if name in out:
            out[name] = out[name].astype(np.float32)
    keep = (source_id > 0) & member_of(source_id, ids)
    return Block(block.rows, {**block.columns, "source_id": source_id, **out}).take(
        keep, tuple(rejected)
    )
