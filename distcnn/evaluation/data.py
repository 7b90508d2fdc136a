"""What an evaluation reads: finished products, found where they say of each other that they lie."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.events import Listener, Notice, silent
from distcnn.manifest import Manifest, read_file, read_manifest
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
    manifest: Manifest | None = None
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
    curves = json.loads(read_file(package, manifest, "curves.json"))
    return replace(data, manifest=manifest, curves=curves, split=manifest.training_split)


def _beside(path: Path, relative: object) -> Path | None:
    """A path that a store keeps relative to itself; None where nothing is there."""
    return _existing(path / relative) if isinstance(relative, str) else None


def _existing(path: Path | None) -> Path | None:
    return path if path is not None and path.exists() else None
