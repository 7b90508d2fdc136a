"""The empty store of a survey: how many rows the parts leave, and what it says of itself."""

import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__, hashing
from distcnn.config import IngestConfig
from distcnn.errors import InputError
from distcnn.ingest.assembly.merge import survey_layout
from distcnn.ingest.assembly.repeats import RepeatedSpectra, kept_rows, resolve_repeats
from distcnn.ingest.outcome import poor_joins
from distcnn.ingest.plan import IngestPlan
from distcnn.ingest.staging.columns import Part
from distcnn.ingest.staging.flux_unit import stored_flux_unit
from distcnn.ingest.staging.part import PartRecord
from distcnn.labels import ATTRIBUTE, described
from distcnn.survey import SNR_INTERVAL, Store, create_store, float_dtype

DUPLICATES = "duplicates.rejected.jsonl"


def without_duplicates(
    plan: IngestPlan, parts: Mapping[str, PartRecord]
) -> tuple[dict[str, PartRecord], RepeatedSpectra]:
    """Parts of whose rows each is one of the survey, and what became of the others."""
    rule = plan.config.repeats if plan.main_kind == "spectra" else "first"
    rejected = plan.staging_folder / DUPLICATES
    found = resolve_repeats(plan.parts_folder, parts, rejected, rule)
    if not found.dropped:
        return dict(parts), found
    return {name: _recounted(plan, name, record) for name, record in parts.items()}, found


def _recounted(plan: IngestPlan, name: str, record: PartRecord) -> PartRecord:
    part = Part(plan.parts_folder / name)
    rows = kept_rows(part)
    labelled = record.labelled
    if plan.config.labels is not None:
        labelled = int(np.isfinite(part.read("label")[rows]).any(axis=1).sum())
    return replace(record, kept=len(rows), labelled=labelled)


def _first_reason(plan: IngestPlan, parts: Mapping[str, PartRecord]) -> str:
    """``; the first, a.fits, row 3: the reason``; nothing if no row was quarantined."""
    for name in parts:
        path = Part(plan.parts_folder / name).rejected
        with path.open(encoding="utf-8") if path.exists() else nullcontext(()) as lines:
            row = next((json.loads(line) for line in lines), None)
        if row is not None:
            return f"; the first, {Path(row['file']).name}, row {row['row']}: {row['detail']}"
    return ""


def create_or_open(
    plan: IngestPlan, parts: Mapping[str, PartRecord], quarantined: Mapping[str, int]
) -> Store:
    """The whole store, empty, or the half-filled one that an earlier run left."""
    stars = sum(part.kept for part in parts.values())
    if not stars:
        joins = "".join(f"; {text}" for text in poor_joins(plan, list(parts.values()), None))
        raise InputError(
            f"no star of {plan.archive} is left: {quarantined.get(plan.main_kind, 0)} rows "
            f"were quarantined{_first_reason(plan, parts)}{joins}",
            expected="at least one star",
            cure=f"See the reasons in {plan.parts_folder}/*/rejected.jsonl.",
        )
    if plan.draft.exists():
        return Store.open(plan.draft, "survey")
    layout = survey_layout(
        plan.config,
        stars,
        plan.output_grid(),
        error_dtype=_error_dtype(parts.values()),
        attrs=_attrs(plan),
        grid=plan.input_grid(),
        flux_unit=stored_flux_unit(plan.config, plan.statements()),
        has_names=any(part.has_names for part in parts.values()),
    )
    return create_store(plan.draft, layout)


def _error_dtype(parts: Iterable[PartRecord]) -> str | None:
    """The type that holds the flux errors of all parts; None if there are none."""
    known = [part for part in parts if part.has_error]
    if not known:
        return None
    return float_dtype(min(p.error_low for p in known), max(p.error_high for p in known))


def _attrs(plan: IngestPlan) -> dict[str, Any]:
    config = plan.config
    return {
        "survey": config.survey,
        "release": config.release,
        "labels": list(config.labels.labels) if config.labels else [],
        **_own_labels(config),
        **({"unlabelled": plan.unlabelled} if plan.unlabelled else {}),
        "bands": list(config.bands) if config.source is not None else [],
        **({SNR_INTERVAL: config.snr.stated} if config.snr.stated else {}),
        "ingest": config.model_dump(mode="json"),
        "inputs": plan.inputs,
        "files": {kind: len(paths) for kind, paths in plan.files.items()},
        "fingerprint": hashing.of_value(plan.fingerprint()),
        "distcnn_version": __version__,
        "complete": False,
    }


def _own_labels(config: IngestConfig) -> dict[str, Any]:
    """What the survey says of labels that the schema does not tell of, if it has any."""
    if config.labels is None:
        return {}
    found = described(config.labels.labels, config.labels.own)
    return {ATTRIBUTE: found} if found else {}
