"""Parts: one spectra file, joined with all that is known of its stars, prepared and staged.

A part is the unit of the first half of ingest. It is made by one task, from files only, and
comes out the same whenever and wherever it is made.
"""

from typing import Any

from distcnn.ingest.matching import stamp
from distcnn.ingest.part_task import PartTask
from distcnn.ingest.readers.base import first_of_each
from distcnn.ingest.staging.columns import PartWriter
from distcnn.ingest.staging.join import (
    Stars,
    duplicates,
    join_labels,
    join_source,
    join_xp,
    stage_sources,
)
from distcnn.ingest.staging.spectra import stage_spectra


def make_part(task: PartTask) -> dict[str, Any]:
    """Stage one part and return its facts: digest, rows, kept, ids, counts, stamps of its files.

    Raises
    ------
    FileBroken, ColumnMissing, GridMismatch : a file cannot be used.
    """
    paths = [*task.files, *task.source, *task.xp]
    stamps = {str(path): stamp(path) for path in paths}
    writer = PartWriter(task.folder / task.name, task.kind, task.files)
    try:
        facts = _fill(task, writer)
        digest = writer.close()
    except BaseException:
        writer.discard()
        raise
    return {"digest": digest, "inputs": stamps, **facts}


def _fill(task: PartTask, writer: PartWriter) -> dict[str, Any]:
    if task.kind == "spectra":
        stage_spectra(task, writer)
    else:
        stage_sources(task, writer)
    source_id, rows = writer.read("source_id"), writer.read("row")
    stars = Stars(source_id, rows, first_of_each(source_id))
    writer.reject(task.kind, duplicates(task, writer, stars))
    if task.kind == "spectra":
        join_source(task, writer, stars)
    join_xp(task, writer, stars)
    labelled = join_labels(task, writer, stars)
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
