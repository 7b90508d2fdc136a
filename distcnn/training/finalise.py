"""Finalise: from trained members to a package whose errors are calibrated.

Members are selected by their validation loss, calibrated on stars that none of them has seen,
and written; of folds every star outside test is calibrated on, by its predictions out of fold.
The test split is not opened here: see ``evaluate``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig, TrainConfig
from distcnn.evaluation.out_of_fold_table import (
    ENSEMBLE,
    OUT_OF_FOLD,
    OutOfFoldLabels,
    OutOfFoldTable,
)
from distcnn.events import Listener, Notice, silent, telling
from distcnn.labels import OwnLabels, of_attributes
from distcnn.location import Address
from distcnn.model import (
    InputSpec,
    Network,
    Package,
    fixture_stars,
    write_package,
)
from distcnn.model.stacking import Parts
from distcnn.quality import Quality, usual_reference_errors
from distcnn.quality.calibration.error_deconvolution import MIN_STARS_FOR_SCALE
from distcnn.survey import Ledger, Store, spectra_conditions
from distcnn.survey.split import Split
from distcnn.training.calibration_stars import CalibrationStars
from distcnn.training.data.copies.faint_copies import with_faint_copies
from distcnn.training.data.copies.faint_population import with_copies_of_the_survey
from distcnn.training.data.labelled import (
    DEVELOPMENT,
    MAX_STARS_IN_MEMORY,
    SplitSummary,
    evenly_spaced,
    find_rows,
    read_labelled,
    read_rows,
    read_stars,
)
from distcnn.training.evaluate import ensemble_sizes, on_split, predict_labels
from distcnn.training.loop.member import MemberResult, MemberTask, read_member
from distcnn.training.out_of_fold import CrossFitted
from distcnn.training.plan import MORE_STARS
from distcnn.training.stacking.stack import stack_stars


def finalise_ensemble(
    path: Address,
    tasks: Sequence[MemberTask],
    ledger: Ledger,
    store: Store,
    *,
    split_summary: SplitSummary,
    fingerprint: Mapping[str, Any],
    settings: QualityConfig,
    listener: Listener = silent,
) -> Package:
    """Select members, calibrate them on stars that they never saw, write the package."""
    config, spec = tasks[0].config, tasks[0].spec
    kept = _select_members(tasks, ledger, config.keep)
    results = [result_in(ledger, task) for task in kept]
    networks = [
        read_member(task, result.digest) for task, result in zip(kept, results, strict=True)
    ]
    more: dict[str, Any] = {"fingerprint": dict(fingerprint)}
    files: dict[str, bytes] = {}
    table = OutOfFoldTable(spec.labels, {})
    if config.split.cross_fitted:
        members = CrossFitted(networks, [task.fold or 0 for task in kept], config.split)
        stars, table = _out_of_fold(members, store, spec, config, listener)
    else:
        held_out = read_labelled(
            store, spec, config.split, Split.CALIBRATION, most=MAX_STARS_IN_MEMORY
        )
        held_out = with_copies_of_the_survey(
            held_out,
            lambda some: np.asarray(predict_labels(networks, some.inputs)["label"]),
            store,
            spec,
            config,
            listener=listener,
        )
        stars = CalibrationStars.held_out(networks, held_out)
        more["ensemble_size"] = ensemble_sizes(networks, held_out, settings, spec.labels)
    stacked = stack_stars(networks, stars, store, spec, config, listener=listener)
    table = stacked.table(table)
    if table.methods:
        files[OUT_OF_FOLD] = table.to_bytes()
    return calibrate_and_write(
        path,
        networks,
        config,
        stacked.stars,
        store=store,
        split_summary=split_summary,
        settings=settings,
        curves=[
            curve_of(task.number, result, task.fold)
            for task, result in zip(kept, results, strict=True)
        ],
        more=more | stacked.manifest,
        stacking=stacked.parts,
        files=files,
        listener=listener,
    )


def _out_of_fold(
    members: CrossFitted, store: Store, spec: InputSpec, config: TrainConfig, listener: Listener
) -> tuple[CalibrationStars, OutOfFoldTable]:
    """Every star outside test as the members that never saw it predict it.

    The table has them all; errors are fitted on as many as memory holds, evenly taken.
    """
    rows = find_rows(store, spec, members.split, *DEVELOPMENT)
    ids, moments = [], []
    with telling(listener, "labels out of fold", len(rows), "stars") as advance:
        for block in read_rows(store, spec, rows):
            ids.append(block.source_id)
            moments.append(members.moments(block.source_id, block.inputs))
            advance(len(block))
    found = members.finish(moments)
    chosen = evenly_spaced(np.arange(len(rows)), MAX_STARS_IN_MEMORY)
    stars = read_stars(store, spec, rows[chosen])
    columns = {field.name: getattr(found, field.name) for field in fields(found)}
    labels = OutOfFoldLabels(source_id=np.concatenate(ids), **columns)
    table = OutOfFoldTable(spec.labels, {ENSEMBLE: labels})
    predicted = found.take(chosen)
    more = with_copies_of_the_survey(
        stars,
        lambda some: members.predict(some.source_id, some.inputs).label,
        store,
        spec,
        config,
        listener=listener,
    )
    if len(more) > len(stars):
        predicted = members.predict(more.source_id, more.inputs)
    return CalibrationStars.out_of_fold(members, more, predicted), table


def calibrate_and_write(
    path: Address,
    networks: Sequence[Network],
    config: TrainConfig,
    stars: CalibrationStars,
    *,
    store: Store,
    split_summary: SplitSummary,
    settings: QualityConfig,
    curves: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
    own_labels: OwnLabels | None = None,
    stacking: Parts | None = None,
    files: Mapping[str, bytes] | None = None,
    listener: Listener = silent,
) -> Package:
    """Fit the quality of networks on stars that they never saw, write the package.

    ``curves``: what became of each network; ``more``: further entries of the manifest;
    ``own_labels``: what is known of labels that the schema does not tell of, else the survey's;
    ``stacking``, ``files``: regressions and further files of the package.
    """
    spec = InputSpec.of_survey(store, config.network, config.labels)
    parts = DEVELOPMENT if config.split.cross_fitted else (Split.TRAIN,)
    train = read_labelled(store, spec, config.split, *parts, most=2 * MAX_STARS_IN_MEMORY)
    train = with_faint_copies(train, store, spec, config.augment)
    seen = stars.for_quality()
    with telling(listener, "errors and flags", len(stars.stars), "stars"):
        quality = Quality.fit(
            train.for_quality(),
            seen,
            settings,
            names=spec.labels,
            seed=config.seed,
            members=len(networks),
            hidden=stars.hidden,
        )
    scored = quality.assess(seen, seen["label"], seen["noise"], seen["scatter"])
    made_from = {
        "survey": {key: store.attrs.get(key) for key in ("survey", "release", "inputs")}
        | spectra_conditions(store),
        "split": config.split.model_dump(mode="json") | split_summary.to_json(),
        "train": config.model_dump(mode="json"),
        "quality": settings.model_dump(mode="json"),
        "bands": list(spec.bands),
        "label_width_95": [float(width) for width in quality.calibration.width_95],
        "label_calibration_stars": [int(n) for n in quality.calibration.counts.sum(axis=0)],
        "label_reference_error": usual_reference_errors(seen),
    }
    return write_package(
        path,
        networks=networks,
        spec=spec,
        network_config=config.network,
        fixtures=fixture_stars(stars.stars.inputs),
        label_sigma=_median_error(scored["label_error"], seen["noise"]),
        quality_arrays=quality.to_arrays(),
        curves=curves,
        manifest_extra=made_from | on_split(quality, seen, spec.labels) | dict(more),
        own_labels=own_labels or of_attributes(store.attrs),
        stacking=stacking,
        files=files,
    )


def tell_uncalibrated(package: Package, listener: Listener) -> None:
    """Name the labels whose errors too few stars could calibrate: they are published without."""
    counts = zip(package.labels, package.manifest.label_calibration_stars, strict=False)
    few = [f"{name} ({stars})" for name, stars in counts if stars < MIN_STARS_FOR_SCALE]
    if few:
        problem = (
            f"too few calibration stars have {', '.join(few)}: at least {MIN_STARS_FOR_SCALE} are "
            "needed; these labels are published without errors (NaN), with the flag UNCALIBRATED"
        )
        listener(Notice(f"{problem}; {MORE_STARS}", "warning"))


def _select_members(tasks: Sequence[MemberTask], ledger: Ledger, keep: float) -> list[MemberTask]:
    """The members with the lowest validation loss, in their own order.

    Of folds those of every fold: others have other validation stars, and a fold without a member
    would leave its stars without a prediction.
    """
    kept: list[MemberTask] = []
    for fold in {task.fold: None for task in tasks}:
        alike = [task for task in tasks if task.fold == fold]
        ranked = sorted(alike, key=lambda task: result_in(ledger, task).validation)
        kept += ranked[: max(1, math.ceil(keep * len(alike)))]
    return sorted(kept, key=lambda task: task.number)


def _median_error(error: Array, noise: Array) -> Array:
    """[L] median total error; of the learned noise where nothing could be calibrated."""
    found = np.where(np.isfinite(error), error, noise)
    return np.asarray(np.median(found, axis=0))


def result_in(ledger: Ledger, task: MemberTask) -> MemberResult:
    """What the ledger says of a finished member."""
    return MemberResult.from_json(ledger.done[task.name])


def curve_of(number: int, result: MemberResult, fold: int | None = None) -> dict[str, Any]:
    """What the package says of a member; ``fold`` is the one that it held out, if any."""
    own = {} if fold is None else {"fold": fold}
    return {"member": number, **own, **result.to_json()}
