"""From an archive folder to one survey store.

Parts first (one task per spectra file), then the empty store, then its shards (one task per
region). A part is a staged table; a region is filled from slices of one or more parts.
Everything happens in ``SURVEY.partial`` beside the survey, which appears whole or not at all;
the ledgers there say what is done, so the same command goes on where it was stopped.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distcnn.config import IngestConfig
from distcnn.errors import LockHeld, StoreError
from distcnn.events import Listener, Notice, StageEnded, silent
from distcnn.executor import Executor
from distcnn.files import empty_folder, locked_folder, remove_leftovers
from distcnn.ingest.assembly.merge import write_quarantine
from distcnn.ingest.assembly.parts import make_parts
from distcnn.ingest.assembly.shards import WRITE, fill_shards
from distcnn.ingest.assembly.stamping import stamp
from distcnn.ingest.assembly.store import DUPLICATES, create_or_open, without_duplicates
from distcnn.ingest.outcome import repeats_sentence
from distcnn.ingest.plan import IngestPlan, plan_ingest, staging_folder
from distcnn.ingest.readers.cleaning import notices_of
from distcnn.ingest.staging.columns import Part
from distcnn.ingest.staging.labels import LABELS_REJECTED
from distcnn.ingest.staging.part import REPEATS, PartRecord
from distcnn.location import Address, LocalLocation, Location
from distcnn.schema import Reason
from distcnn.survey import Ledger, Store


@dataclass(frozen=True)
class IngestSummary:
    """What came of it: stars in the survey, quarantined rows, stars with labels."""

    stars: int
    quarantined: int
    """Quarantined rows of the files that give the stars (spectra, or else source)."""
    labelled: int
    files: int
    seconds: float
    quarantined_by_kind: Mapping[str, int]
    """Quarantined rows by kind of file: spectra, source, xp, labels."""
    reasons: Mapping[str, int]
    """Quarantined rows by reason, of all files."""
    special_values: Mapping[str, int] = field(default_factory=dict)
    """Values taken as missing and identifiers that are no integers, by ``variable: what``."""
    repeats: int = 0
    """Rows of stars beyond the first of each; ``ingest.repeats`` says what became of them."""

    @property
    def unusable_files(self) -> int:
        """Files, and members of zip archives, of which nothing could be used."""
        return self.reasons.get(Reason.UNUSABLE_FILE, 0)


def build_survey(
    archive: Path,
    survey: Address,
    config: IngestConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
) -> IngestSummary:
    """Read, join, prepare and store every star of an archive folder.

    Raises
    ------
    InputError : files are missing or on another grid, or all of a kind are broken.
    FingerprintMismatch : the survey, or its half, was made from other files or settings.
    ConfigError : the configuration names no rows, or a reader that does not exist.
    """
    begun = time.monotonic()
    plan = plan_ingest(archive, survey, config, listener)
    if _is_made(plan):
        return _already_there(plan, executor, begun)
    with _alone(plan.survey):
        if _is_made(plan):  # by an ingest that has ended just now
            return _already_there(plan, executor, begun)
        parts, quarantined = make_parts(plan, executor)
        parts, repeats = without_duplicates(plan, parts)
        quarantined[plan.main_kind] += repeats.rejected
        store = create_or_open(plan, parts, quarantined)
        fill_shards(plan, store, parts, executor)
        further = sum(part.found.get(REPEATS, 0) for part in parts.values())
        further += repeats.dropped + repeats.further
        return _finish(plan, store, parts, quarantined, further, begun=begun)


def _is_made(plan: IngestPlan) -> bool:
    """Whether the survey is there; one that is not complete only if it is not being made there."""
    if not plan.survey.exists():
        return False
    return plan.draft != plan.survey or bool(Store.open(plan.survey).attrs.get("complete"))


@contextmanager
def _alone(survey: Location) -> Iterator[None]:
    """The survey, and the folder of work on it, are this ingest's alone while the block runs.

    Raises
    ------
    StoreError : another ingest holds it; says who.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(staging_folder(survey)))
            if not isinstance(survey, LocalLocation):
                stack.enter_context((survey.parent / f".{survey.name}.ingest").lock())
        except LockHeld as held:
            raise StoreError(
                f"another ingest makes this survey: {held.problem}",
                expected="one ingest per survey",
                cure=f"{held.cure} Or give another path for the survey.",
            ) from None
        yield


