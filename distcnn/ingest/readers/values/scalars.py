"""Tables of one number per column, in any format, as blocks of float64 columns by star."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import (
    Block,
    Rejected,
    RowProblem,
    find_column,
    look_for,
    member_of,
    no_rows,
)
from distcnn.ingest.readers.formats.binary import open_table
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource
from distcnn.ingest.readers.formats.text.table import TextSelection, TextTable, scalar_columns
from distcnn.ingest.readers.values.identifiers import Identifiers, classify, of_one
from distcnn.ingest.readers.values.numbers import masks_of, numbers


@dataclass(frozen=True)
class ColumnSelection:
    """Which columns: ``names`` maps our variable to the file's column.

    ``optional`` variables become NaN when their column is not there. ``texts`` allows text
    identifiers. ``star`` is the source_id of all rows, where no column tells it (0: it does).
    """

    identifier: str
    names: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    texts: bool = False
    hdu: int | str = 1
    star: int = 0

    def resolve(self, columns: list[str], file: str) -> tuple[str, dict[str, str]]:
        """The file's own column names.

        Raises
        ------
        ColumnMissing : a column that is not optional is not there.
        """
        found: dict[str, str] = {}
        for variable, name in self.names.items():
            column = look_for(columns, name)
            if column is None and variable not in self.optional:
                column = find_column(columns, name, file)
            if column is not None:
                found[variable] = column
        if self.star:
            return self.identifier, found
        return find_column(columns, self.identifier, file), found


def scalar_blocks(
    table_source: TableSource, selection: ColumnSelection, *, rows: int, ids: Array | None
) -> Iterator[Block]:
    """Blocks with ``source_id`` and every variable of the selection as float64.

    Raises
    ------
    FileBroken, ColumnMissing : the file cannot be used.
    """
    if table_source.format == "text":
        table = table_source.text()
        with table.stream:
            yield from _of_stars(_from_text(table, selection, rows), ids)
    else:
        yield from binary_blocks(
            open_table(table_source, selection.hdu), selection, rows=rows, ids=ids
        )


def text_blocks(
    table: TextTable, selection: ColumnSelection, *, rows: int, ids: Array | None
) -> Iterator[Block]:
    """The same of a text table that is open."""
    return _of_stars(_from_text(table, selection, rows), ids)


def binary_blocks(
    table: BinaryTable, selection: ColumnSelection, *, rows: int, ids: Array | None
) -> Iterator[Block]:
    """The same of a binary table that is open."""
    return _of_stars(_from_binary(table, selection, rows), ids)


def _of_stars(blocks: Iterator[Block], ids: Array | None) -> Iterator[Block]:
    for block in blocks:
        kept = block.take(member_of(block.columns["source_id"], ids))
        rejected = tuple(r for r in block.rejected if _concerns(r, ids))
        yield replace(kept, rejected=rejected)


def _concerns(rejected: Rejected, ids: Array | None) -> bool:
    # A bad row of a star outside `ids` costs nothing; one whose star is unknown (0) may.
    known = np.array([rejected.source_id])
    return rejected.source_id == 0 or bool(member_of(known, ids)[0])


def _from_text(table: TextTable, selection: ColumnSelection, rows: int) -> Iterator[Block]:
    identifier, found = selection.resolve(table.columns, str(table.path))
    masks = masks_of(list(found.values()), table.columns)
    names = tuple(dict.fromkeys([*found.values(), *masks.values()]))
    asked = TextSelection(identifier, names, selection.texts, selection.star)
    for chunk in table.chunks():
        rows_read, stars, columns, rejected = scalar_columns(table, chunk, asked)
        for name, mask in masks.items():
            columns[name] = np.where(columns[mask] == 0, columns[name], np.nan)
        block = _named(rows_read, stars, columns, found, selection)
        yield from _cut(block, rejected, rows)
    if not table.row:
        raise no_rows(table.path)


def _named(
    numbers: Array,
    stars: Identifiers,
    columns: Mapping[str, Array],
    found: Mapping[str, str],
    selection: ColumnSelection,
) -> Block:
    named = star_columns(stars)
    for variable in selection.names:
        column = found.get(variable)
        empty = np.full(len(numbers), np.nan)
        named[variable] = columns[column] if column is not None else empty
    return Block(numbers, named)


def _cut(block: Block, rejected: list[Rejected], rows: int) -> Iterator[Block]:
    for start in range(0, max(len(block), 1), rows):
        yield block.take(
            np.arange(start, min(start + rows, len(block))), tuple(rejected if start == 0 else ())
        )


def _from_binary(table: BinaryTable, selection: ColumnSelection, rows: int) -> Iterator[Block]:
    identifier, found = selection.resolve(table.columns, table.name)
    own = () if selection.star else (identifier,)
    names = list(dict.fromkeys([*own, *found.values()]))
    for places, columns in table.blocks(rows, names):
        rejected: list[Rejected] = []
        if selection.star:
            stars = of_one(selection.star, len(places))
        else:
            stars, rejected = identify(columns[identifier], places, table.name, selection.texts)
        numeric: dict[str, Array] = {}
        for name in dict.fromkeys(found.values()):
            numeric[name], problems = numbers(columns[name], name, table.name)
            reject(stars.source_id, problems, places, table.name, rejected)
        block = _named(places, stars, numeric, found, selection)
        yield block.take(stars.source_id > 0, tuple(rejected))


def star_columns(stars: Identifiers) -> dict[str, Array]:
    """The columns of a block that say which star a row is of, and by which name it came."""
    return {"source_id": stars.source_id, "id_kind": stars.kind, "name": stars.name}


def identify(
    column: Array, rows: Array, file: str, texts: bool
) -> tuple[Identifiers, list[Rejected]]:
    """The stars of a column; source_id 0 and a rejected row where there is none."""
    stars = classify(column, names=texts)
    rejected = [
        Rejected(file, int(rows[place]), 0, problem.reason, problem.detail)
        for place, problem in sorted(stars.problems.items())
    ]
    return stars, rejected


def reject(
    source_id: Array,
    problems: Mapping[int, RowProblem],
    rows: Array,
    file: str,
    rejected: list[Rejected],
) -> None:
    """Quarantine the rows of problems by place, unless they are already; source_id becomes 0."""
    for place, problem in sorted(problems.items()):
        star = int(source_id[place])
        if star:
            rejected.append(Rejected(file, int(rows[place]), star, problem.reason, problem.detail))
        source_id[place] = 0
