"""The list of rows that were put aside: ``quarantine.parquet`` in the store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn.ingest.staging import Part

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("source_id", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


def write_quarantine(
    path: Path, parts: Iterable[Path], labels: Path, again: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Write the rejected rows of all parts, of the label table and across files.

    Returns the number of rows by reason. Streams: the list may be long.
    """
    draft = path.with_suffix(".draft")
    reasons: dict[str, int] = {}
    with pq.ParquetWriter(draft, SCHEMA) as writer:
        for rows in _lists(parts, labels, again):
            for row in rows:
                reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
            if rows:
                writer.write_table(pa.Table.from_pylist([dict(row) for row in rows], SCHEMA))
    draft.replace(path)
    return dict(sorted(reasons.items()))


def _lists(
    parts: Iterable[Path], labels: Path, again: Sequence[Mapping[str, Any]]
) -> Iterator[Sequence[Mapping[str, Any]]]:
    for part in parts:
        yield Part(part).rejected()
    if labels.exists():
        yield [orjson.loads(line) for line in labels.read_bytes().splitlines()]
    yield again
