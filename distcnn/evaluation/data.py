"""What an evaluation reads: finished products, found where they say of each other that they lie."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.errors import DigestMismatch, PackageError
from distcnn.events import Listener, Notice, silent
from distcnn.schema import PACKAGE_FORMAT
from distcnn.survey import Store


@dataclass(frozen=True)
class BaselineLabels:
    """Labels of another method: ``label`` [N, L] in the order of the predictions' labels."""

    source_id: Array
    label: Array


@dataclass(frozen=True)
class EvaluationData:
    """Only ``predictions`` must be given; the evaluation leaves out what the others would tell.

    Attributes
    ----------
    predictions : the prediction store.
    survey : the survey store it was made from: spectra, masks, reference labels, quarantine.
    truth : parquet table of a simulated survey: ``source_id``, labels by name, ``trouble``.
    split : which labelled stars of the survey training, stopping or calibration used; none of
        them is evaluated. None = no star was used.
    manifest : manifest of the package; printed as provenance.
    curves : learning curves as in the package: ``member``, and ``epochs`` as pairs of training
        and validation loss [nat per label].
    baselines : name -> labels of other methods on stars outside training.
    ledger : ledger of the predictions with ``seconds`` per region; None = the store's own.
    """

    predictions: Path
    survey: Path | None = None
    truth: Path | None = None
    split: SplitConfig | None = None
    manifest: Mapping[str, Any] | None = None
    curves: Sequence[Mapping[str, Any]] = ()
    baselines: Mapping[str, BaselineLabels] = field(default_factory=dict)
    ledger: Path | None = None


def find_products(
    predictions: Path,
    listener: Listener = silent,
    *,
    survey: Path | None = None,
    package: Path | None = None,
    truth: Path | None = None,
) -> EvaluationData:
    """The products behind a prediction store; each is looked for where the store before says.

    Raises
    ------
    StoreError : a store cannot be used.
    PackageError : the package cannot be used.
    """
    store = Store.open(predictions, "predictions")
    survey = survey or _beside(store.path, store.attrs["survey"].get("path"))
    package = package or _beside(store.path, store.attrs["package"].get("path"))
    if truth is None and survey is not None:
        archive = _beside(survey, Store.open(survey).attrs.get("archive"))
        truth = _existing(archive / "truth.parquet" if archive else None)
    data = EvaluationData(store.path, survey=survey, truth=truth)
    if package is None:
        listener(Notice("the package was not found: no curves, no baselines", "warning"))
        return data
    manifest = read_manifest(package)
    return replace(
        data, manifest=manifest, curves=_read_curves(package, manifest), split=split_of(manifest)
    )


def read_manifest(package: Path) -> dict[str, Any]:
    """The manifest of a package; its weights are not opened.

    Raises
    ------
    PackageError : there is none, or it has another format.
    """
    path = package / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        found = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackageError(
            f"{package} is not a package ({type(error).__name__}: {error})",
            expected="a folder with a readable manifest.json",
            cure="Train one with `distcnn train`.",
        ) from None
    if found != PACKAGE_FORMAT:
        raise PackageError(
            f"{package} has format {found}",
            expected=f"format {PACKAGE_FORMAT}",
            cure="It was written by another version of distcnn; train again.",
        )
    return manifest


def split_of(manifest: Mapping[str, Any]) -> SplitConfig:
    """How the package's training divided the labelled stars."""
    return SplitConfig.model_validate(manifest["train"]["split"])


def _read_curves(package: Path, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = package / "curves.json"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DigestMismatch(f"{path} is gone ({error})", cure=_CURE) from None
    if hashing.of_bytes(data) != manifest["files"]["curves.json"]:
        raise DigestMismatch(
            f"{path} was changed", expected="the file that the manifest names", cure=_CURE
        )
    curves: list[dict[str, Any]] = json.loads(data)
    return curves


_CURE = "Restore the package from a copy, or train again."


def _beside(path: Path, relative: object) -> Path | None:
    """A path that a store keeps relative to itself; None where nothing is there."""
    return _existing(path / relative) if isinstance(relative, str) else None


def _existing(path: Path | None) -> Path | None:
    return path if path is not None and path.exists() else None
