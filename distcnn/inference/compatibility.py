"""Compatibility: can this package read this survey, and which digest names the survey?"""

from collections.abc import Collection
from typing import Any

from distcnn import hashing
from distcnn.errors import PackageError, StoreError
from distcnn.manifest import SurveySection
from distcnn.model import InputSpec, grid_digest
from distcnn.survey import CONDITIONS, SNR_INTERVAL, Ledger, Region, Store, spectra_conditions

_INGEST = "Ingest the archive with the settings of the training survey, or train on this survey."
_IDENTITY_ATTRS = ("format", "survey", "release", "labels", "bands", "ingest", "inputs")
_DIGEST_ROWS = 1 << 20
"""source_ids read and digested at a time [rows]."""


def check_compatible(spec: InputSpec, survey: Store) -> list[str]:
    """Refuse a survey that the network cannot read; returns the names of absent inputs.

    An input that the survey lacks altogether is no error: its stars are predicted as stars with
    that input missing, and flagged.

    Raises
    ------
    PackageError : other wavelength grid, other width of XP, no such band.
    StoreError : the survey is not complete.
    """
    if not survey.attrs.get("complete"):
        raise StoreError(
            f"{survey.location.name} is not complete",
            expected="a survey whose ingest has ended",
            cure="Run the same ingest command again: it goes on where it stopped.",
        )
    _check_spectra(spec, survey)
    _check_coefficients(spec, survey)
    _check_bands(spec, survey)
    return [
        row.title
        for row in spec.modalities
        if row.switch and row.variables[0] not in survey.variables
    ]


def _check_spectra(spec: InputSpec, survey: Store) -> None:
    if not spec.pixels or "flux" not in survey.variables:
        return
    wavelength = survey.coordinate("wavelength")
    found = grid_digest(wavelength)
    if found != spec.wavelength_digest:
        raise PackageError(
            f"{survey.location.name} has {wavelength.size} pixels from {wavelength[0]:g} to "
            f"{wavelength[-1]:g} (grid {found[:12]})",
            expected=f"the {spec.pixels} pixels of grid {spec.wavelength_digest[:12]}",
            cure=_INGEST,
        )


def check_conditions(
    trained_on: SurveySection, spec: InputSpec, survey: Store, accept: Collection[str] = ()
) -> list[str]:
    """Refuse a survey whose spectra are of another kind than those the network learned from.

    Returns what is worth telling: differences that are accepted, and what the package, made
    before packages kept it, does not say. ``accept``: names of CONDITIONS that may differ.

    Raises
    ------
    PackageError : medium, frame, normalisation or release differ; names all that do.
    """
    found = spectra_conditions(survey)
    names = CONDITIONS if spec.pixels else ("release",)
    learned = {name: getattr(trained_on, name) for name in names if name in found}
    differing = {n: v for n, v in learned.items() if v is not None and not _alike(v, found[n])}
    refused = [name for name in differing if name not in accept]
    if refused:
        raise PackageError(
            f"{survey.location.name} has {_listed({name: found[name] for name in refused})}",
            expected=f"{_listed({name: differing[name] for name in refused})}, as in training",
            cure=f"{_INGEST} To predict all the same: --set "
            f"'predict.accept=[{', '.join([*accept, *refused])}]'.",
        )
    notices = [
        f"The survey has {name} {found[name]!r}, the package was trained with {value!r}; "
        "predict.accept allows it"
        for name, value in differing.items()
    ]
    silent = [name for name, value in learned.items() if value is None]
    if silent:
        notices.append(
            f"The package does not say {', '.join(silent)} of its training survey; "
            f"this survey has {_listed({name: found[name] for name in silent})}"
        )
    if spec.pixels and trained_on.snr_interval and SNR_INTERVAL not in found:
        notices.append(
            f"The survey does not say what its S/N is per; that of the training survey is per "
            f"{trained_on.snr_interval}"
        )
    return notices


def _alike(one: str, other: str) -> bool:
    return one.strip().lower() == other.strip().lower()


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in values.items())


def _check_coefficients(spec: InputSpec, survey: Store) -> None:
    if spec.coefficients and "xp" in survey.variables:
        found = survey.shape("xp")[1]
        if found != spec.coefficients:
            raise PackageError(
                f"{survey.location.name} has {found} XP coefficients",
                expected=f"{spec.coefficients}, as in training",
                cure=_INGEST,
            )


def _check_bands(spec: InputSpec, survey: Store) -> None:
    if spec.bands and "photometry" in survey.variables:
        known = band_names(survey)
        if not set(spec.bands) <= set(known):
            raise PackageError(
                f"{survey.location.name} has the bands {', '.join(known)}",
                expected=f"{', '.join(spec.bands)}, as in training",
                cure=_INGEST,
            )


def band_names(survey: Store) -> list[str]:
    """Names of the columns of ``photometry``; empty if the survey has none."""
    return list(map(str, survey.coordinate("band"))) if "photometry" in survey.variables else []


def survey_digest(survey: Store) -> str:
    """Digest of a survey: what it was made from, and what its ledger says was stored.

    Raises
    ------
    StoreCorrupt : there is no ledger, and the source_ids that stand in for it are damaged.
    """
    identity: dict[str, Any] = {name: survey.attrs.get(name) for name in _IDENTITY_ATTRS}
    identity["sizes"] = survey.sizes
    ledger = survey.private / "ledger.jsonl"
    if not ledger.exists():
        return hashing.of_value(identity | {"stored": _source_ids_digest(survey)})
    done = Ledger.read(ledger).done
    stored = ((name, line["digest"]) for name, line in done.by_name())
    return hashing.of_many(identity, "stored", stored)


def _source_ids_digest(survey: Store) -> str:
    starts = range(0, survey.stars, _DIGEST_ROWS)
    parts = [Region(start, min(start + _DIGEST_ROWS, survey.stars)) for start in starts]
    return hashing.of_value(
        [hashing.of_arrays(survey.read(p, survey.row_key.names)) for p in parts]
    )


def reference_column(spec: InputSpec, survey: Store) -> int | None:
    """Column of ``photometry`` that holds the reference magnitude; None if there is none."""
    bands = band_names(survey)
    if not bands:
        return None
    return bands.index(spec.bands[0]) if spec.bands else 0
