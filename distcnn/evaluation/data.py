"""What an evaluation reads: finished products, found where they say of each other that they lie."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distcnn.config import SplitConfig
from distcnn.errors import FileBroken, InputError
from distcnn.evaluation.baseline_table import (
    BaselineLabels,
    differences,
    origin_of,
    read_baselines,
    read_facts,
)
from distcnn.events import Listener, Notice, silent
from distcnn.location import Location
from distcnn.manifest import Manifest, read_file, read_manifest
from distcnn.survey import Store

BASELINES_FILE = "baselines.parquet"
"""Name of the table that is looked for beside predictions and package."""


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
    baselines : name -> labels of other methods on stars outside training, in the order of the
        predictions' labels.
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
    baselines: Path | None = None,
    show_baselines: bool = True,
) -> EvaluationData:
    """The products behind a prediction store; each is looked for where the store before says.

    The table of baselines is looked for beside the predictions and beside the package.

    Raises
    ------
    StoreError : a store cannot be used.
    PackageError : the package cannot be used.
    FileBroken, InputError : the table ``baselines`` is unreadable, or of other stars.
    """
    store = Store.open(predictions, "predictions")
    survey = survey or _beside(store.location, store.attrs["survey"].get("path"))
    package = package or _beside(store.location, store.attrs["package"].get("path"))
    if truth is None and survey is not None:
        archive = _beside(Location.parse(survey), Store.open(survey).attrs.get("archive"))
        truth = _existing(archive / "truth.parquet" if archive else None)
    data = EvaluationData(store.path, survey=survey, truth=truth)
    if package is None:
        listener(Notice("the package was not found: no curves, no baselines", "warning"))
        return data
    manifest = read_manifest(package)
    curves = json.loads(read_file(package, manifest, "curves.json"))
    data = replace(data, manifest=manifest, curves=curves, split=manifest.training_split)
    if not show_baselines and baselines is None:
        return data
    names = [str(name) for name in store.coordinate("label")]
    beside = dict.fromkeys(path.resolve().parent for path in (store.path, package))
    places = [folder / BASELINES_FILE for folder in beside]
    return replace(data, baselines=_read_fitting(data, names, baselines, places, listener))


def _read_fitting(
    data: EvaluationData,
    names: list[str],
    given: Path | None,
    places: Sequence[Path],
    listener: Listener,
) -> dict[str, BaselineLabels]:
    """The table at ``given``, else the first of ``places``, if it is of this survey and split."""
    if data.survey is None or data.split is None:
        return {}
    survey = Store.open(data.survey, "survey")
    if "label" not in survey.variables:
        return {}
    origin = origin_of(survey, data.split, names)
    if given:
        other = differences(read_facts(given)["origin"], origin)
        if not other:
            return read_baselines(given).ordered(names)
        raise InputError(
            f"{given} has another {', '.join(other)}",
            expected="baselines of the survey, split and labels of the predictions",
            cure=_COMPARE,
        )
    for path in filter(Path.exists, places):
        try:
            other = differences(read_facts(path)["origin"], origin)
        except FileBroken as error:
            listener(Notice(str(error), "warning"))
            continue
        if not other:
            return read_baselines(path).ordered(names)
        listener(Notice(f"{path} is not shown: it has another {', '.join(other)}", "warning"))
    listener(Notice(f"no baselines beside the network. {_COMPARE}"))
    return {}


_COMPARE = "`distcnn compare SURVEY baselines.parquet --package PACKAGE` makes them."


def _beside(base: Location, relative: object) -> Path | None:
    """A path that a store keeps relative to itself; None where nothing is there."""
    return _existing(base.resolve(relative).local_path) if isinstance(relative, str) else None


def _existing(path: Path | None) -> Path | None:
    return path if path is not None and path.exists() else None
