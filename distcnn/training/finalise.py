"""Finalise: from trained members to a package whose errors are calibrated.

Members are selected by their validation loss, calibrated on stars that none of them has seen,
and written. The test split is not opened here: see ``evaluate``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig, TrainConfig
from distcnn.labels import OwnLabels, of_attributes
from distcnn.location import Address
from distcnn.model import (
    InputSpec,
    Network,
    Package,
    fixture_stars,
    write_package,
)
from distcnn.quality import Quality
from distcnn.survey import Ledger, Store, spectra_conditions
from distcnn.survey.split import Split
from distcnn.training.data.labelled import (
    MAX_STARS_IN_MEMORY,
    Labelled,
    SplitSummary,
    read_labelled,
)
from distcnn.training.evaluate import (
    ensemble_sizes,
    on_split,
    predict_labels,
    without_modalities,
)
from distcnn.training.loop.member import MemberResult, MemberTask, read_member


def finalise_ensemble(
    path: Address,
    tasks: Sequence[MemberTask],
    ledger: Ledger,
    store: Store,
    *,
    split_summary: SplitSummary,
    fingerprint: Mapping[str, Any],
    settings: QualityConfig,
) -> Package:
    """Select members, calibrate them on the calibration split, write the package."""
    config, spec = tasks[0].config, tasks[0].spec
    kept = _select_members(tasks, ledger, config.keep)
    results = [result_in(ledger, task) for task in kept]
    networks = [
        read_member(task, result.digest) for task, result in zip(kept, results, strict=True)
    ]
    held_out = read_labelled(store, spec, config.split, Split.CALIBRATION, most=MAX_STARS_IN_MEMORY)
    return calibrate_and_write(
        path,
        networks,
        config,
        held_out,
        store=store,
        split_summary=split_summary,
        settings=settings,
        curves=[curve_of(task.number, result) for task, result in zip(kept, results, strict=True)],
        more={
            "ensemble_size": ensemble_sizes(networks, held_out, settings, spec.labels),
            "fingerprint": dict(fingerprint),
        },
    )


def calibrate_and_write(
    path: Address,
    networks: Sequence[Network],
    config: TrainConfig,
    held_out: Labelled,
    *,
    store: Store,
    split_summary: SplitSummary,
    settings: QualityConfig,
    curves: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
    own_labels: OwnLabels | None = None,
) -> Package:
    """Fit the quality of networks on the calibration split ``held_out``, write the package.

    ``curves``: what became of each network; ``more``: further entries of the manifest;
    ``own_labels``: what is known of labels that the schema does not tell of, else the survey's.
    """
    spec = InputSpec.of_survey(store, config.network, config.labels)
    train = read_labelled(store, spec, config.split, Split.TRAIN, most=2 * MAX_STARS_IN_MEMORY)
    seen = held_out.for_quality() | predict_labels(networks, held_out.inputs)
    hidden = without_modalities(held_out.inputs)
    quality = Quality.fit(
        train.for_quality(),
        seen,
        settings,
        names=spec.labels,
        seed=config.seed,
        hidden={name: predict_labels(networks, inputs) for name, inputs in hidden.items()},
    )
    scored = quality.assess(seen, seen["label"], seen["noise"], seen["scatter"])
    made_from = {
        "survey": {key: store.attrs.get(key) for key in ("survey", "release", "inputs")}
        | spectra_conditions(store),
        "split": config.split.model_dump(mode="json") | split_summary.to_json(),
        "train": config.model_dump(mode="json"),
        "quality": settings.model_dump(mode="json"),
        "bands": list(spec.bands),
    }
    return write_package(
        path,
        networks=networks,
        spec=spec,
        network_config=config.network,
        fixtures=fixture_stars(held_out.inputs),
        label_sigma=_median_error(scored["label_error"], seen["noise"]),
        quality_arrays=quality.to_arrays(),
        curves=curves,
        manifest_extra=made_from | on_split(quality, seen, spec.labels) | dict(more),
        own_labels=own_labels or of_attributes(store.attrs),
    )


def _select_members(tasks: Sequence[MemberTask], ledger: Ledger, keep: float) -> list[MemberTask]:
    """The members with the lowest validation loss, in their own order."""
    ranked = sorted(tasks, key=lambda task: result_in(ledger, task).validation)
    return sorted(ranked[: max(1, math.ceil(keep * len(tasks)))], key=lambda task: task.number)


def _median_error(error: Array, noise: Array) -> Array:
    """[L] median total error; of the learned noise where nothing could be calibrated."""
    found = np.where(np.isfinite(error), error, noise)
    return np.asarray(np.median(found, axis=0))


def result_in(ledger: Ledger, task: MemberTask) -> MemberResult:
    """What the ledger says of a finished member."""
    return MemberResult.from_json(ledger.done[task.name])


def curve_of(number: int, result: MemberResult) -> dict[str, Any]:
    """What the package says of a member."""
    return {"member": number, **result.to_json()}
