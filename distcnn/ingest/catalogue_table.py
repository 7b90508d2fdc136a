"""Catalogue table: columns of numbers and of texts of any table that readers know, row by row.

For catalogues that labels are compared with. They are no part of a survey, but a null, a sentinel
or an identifier means the same in them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig, SentinelsConfig
from distcnn.config.catalogue import CatalogueConfig, TextCutConfig
from distcnn.errors import UsageError
from distcnn.ingest.readers.base import Block, RowProblem, find_column
from distcnn.ingest.readers.cleaning import clean
from distcnn.ingest.readers.formats.binary import open_table
from distcnn.ingest.readers.formats.containers import TableSource, table_sources
from distcnn.ingest.readers.formats.text.table import check_fields
from distcnn.ingest.readers.values.numbers import text_of
from distcnn.ingest.readers.values.scalars import ColumnSelection, scalar_blocks
from distcnn.ingest.star_tables import passes

BLOCK_ROWS = 65_536
CLUSTER = "cluster"
"""Key of the column that names a star's cluster: the only text that is kept."""
_NUMBERED = ("source_id", CLUSTER)
"""Keys of ``columns`` that are no numbers."""


def read_catalogue(catalogue: CatalogueConfig, labels: Sequence[str]) -> dict[str, Array]:
    """Rows of a catalogue that pass its cuts, as arrays of K rows.

    Parameters
    ----------
    labels : names of the labels that are wanted; those that ``columns`` does not name are left
        out.

    Returns
    -------
    ``source_id`` int64 (0 where none is given), ``ra``, ``dec`` [deg], every label and
    ``NAME_error`` float64 (NaN = missing), ``cluster`` str ("" = none).

    Raises
    ------
    FileBroken, ColumnMissing : the table cannot be used, or lacks a column.
    UsageError : no path is given, or nothing to match its rows by.
    """
    path = _path_of(catalogue)
    selection = _selection(catalogue, labels)
    blocks: list[dict[str, Array]] = []
    files = FilesConfig(reader="table", files="*", hdu=catalogue.hdu, delimiter=catalogue.delimiter)
    for source in table_sources(path, files=files):
        texts = _texts(source, catalogue)
        for block in scalar_blocks(source, selection, rows=BLOCK_ROWS, ids=None):
            blocks.append(_chosen(clean(block, SentinelsConfig())[0], catalogue, labels, texts))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _path_of(catalogue: CatalogueConfig) -> Path:
    if catalogue.path is None or not catalogue.path.is_file():
        raise UsageError(
            f"there is no catalogue {str(catalogue.path or catalogue.title)!r}",
            expected="the path of a table",
            cure="Give it as 'path' of the catalogue.",
        )
    needed = ("source_id",) if catalogue.match == "source_id" else ("ra", "dec")
    missing = [name for name in needed if name not in catalogue.columns]
    if missing:
        raise UsageError(
            f"columns of {catalogue.title} do not name {' and '.join(missing)}",
            expected=f"them, to match by {catalogue.match}",
        )
    return catalogue.path


def _selection(catalogue: CatalogueConfig, labels: Sequence[str]) -> ColumnSelection:
    """The columns of numbers: those that match and label, and those that are cut on."""
    wanted = ("ra", "dec", *labels, *(f"{name}_error" for name in labels))
    names: dict[str, str] = {}
    optional = {"ra", "dec"} if catalogue.match == "source_id" else set()
    for name in wanted:
        column = catalogue.columns.get(name)
        if isinstance(column, tuple):
            names |= {f"{name}/lower": column[0], f"{name}/upper": column[1]}
            optional |= {f"{name}/lower", f"{name}/upper"}
        elif column is not None:
            names[name] = column
            optional |= {name} if name.endswith("_error") else set()
    names |= {f"cut/{cut.column}": cut.column for cut in catalogue.cuts}
    by_star = catalogue.match == "source_id"
    identifier = str(catalogue.columns["source_id"]) if by_star else ""
    # Without identifiers every row is of a star 1, and its place counts.
    return ColumnSelection(identifier, names, frozenset(optional), True, catalogue.hdu, not by_star)


def _chosen(
    block: Block, catalogue: CatalogueConfig, labels: Sequence[str], texts: Mapping[str, Array]
) -> dict[str, Array]:
    """Rows of a block that pass all cuts, with one column per quantity."""
    kept = passes(block, catalogue.cuts)
    rows = block.rows - 1
    for cut in catalogue.text_cuts:
        kept &= _matches(texts[cut.column][rows], cut)
    missing = np.full(len(block), np.nan)
    out = {name: block.columns.get(name, missing) for name in ("ra", "dec")}
    out["source_id"] = block.columns["source_id"].copy()
    if catalogue.match == "position":
        out["source_id"][:] = 0
    for name in labels:
        if name in catalogue.columns:
            out[name] = block.columns[name]
            out[f"{name}_error"] = _error(block, f"{name}_error", missing)
    out[CLUSTER] = texts[CLUSTER][rows] if CLUSTER in texts else np.full(len(block), "", object)
    return {name: values[kept] for name, values in out.items()}


def _error(block: Block, name: str, missing: Array) -> Array:
    """The error of a label, half the width of its interval where that is given."""
    if f"{name}/lower" in block.columns:
        width = block.columns[f"{name}/upper"] - block.columns[f"{name}/lower"]
        return np.asarray(np.abs(width) / 2)
    return block.columns.get(name, missing)


def _matches(texts: Array, cut: TextCutConfig) -> Array:
    pattern = re.compile(cut.pattern)
    return np.array([pattern.fullmatch(text) is not None for text in texts], bool)


def _texts(source: TableSource, catalogue: CatalogueConfig) -> dict[str, Array]:
    """Columns of text by key, [rows of the file] str: the cluster's, and those that are cut on."""
    names = {cut.column: cut.column for cut in catalogue.text_cuts}
    cluster = catalogue.columns.get(CLUSTER)
    if cluster is not None:
        names[CLUSTER] = str(cluster)
    if not names:
        return {}
    found: dict[str, list[str]] = {key: [] for key in names}
    for row, texts in _rows_of_text(source, names, catalogue.hdu):
        for key, text in texts.items():
            found[key] += [""] * (row - 1 - len(found[key])) + [text]
    return {key: np.array(texts, object) for key, texts in found.items()}


def _rows_of_text(
    source: TableSource, names: Mapping[str, str], hdu: int | str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of every row that can be split, from 1, and its texts by key."""
    if source.format != "text":
        table = open_table(source, hdu)
        columns = {key: find_column(table.columns, name, table.name) for key, name in names.items()}
        for rows, values in table.blocks(BLOCK_ROWS, list(dict.fromkeys(columns.values()))):
            listed = {key: np.ma.filled(values[c], "").tolist() for key, c in columns.items()}
            for place, row in enumerate(rows.tolist()):
                yield row, {key: _text(texts[place]) for key, texts in listed.items()}
        return
    lines = source.text()
    with lines.stream:
        places = {
            key: lines.columns.index(find_column(lines.columns, name, source.name))
            for key, name in names.items()
        }
        for row, line in lines.lines():
            try:
                fields = check_fields(line, lines)
            except RowProblem:
                continue  # no number of it is read either
            yield row, {key: _text(fields[place]) for key, place in places.items()}


def _text(value: object) -> str:
    return text_of(value) if isinstance(value, str | bytes) else "" if value is None else str(value)
