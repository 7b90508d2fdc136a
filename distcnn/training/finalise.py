"""Finalise: from trained members to a package whose errors are calibrated.

Members are selected by their validation loss, calibrated on stars that none of them has seen,
and written; only then is the test split opened, once.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig, TrainConfig
from distcnn.model import (
    InputSpec,
    Network,
    Package,
    StarInputs,
    fixture_stars,
    predict_members,
    write_evaluation,
    write_package,
)
from distcnn.quality import Quality
from distcnn.survey import Ledger, Store
from distcnn.survey.split import Split
from distcnn.training.data.labelled import (
    MAX_STARS_IN_MEMORY,
    Labelled,
    SplitSummary,
    read_labelled,
)
from distcnn.training.distillation.agreement import ScoredPredictions, student_agreement
from distcnn.training.evaluate import ensemble_sizes, results_table, without_modalities
from distcnn.training.loop.member import MemberResult, MemberTask, read_member


def finalise_ensemble(
    path: Path,
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
    path: Path,
    networks: Sequence[Network],
    config: TrainConfig,
    held_out: Labelled,
    *,
    store: Store,
    split_summary: SplitSummary,
    settings: QualityConfig,
    curves: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> Package:
    """Fit the quality of networks on the calibration split ``held_out``, write the package.

    ``curves``: what became of each network; ``more``: further facts for the manifest.
    """
    spec = InputSpec.of_survey(store, config.network, config.labels)
    train = read_labelled(store, spec, config.split, Split.TRAIN, most=2 * MAX_STARS_IN_MEMORY)
    seen = held_out.for_quality() | _predict(networks, held_out.inputs)
    quality = Quality.fit(
        train.for_quality(),
        seen,
        settings,
        names=spec.labels,
        seed=config.seed,
        hidden={
            name: _predict(networks, inputs)
            for name, inputs in without_modalities(held_out.inputs).items()
        },
    )
    judged = quality.assess(seen, seen["label"], seen["noise"], seen["scatter"])
    return write_package(
        path,
        networks=networks,
        spec=spec,
        network_config=config.network,
        fixtures=fixture_stars(held_out.inputs),
        label_sigma=_median_error(judged["label_error"], seen["noise"]),
        quality_arrays=quality.to_arrays(),
        curves=curves,
        manifest_extra={
            "survey": {key: store.attrs.get(key) for key in ("survey", "release", "inputs")},
            "split": config.split.model_dump(mode="json") | split_summary.to_json(),
            "train": config.model_dump(mode="json"),
            "quality": settings.model_dump(mode="json"),
            "bands": list(spec.bands),
            "coverage": quality.coverage(seen, spec.labels),
            "attenuation": quality.debias_table(seen, spec.labels),
            **more,
        },
    )


def _select_members(tasks: Sequence[MemberTask], ledger: Ledger, keep: float) -> list[MemberTask]:
    """The members with the lowest validation loss, in their own order."""
    ranked = sorted(tasks, key=lambda task: result_in(ledger, task).validation)
    return sorted(ranked[: max(1, math.ceil(keep * len(tasks)))], key=lambda task: task.number)


def _predict(networks: Sequence[Network], inputs: StarInputs) -> dict[str, Array]:
    return predict_members(networks, inputs)._asdict()


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


def evaluate_package(
    package: Package, store: Store, config: TrainConfig, teacher: Package | None = None
) -> None:
    """The one use of the test split: how well the finished package does on it.

    ``teacher``: the ensemble that a student stands for; then its price is told too.
    """
    test = read_labelled(store, package.spec, config.split, Split.TEST, most=MAX_STARS_IN_MEMORY)
    seen = test.for_quality() | _predict(package.networks(), test.inputs)
    more = {} if teacher is None else {"price": _agreement(package, teacher, seen, test)}
    quality = Quality.from_arrays(package.quality_arrays)
    write_evaluation(
        package,
        {
            "split": "test",
            "stars": len(test),
            "results": results_table(
                seen["label"] - test.label,
                seen["snr"],
                edges=quality.settings.snr_edges,
                names=package.labels,
            ),
            "coverage": quality.coverage(seen, package.labels),
            "attenuation": quality.debias_table(seen, package.labels),
            **more,
        },
    )


def _agreement(
    package: Package, teacher: Package, seen: Mapping[str, Array], test: Labelled
) -> dict[str, Any]:
    theirs = test.for_quality() | _predict(teacher.networks(), test.inputs)
    both = ScoredPredictions.of(package, seen), ScoredPredictions.of(teacher, theirs)
    return student_agreement(*both, test.label, test.label_error, package.labels)
