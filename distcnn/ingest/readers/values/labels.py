"""Label columns of a table as one array: what readers of label tables share."""

from collections.abc import Iterator, Mapping

import numpy as np

from distcnn.arrays import Array
from distcnn.config import CutConfig
from distcnn.ingest.preprocess.velocity import ERROR, VELOCITY
from distcnn.ingest.readers.base import Block
from distcnn.ingest.readers.formats.containers import TableSource
from distcnn.ingest.readers.values.scalars import ColumnSelection, scalar_blocks


def label_selection(
    labels: tuple[str, ...],
    cuts: tuple[CutConfig, ...],
    columns: Mapping[str, str],
    *,
    identifier: str,
    texts: bool,
    hdu: int | str,
    velocity: bool = False,
) -> ColumnSelection:
    """Columns of labels, of their errors (``teff_error``; may be missing), of S/N and of cuts.

    ``velocity``: and of the velocity and its error, which may be missing.
    """
    names = {f"label/{label}": columns.get(label, label) for label in labels}
    errors = {f"error/{label}": columns.get(f"{label}_error", f"{label}_error") for label in labels}
    snr = {"label_snr": columns.get("label_snr", "snr")}
    motion = {n: columns.get(n, n) for n in (VELOCITY, ERROR)} if velocity else {}
    optional = frozenset([*errors, *snr, *([ERROR] if ERROR not in columns else [])])
    cut = {f"cut/{cut.column}": cut.column for cut in cuts}
    return ColumnSelection(identifier, names | errors | snr | motion | cut, optional, texts, hdu)


def label_blocks(
    table_source: TableSource,
    selection: ColumnSelection,
    labels: tuple[str, ...],
    *,
    rows: int,
    ids: Array | None,
) -> Iterator[Block]:
    """Blocks with source_id, label and label_error [n, L], label_snr and ``cut/NAME``."""
    for block in scalar_blocks(table_source, selection, rows=rows, ids=ids):
        given = block.columns
        columns = {k: v for k, v in given.items() if not k.startswith(("label/", "error/"))}
        for name, stem in (("label", "label"), ("label_error", "error")):
            columns[name] = np.stack([given[f"{stem}/{label}"] for label in labels], axis=1)
        yield Block(block.rows, columns, block.rejected)
