"""What became of files and joins, told once for the whole survey."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import islice

from distcnn.config import IngestConfig
from distcnn.errors import ConfigError, InputError
from distcnn.events import Notice
from distcnn.ingest.plan import IngestPlan, reader_of
from distcnn.ingest.preprocess.statements import unneeded_overrides
from distcnn.ingest.preprocess.velocity import VELOCITY
from distcnn.ingest.readers import Kind
from distcnn.ingest.readers.cleaning import RELEASE
from distcnn.ingest.readers.formats.containers import Unread, collecting_notes
from distcnn.ingest.selection import listed
from distcnn.ingest.staging.columns import FileFailure
from distcnn.ingest.staging.part import FIRST_IDS, PartRecord
from distcnn.ingest.star_tables import LabelTable

MIN_SHARE_FOUND = 0.01
"""Share of stars found in another file below which something may be wrong with their names."""
_FINDS = {"source": "a row of the source table", "xp": "XP coefficients", "labels": "a label"}


def is_mended(plan: IngestPlan, entry: Mapping[str, object]) -> bool:
    """Whether a file that could not be used for a ledger's entry is another one now."""
    failures = entry.get("failures", [])
    assert isinstance(failures, list)
    return any(plan.content_hashes.get(one["file"]) != one["hash"] for one in failures)


def failures_of(records: Iterable[Mapping[str, str]]) -> list[FileFailure]:
    """Failures as they stand in ledgers, each file once."""
    names = [one.name for one in fields(FileFailure)]
    found = (FileFailure(**{n: record[n] for n in names}) for record in records)  # type: ignore[arg-type]
    return list({(failure.kind, failure.file): failure for failure in found}.values())


def check_files(plan: IngestPlan, records: Sequence[PartRecord]) -> None:
    """Refuse a survey for which no file of a kind can be used.

    Raises
    ------
    InputError : that of the first file, naming others.
    """
    used = {name for record in records for name in record.inputs}
    failures = failures_of(failure for record in records for failure in record.failures)
    for kind in plan.files:
        failed = sorted((f for f in failures if f.kind == kind), key=lambda f: f.file)
        names = {plan.relative(path) for path in plan.files[kind]}
        if failed and not names & used - {failure.file for failure in failed}:
            others = [failure.file for failure in failed[1:]]
            more = f"{len(others)} more failed: {listed(others)}." if others else ""
            raise failed[0].as_error(more)


def tell_failures(plan: IngestPlan, failures: Sequence[FileFailure]) -> None:
    """One warning per kind of file for those that could not be used."""
    for kind, paths in plan.files.items():
        failed = sorted((f for f in failures if f.kind == kind), key=lambda f: f.file)
        if failed:
            others = [failure.file for failure in failed[1:]]
            more = f" The others: {listed(others)}." if others else ""
            text = f"{len(failed)} of {len(paths)} files of {kind} cannot be used and were left out"
            plan.listener(Notice(f"{text}: {failed[0].as_error()}{more}", "warning"))


def tell_unread(plan: IngestPlan, unread: Iterable[Unread]) -> None:
    """One notice per sort of thing that was seen in files and not read."""
    sorts: dict[tuple[str, str, bool], list[str]] = {}
    for note in dict.fromkeys(unread):
        sorts.setdefault((note.what, note.cure, note.is_fault), []).append(note.where)
    for (what, cure, is_fault), places in sorts.items():
        text = f"Not read: {len(places)} {what} ({listed(places)}); {cure}."
        plan.listener(Notice(text, "warning" if is_fault else "info"))


