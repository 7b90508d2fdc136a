"""What an evaluation reads: finished products, found where they say of each other that they lie."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from distcnn.location import Address, Location
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

    predictions: Address
    survey: Address | None = None
    truth: Address | None = None
    split: SplitConfig | None = None
    manifest: Manifest | None = None
    curves: Sequence[Mapping[str, Any]] = ()
    baselines: Mapping[str, BaselineLabels] = field(default_factory=dict)
    ledger: Address | None = None


def find_products(
    predictions: Address,
    listener: Listener = silent,
    *,
    survey: Address | None = None,
    package: Address | None = None,
    truth: Address | None = None,
    baselines: Address | None = None,
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
        truth = find_truth(survey)
    data = EvaluationData(store.location, survey=survey, truth=truth)
    if package is None:
        listener(Notice("the package was not found: no curves, no baselines", "warning"))
        return data
    manifest = read_manifest(package)
    curves = json.loads(read_file(package, manifest, "curves.json"))
    data = replace(data, manifest=manifest, curves=curves, split=manifest.training_split)
    if not show_baselines and baselines is None:
        return data
    names = [str(name) for name in store.coordinate("label")]
    beside = dict.fromkeys(
        place.resolve(".").parent for place in (store.location, Location.parse(package))
    )
    places = [folder / BASELINES_FILE for folder in beside]
    return replace(data, baselines=_read_fitting(data, names, baselines, places, listener))


def find_truth(survey: Address) -> Address | None:
    """The table of truth in the archive that a simulated survey was made of, if it is there."""
    place = Location.parse(survey)
    archive = _beside(place, Store.open(place).attrs.get("archive"))
    return _existing(archive / "truth.parquet" if archive else None)


def _read_fitting(
    data: EvaluationData,
    names: list[str],
    given: Address | None,
    places: Sequence[Location],
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
    for path in (place for place in places if place.exists()):
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


def _beside(base: Location, relative: object) -> Location | None:
    """A path that a store keeps relative to itself; None where nothing is there."""
    return _existing(base.resolve(relative)) if isinstance(relative, str) else None


def _existing(place: Location | None) -> Location | None:
    return place if place is not None and place.exists() else None
