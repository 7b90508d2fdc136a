"""Labels of a survey: read once, led to the stars of the spectra, and staged for all parts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import hashing
from distcnn.config import LabelsConfig
from distcnn.errors import ColumnMissing
from distcnn.events import Notice
from distcnn.ingest.crosswalk import Crosswalk, in_words, led_across, read_crosswalk
from distcnn.ingest.matching import content_hash
from distcnn.ingest.outcome import is_mended
from distcnn.ingest.plan import IngestPlan, reader_of
from distcnn.ingest.readers import Reader
from distcnn.ingest.readers.cleaning import RELEASE, counting
from distcnn.ingest.staging.columns import FileFailure, to_lines
from distcnn.ingest.star_tables import CollectedLabels, LabelTable, collect_labels
from distcnn.survey import Ledger

_LABELS, _VELOCITIES = "labels.npz", "velocities.npz"
LABELS_REJECTED = "labels.rejected.jsonl"
"""Rejected rows of the label table and its crosswalk, in the staging folder."""
_BLOCK_ROWS = 20_000


def stage_labels(plan: IngestPlan, ledger: Ledger) -> Path | None:
    """Read the label table here, once; tasks find it as a file. None if the survey has none."""
    config, reader = plan.config.labels, reader_of(plan.config, "labels")
    if config is None or reader is None:
        return None
    path = plan.staging_folder / _LABELS
    if "labels" in ledger.done and path.exists() and not is_mended(plan, ledger.done["labels"]):
        return path
    files = plan.files["labels"]
    # Before reading, as parts do.
    for read in (*files, *plan.files.get("crosswalk", ())):
        plan.content_hashes.setdefault(plan.relative(read), content_hash(read))
    with counting() as special:
        collected = _collected(reader, files, config)
    lines = to_lines("labels", collected.rejected)
    counts: dict[str, int] = {}
    if plan.config.crosswalk is not None:
        with counting() as of_crosswalk:
            collected, crosswalk = _led_across(plan, collected)
        # The designations of the label table may be those of another release.
        special = Counter({k: n for k, n in special.items() if not k.startswith(RELEASE)})
        special.update(of_crosswalk)
        lines += to_lines("crosswalk", crosswalk.rejected)
        counts = {"crosswalk": len(crosswalk.rejected)}
    collected.table.save(path)
    if collected.velocities is not None:
        collected.velocities.save(plan.staging_folder / _VELOCITIES)
    (plan.staging_folder / LABELS_REJECTED).write_bytes(lines)
    ledger.record(
        "labels",
        hashing.of_file(path),
        **_facts_of_labels(plan, collected),
        special_values=dict(special),
        of_crosswalk=counts,
    )
    if not len(collected.table.source_id):
        plan.listener(Notice(f"No label in {files[0].name} passes the cuts.", "warning"))
    return path


def _collected(reader: Reader, files: Sequence[Path], config: LabelsConfig) -> CollectedLabels:
    try:
        return collect_labels(reader, files, config, rows=_BLOCK_ROWS)
    except ColumnMissing as error:
        cure = (
            "Leave labels that the table lacks out of ingest.labels.labels. For stars to predict, "
            "which need no labels: --set ingest.labels=null."
        )
        raise ColumnMissing(
            error.problem, expected=error.expected, cure=f"{error.cure} {cure}"
        ) from None


def _led_across(plan: IngestPlan, collected: CollectedLabels) -> tuple[CollectedLabels, Crosswalk]:
    config, reader = plan.config.crosswalk, reader_of(plan.config, "crosswalk")
    assert config is not None
    assert reader is not None
    ids = collected.table.source_id
    if collected.velocities is not None:
        ids = np.union1d(ids, collected.velocities.source_id)
    crosswalk = read_crosswalk(reader, plan.files["crosswalk"], config, ids)
    plan.listener(Notice(in_words(collected, crosswalk)))
    return led_across(collected, crosswalk), crosswalk


def _facts_of_labels(plan: IngestPlan, collected: CollectedLabels) -> dict[str, Any]:
    hashes = {
        plan.relative(path): plan.content_hashes[plan.relative(path)]
        for path in (*plan.files["labels"], *plan.files.get("crosswalk", ()))
    }
    failures = []
    for path, error in collected.failures:
        name = plan.relative(path)
        failures.append(
            asdict(FileFailure.of("labels", Path(name), error)) | {"hash": hashes.pop(name)}
        )
    return {
        "stars": len(collected.table.source_id),
        "rejected": len(collected.rejected),
        "inputs": hashes,
        "failures": failures,
        "unread": [asdict(note) for note in collected.unread],
        "read_beside": collected.read_beside,
    }


def staged_labels(plan: IngestPlan) -> LabelTable | None:
    """The label table, once it is staged; None if the survey has none."""
    path = plan.staging_folder / _LABELS
    return LabelTable.load(path) if plan.config.labels is not None and path.exists() else None


def staged_velocities(plan: IngestPlan) -> Path | None:
    """The velocities of the label table, where spectra are shifted by them."""
    return plan.staging_folder / _VELOCITIES if plan.config.velocity_files == "labels" else None