def poor_joins(
    plan: IngestPlan, records: Sequence[PartRecord], labels: LabelTable | None
) -> list[str]:
    """A sentence for every kind of file in which none or few of the stars were found."""
    told = []
    for kind in ("source", "xp", "labels"):
        if kind not in plan.files or kind == plan.main_kind:
            continue
        stars = sum(r.found.get("stars", 0) if kind == "source" else r.kept for r in records)
        found = sum(record.found.get(kind, 0) for record in records)
        known = len(labels.source_id) if kind == "labels" and labels is not None else stars
        if found < max(MIN_SHARE_FOUND * min(stars, known), 1) and stars and known:
            theirs = _first_ids(plan, kind, labels)
            ours = list(islice((i for record in records for i in record.first_ids), FIRST_IDS))
            what = "spectra" if plan.main_kind == "spectra" else "stars"
            told.append(
                f"{found} of {stars} {what} found {_FINDS[kind]}: the first stars are "
                f"{_named(ours)}; those of {plan.files[kind][0].name} are {_named(theirs)}. "
                f"Check ingest.{kind}: files, and 'source_id' in 'columns'"
            )
    return told


def not_shifted(plan: IngestPlan, records: Sequence[PartRecord]) -> list[str]:
    """A sentence for spectra that are kept in the frame of their files, if there are any."""
    if plan.config.velocity_files is None:
        return []
    kept = sum(record.kept for record in records)
    without = kept - sum(record.found.get(VELOCITY, 0) for record in records)
    if not without:
        return []
    frame = plan.input_grid().frame
    return [
        f"{without} of {kept} stars have no velocity: their spectra were not shifted to rest, "
        f"they are {frame}, and 'velocity' is NaN"
    ]


def override_sentences(plan: IngestPlan, records: Sequence[PartRecord]) -> list[str]:
    """A sentence for every name of ``ingest.override`` of which no file says anything."""
    met = {name for record in records for name in record.overridden}
    return unneeded_overrides(plan.config.override, met)


_REPEATS = {
    "best": "of each star the spectrum of the best S/N is kept, the others are quarantined",
    "first": "of each star the first spectrum is kept, the others are quarantined",
    "coadd": "they are co-added to one spectrum of each star, weighted by the inverse variance",
    "each": "each is a row of its own, with a spectrum_id",
}


def repeats_sentence(config: IngestConfig, repeats: int) -> str:
    """What became of the spectra of stars that have several."""
    rule = config.repeats
    text = f"{repeats} spectra are of stars that have one already: {_REPEATS[rule]}"
    return f"{text} (ingest.repeats = {rule})."


def check_releases(plan: IngestPlan, counts: Iterable[Mapping[str, int]]) -> None:
    """Refuse stars of several releases of Gaia: one number is another star in each.

    Raises
    ------
    InputError : the designations, or they and the release of a survey of Gaia, differ.
    """
    total = Counter[str]()
    for some in counts:
        total.update({k.removeprefix(RELEASE): n for k, n in some.items() if k.startswith(RELEASE)})
    met = [f"{number} of {release}" for release, number in sorted(total.items())]
    own = plan.config.release.upper().removeprefix("E")
    of_gaia = plan.config.survey.lower().startswith("gaia") and re.fullmatch(r"DR\d+", own)
    if len(total) > 1 or (total and of_gaia and set(total) != {own}):
        named = f"; the survey is of Gaia {own} (ingest.release)" if of_gaia else ""
        raise InputError(
            f"the stars are named by designations of Gaia, {' and '.join(met)}{named}",
            expected="one release: the same number is another star in another one",
            cure="Lead labels to the release of the spectra by ingest.crosswalk (Gaia's table "
            "dr2_neighbourhood), leave files out by 'files', or set ingest.release.",
        )


def _named(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids)) or "none"


def _first_ids(plan: IngestPlan, kind: Kind, labels: LabelTable | None) -> list[int]:
    """The first stars that the files of a kind know."""
    if kind == "labels" and labels is not None:
        return [int(star) for star in labels.source_id[:FIRST_IDS]]
    reader = reader_of(plan.config, kind)
    assert reader is not None
    with collecting_notes():
        for path in plan.files[kind]:
            try:
                for block in reader.blocks(path, rows=FIRST_IDS):
                    if len(block):
                        return [int(star) for star in block.columns["source_id"][:FIRST_IDS]]
            except (InputError, ConfigError):
                continue
    return []
