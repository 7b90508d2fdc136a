"""Parts: one spectra file, joined with all that is known of its stars, prepared and staged.

A part is the unit of the first half of ingest. It is made by one task, from files only, and
comes out the same whenever and wherever it is made.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.files import relative_name
from distcnn.ingest.matching import content_hash
from distcnn.ingest.plan import PartTask
from distcnn.ingest.preprocess.velocity import VELOCITY
from distcnn.ingest.readers.cleaning import counting
from distcnn.ingest.staging.columns import PartWriter
from distcnn.ingest.staging.join import (
    PartStars,
    duplicates,
    join_labels,
    join_source,
    join_xp,
    stage_sources,
)
from distcnn.ingest.staging.repeated import chosen
from distcnn.ingest.staging.scale import ErrorRange
from distcnn.ingest.staging.spectra import stage_spectra

REPEATS = "repeats"
"""Rows of a part whose star another row of it stands for, among what was ``found``."""
MAX_READ_BESIDE = 50
FIRST_IDS = 3
"""Stars named when a join finds nothing."""


@dataclass(frozen=True)
class PartRecord:
    """What is known of a staged part; the ledger of parts keeps it as one line."""

    digest: str
    inputs: dict[str, str]
    """Content hash of every file that it was made from, by path."""
    rows: int
    kept: int
    """Rows that go into the survey; the others are duplicates or lack a source row."""
    first_id: int
    last_id: int
    """Least and largest source_id kept; 0 if there is none."""
    labelled: int
    rejected: dict[str, int]
    """Quarantined rows by kind of file."""
    has_error: bool
    """Whether the spectra have errors."""
    error_low: float = 1.0
    """Smallest positive flux error; 1 if there is none."""
    error_high: float = 1.0
    """Largest flux error."""
    found: dict[str, int] = field(default_factory=dict)
    """Different stars, and how many of them are in the source table, XP files and labels, or have
    the velocity that they are shifted by."""
    failures: list[dict[str, str]] = field(default_factory=list)
    """Files that could not be used (``FileFailure``), with their ``hash``."""
    unread: list[dict[str, str]] = field(default_factory=list)
    """What was seen and not read (``Unread``)."""
    special_values: dict[str, int] = field(default_factory=dict)
    """Values taken as missing, identifiers that are no integers (``cleaning.counting``)."""
    has_names: bool = False
    """Whether the files call stars by names."""
    read_beside: list[str] = field(default_factory=list)
    """What was read of files of which other things were not, as far as it is short."""
    first_ids: list[int] = field(default_factory=list)
    """The first stars of the part, whatever became of them."""
    overridden: list[str] = field(default_factory=list)
    """Names of ``ingest.override`` of which a file of the part says something."""

    def relative_to(self, archive: Path) -> "PartRecord":
        """The same with paths relative to the archive, which are the same on every machine."""

        def name(path: str) -> str:
            return relative_name(Path(path), archive)

        failures = [failure | {"file": name(failure["file"])} for failure in self.failures]
        inputs = {name(path): hash_ for path, hash_ in self.inputs.items()}
        return replace(self, inputs=inputs, failures=failures)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "PartRecord":
        """The record of a ledger's line, whose further keys are the ledger's own."""
        return cls(**{one.name: entry[one.name] for one in fields(cls) if one.name in entry})


def make_part(task: PartTask) -> PartRecord:
    """Stage one part.

    A file that cannot be used is noted in the record and among the rejected rows.

    Raises
    ------
    GridMismatch : spectra stand on a grid other than declared.
    """
    # Before reading: a file that changes meanwhile then no longer has the hash noted for it.
    hashes = {str(path): content_hash(path) for path in (*task.files, *task.source, *task.xp)}
    writer = PartWriter(task.folder / task.name, task.kind, task.files)
    try:
        with counting() as special:
            errors = _stage(task, writer)
            has_names = bool(writer.read("name").any())
            stars, labelled, found = _join(task, writer)
        record = _record(writer, stars, labelled, found, hashes)
        record = replace(record, special_values=dict(special), has_names=has_names)
        record = replace(record, error_low=errors.low, error_high=errors.high)
    except BaseException:
        writer.discard()
        raise
    return record


def _stage(task: PartTask, writer: PartWriter) -> ErrorRange:
    """Stage the rows of the part; returns the range of their flux errors."""
    if task.kind == "spectra":
        return stage_spectra(task, writer)
    stage_sources(task, writer)
    return ErrorRange()


def _join(task: PartTask, writer: PartWriter) -> tuple[PartStars, Array, dict[str, int]]:
    """The stars of the part, all columns staged, which have labels, and how many were found."""
    source_id, rows = writer.read("source_id"), writer.read("row")
    stars = PartStars(source_id, rows, _kept(task, writer, source_id))
    writer.reject(task.kind, duplicates(task, writer, stars))
    found = {"stars": int(stars.keep.sum()), REPEATS: int((~stars.keep).sum())}
    if task.kind == "spectra":
        found["source"] = join_source(task, writer, stars)
    found["xp"] = join_xp(task, writer, stars)
    labelled, found["labels"] = join_labels(task, writer, stars)
    if task.config.velocity_files is not None:
        found[VELOCITY] = int((np.isfinite(writer.read(VELOCITY)) & stars.keep).sum())
    writer.append({"keep": stars.keep})
    return stars, labelled, found


def _kept(task: PartTask, writer: PartWriter, source_id: Array) -> Array:
    """Rows that stand for their stars, or all that differ until the parts are together."""
    if "spectrum_id" in writer.columns:
        return chosen("each", source_id, np.empty(0), writer.read("spectrum_id"))
    snr = writer.read("spectrum_snr") if task.kind == "spectra" else np.empty(0)
    return chosen(task.rule, source_id, snr, None)


def _record(
    writer: PartWriter,
    stars: PartStars,
    labelled: Array,
    found: dict[str, int],
    hashes: dict[str, str],
) -> PartRecord:
    kept = stars.source_id[stars.keep]
    failed = [asdict(failure) | {"hash": hashes[failure.file]} for failure in writer.failures]
    # A file of which nothing was used may be mended, so it does not count as an input.
    used = hashes.keys() - {failure.file for failure in writer.failures}
    return PartRecord(
        digest=writer.close(),
        inputs={path: hash_ for path, hash_ in hashes.items() if path in used},
        rows=len(stars.source_id),
        kept=len(kept),
        first_id=int(kept.min()) if len(kept) else 0,
        last_id=int(kept.max()) if len(kept) else 0,
        labelled=int((labelled & stars.keep).sum()),
        rejected=writer.rejected,
        has_error="flux_error" in writer.columns,
        found=found,
        failures=failed,
        unread=[asdict(note) for note in writer.unread if note.where not in writer.read_beside],
        read_beside=sorted(writer.read_beside)[:MAX_READ_BESIDE],
        first_ids=stars.source_id[:FIRST_IDS].tolist(),
        overridden=sorted(writer.overridden),
    )