def discard_unfinished(survey: Address) -> None:
    """Remove what an ingest to ``survey`` has left unfinished; a finished survey stays.

    Raises
    ------
    StoreError : another ingest works there.
    """
    place, staging = Location.parse(survey), staging_folder(survey)
    begun = not isinstance(place, LocalLocation) and place.exists()
    if not (staging.is_dir() or begun):
        return
    with _alone(place):
        empty_folder(staging)
        if begun and not Store.open(place).attrs.get("complete"):
            place.remove()


def _finish(
    plan: IngestPlan,
    store: Store,
    parts: Mapping[str, PartRecord],
    quarantined: Mapping[str, int],
    repeats: int,
    *,
    begun: float,
) -> IngestSummary:
    lists = [Part(plan.parts_folder / name).rejected for name in parts]
    lists += [plan.staging_folder / name for name in (LABELS_REJECTED, DUPLICATES)]
    lists = [path for path in lists if path.exists()]
    ledger = Ledger.open(plan.staging_folder / "parts.jsonl", plan.fingerprint())
    special = Counter[str](ledger.done.get("labels", {}).get("special_values", {}))
    for part in parts.values():
        special.update(part.special_values)
    counts = {
        "stars": store.stars,
        "quarantined": quarantined.get(plan.main_kind, 0),
        "labelled": sum(part.labelled for part in parts.values()),
        "files": len(plan.paths),
        "repeats": repeats,
        # The key of surveys from before the name "quarantined by kind"; they must stay readable.
        "put_aside": {kind: number for kind, number in quarantined.items() if number},
        "special_values": dict(sorted(special.items())),
        "reasons": write_quarantine(store.private / "quarantine.parquet", lists, plan.archive),
    }
    store.annotate({"counts": counts, "complete": True})
    if store.location != plan.survey:
        store.location.move_to(plan.survey)
    remove_leftovers(plan.staging_folder)
    return _summary(plan, counts, begun)


def _summary(plan: IngestPlan, counts: Mapping[str, Any], begun: float) -> IngestSummary:
    seconds = time.monotonic() - begun
    numbers = {key: value for key, value in counts.items() if key != "put_aside"}
    summary = IngestSummary(**numbers, quarantined_by_kind=counts["put_aside"], seconds=seconds)
    for notice in notices_of(summary.special_values):
        plan.listener(notice)
    if summary.repeats and plan.main_kind == "spectra":
        plan.listener(Notice(repeats_sentence(plan.config, summary.repeats), "warning"))
    if summary.reasons:
        where = plan.survey / ".distcnn" / "quarantine.parquet"
        plan.listener(Notice(f"{_quarantined(summary)}; see {where}.", "warning"))
    facts = {"stars": summary.stars, "quarantined": summary.quarantined}
    plan.listener(StageEnded(WRITE, {**facts, "labelled": summary.labelled, "seconds": seconds}))
    return summary


def _quarantined(summary: IngestSummary) -> str:
    """How many rows and files were quarantined, and for which reasons."""
    total, files = sum(summary.reasons.values()), summary.unusable_files
    counts = {"row": total - files, "file": files}
    told = " and ".join(f"{n} {what}{'s'[: n != 1]}" for what, n in counts.items() if n)
    named = ", ".join(f"{reason} {number}" for reason, number in summary.reasons.items())
    return f"{told} {'was' if total == 1 else 'were'} quarantined ({named})"


def _already_there(plan: IngestPlan, executor: Executor, begun: float) -> IngestSummary:
    store = Store.open(plan.survey, "survey")
    if not store.attrs.get("complete"):
        raise StoreError(f"{plan.survey} is not complete", cure="Remove it and ingest again.")
    stamp(plan, executor)
    # Opening compares every setting and every input with what the survey was made from.
    Ledger.open(store.private / "ledger.jsonl", {"inputs": plan.inputs, **plan.fingerprint()})
    remove_leftovers(plan.staging_folder)
    plan.listener(Notice(f"{plan.survey} is complete already; nothing to do."))
    return _summary(plan, store.attrs["counts"], begun)
