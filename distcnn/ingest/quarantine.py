"""The list of rows that were put aside: ``quarantine.parquet`` in the store."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn.files import atomic_write

_TEXTS, _NUMBERS = ("kind", "file", "reason", "detail"), ("row", "source_id")
_ROWS_AT_ONCE = 20_000
SCHEMA = pa.schema([(n, pa.string()) for n in _TEXTS] + [(n, pa.int64()) for n in _NUMBERS])


def write_quarantine(path: Path, lists: Iterable[Path], archive: Path) -> dict[str, int]:
    """Join lists of rejected rows (JSON lines) to one table; files are named within the archive.

    Returns the number of rows by reason. Streams: the lists may be long.
    """
    reasons: dict[str, int] = {}
    with atomic_write(path) as draft, pq.ParquetWriter(draft, SCHEMA) as writer:
        for rows in _batches(lists):
            for row in rows:
                row["file"] = row["file"].removeprefix(f"{archive}/")
                reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return dict(sorted(reasons.items()))


def _batches(lists: Iterable[Path]) -> Iterator[list[dict[str, Any]]]:
    for path in lists:
        with path.open("rb") as stream:
            while lines := list(islice(stream, _ROWS_AT_ONCE)):
                yield [orjson.loads(line) for line in lines]
