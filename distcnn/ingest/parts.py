"""Parts: one spectra file, joined with all that is known of its stars, prepared and staged.

A part is the unit of the first half of ingest. It is made by one task, from files only, and
comes out the same whenever and wherever it is made.
"""

from typing import Any

from distcnn.ingest.item import PartItem
from distcnn.ingest.join import (
    Stars,
    duplicates,
    join_labels,
    join_source,
    join_xp,
    stage_sources,
)
from distcnn.ingest.match import stamp
from distcnn.ingest.readers.base import first_of_each
from distcnn.ingest.spectra import stage_spectra
from distcnn.ingest.staging import PartWriter


def make_part(item: PartItem) -> dict[str, Any]:
    """Stage one part and return its facts: digest, rows, kept, ids, counts, stamps of its files.

    Raises
    ------
    FileBroken, ColumnMissing, GridMismatch : a file cannot be used.
    """
    paths = [*item.files, *item.source, *item.xp]
    stamps = {str(path): stamp(path) for path in paths}
    writer = PartWriter(item.folder / item.name, item.kind, item.files)
    try:
        facts = _fill(item, writer)
        digest = writer.close()
    except BaseException:
        writer.discard()
        raise
    return {"digest": digest, "inputs": stamps, **facts}


def _fill(item: PartItem, writer: PartWriter) -> dict[str, Any]:
    if item.kind == "spectra":
        stage_spectra(item, writer)
    else:
        stage_sources(item, writer)
    source_id, rows = writer.read("source_id"), writer.read("row")
    stars = Stars(source_id, rows, first_of_each(source_id))
    writer.reject(item.kind, duplicates(item, writer, stars))
    if item.kind == "spectra":
        join_source(item, writer, stars)
    join_xp(item, writer, stars)
    labelled = join_labels(item, writer, stars)
    writer.append({"keep": stars.keep})
    kept = source_id[stars.keep]
    return {
        "rows": len(source_id),
        "kept": len(kept),
        "first_id": int(kept.min()) if len(kept) else 0,
        "last_id": int(kept.max()) if len(kept) else 0,
        "labelled": int((labelled & stars.keep).sum()),
        "rejected": writer.rejected,
        "has_error": "flux_error" in writer.columns,
    }
