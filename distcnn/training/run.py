"""Run: from a survey to a package.

Members are trained through a flow, one task each; then errors are calibrated on stars that
no member has seen, the package is written, and only then is the test split opened.
"""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__
from distcnn.config import QualityConfig, TrainConfig
from distcnn.errors import FingerprintMismatch
from distcnn.events import Listener, StageEnded, StageStarted, silent
from distcnn.flow import Flow
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
from distcnn.training.data import Array, Census, read_labelled, take_census
from distcnn.training.evaluate import results_table
from distcnn.training.loop import CHECKPOINT
from distcnn.training.members import PROGRESS, MemberTask, read_member, run_member
from distcnn.training.progress import STAGE, Follower, following
from distcnn.training.split import Part


@dataclass(frozen=True)
class TrainSummary:
    """What training came to. ``results`` are rows per label and S/N bin on the test split."""

    package: Path
    digest: str
    members: int
    stars: dict[str, int]
    validation: tuple[float, ...]
    seconds: float
    results: list[dict[str, Any]] = field(default_factory=list)


def train_package(
    survey: Path,
    package: Path,
    config: TrainConfig,
    quality: QualityConfig,
    *,
    flow: Flow,
    listener: Listener = silent,
) -> TrainSummary:
    """Train an ensemble on the labelled stars of a survey and write it as a package.

    A run that was stopped goes on when called again with the same arguments; finished members
    are not trained twice, and a finished package is left as it is.

    Raises
    ------
    TrainingError : too few labelled stars, unknown labels, or a loss that is not finite.
    FingerprintMismatch : ``package`` was begun from other data, settings or code.
    """
    clock = time.perf_counter()
    store = Store.open(survey, "survey")
    spec = InputSpec.of_survey(store, config.network, config.labels)
    census = take_census(store, spec, config.split)
    fingerprint = _fingerprint(spec, census, config)
    whole = fingerprint | config.model_dump(mode="json", include={"members", "keep"})
    whole |= {"quality": quality.model_dump(mode="json")}
    partial = package.with_name(f"{package.name}.partial")
    if package.exists():
        made = _reopen(package, whole)
    else:
        ledger = Ledger.open(partial / "ledger.jsonl", fingerprint)
        tasks = [
            MemberTask(survey.absolute(), partial.absolute(), number, spec, config, census.data)
            for number in range(config.members)
        ]
        _train_members(tasks, ledger, flow, listener)
        made = _assemble(
            package, tasks, ledger, store, census=census, fingerprint=whole, settings=quality
        )
    shutil.rmtree(partial, ignore_errors=True)
    if not made.evaluation and census.counts["test"]:
        _evaluate(made, store, config)
    return _summary(made, census, time.perf_counter() - clock, listener)


def _fingerprint(spec: InputSpec, census: Census, config: TrainConfig) -> dict[str, Any]:
    """What a member depends on; another ensemble of the same members may use them."""
    settings = config.model_dump(mode="json", exclude={"members", "keep"})
    return {"distcnn_version": __version__, "data": census.data, "spec": spec.to_json(), **settings}


def _reopen(path: Path, fingerprint: Mapping[str, Any]) -> Package:
    package = Package.load(path)
    found = package.manifest.get("fingerprint", {})
    for key, value in fingerprint.items():
        if found.get(key) != value:
            raise FingerprintMismatch(
                f"{path} was trained with {key} = {str(found.get(key))[:60]}",
                expected=f"{key} = {str(value)[:60]}, as asked now",
                cure="Give another path, or remove this package to train again.",
            )
    return package


def _train_members(
    tasks: Sequence[MemberTask], ledger: Ledger, flow: Flow, listener: Listener
) -> None:
    waiting = [task for task in tasks if task.name not in ledger.done]
    epochs = tasks[0].config.epochs
    begun = {task.number: _epochs_done(task, epochs) for task in waiting}
    done = epochs * (len(tasks) - len(waiting)) + sum(begun.values())
    listener(StageStarted(STAGE, epochs * len(tasks), "epochs", done))
    files = {task.number: task.folder / PROGRESS for task in waiting}
    errors = []
    with following(Follower(files, epochs, listener)) as follower:
        for outcome in flow(run_member, waiting):
            if outcome.error is not None:
                errors.append(outcome.error)
                continue
            facts = outcome.result()
            ledger.record(outcome.item.name, **facts)
            follower.finish(outcome.item.number, begun[outcome.item.number])
    if errors:
        raise errors[0]


def _epochs_done(task: MemberTask, epochs: int) -> int:
    path = task.folder / PROGRESS
    if not (task.folder / CHECKPOINT).exists() or not path.exists():
        return 0
    return min(path.read_bytes().count(b"\n"), epochs)


def _assemble(
    path: Path,
    tasks: Sequence[MemberTask],
    ledger: Ledger,
    store: Store,
    *,
    census: Census,
    fingerprint: Mapping[str, Any],
    settings: QualityConfig,
) -> Package:
    """Select members, calibrate them on the calibration split, write the package."""
    config, spec = tasks[0].config, tasks[0].spec
    kept = _select(tasks, ledger, config.keep)
    networks = [read_member(task, ledger.done[task.name]["digest"]) for task in kept]
    train = read_labelled(store, spec, config.split, Part.TRAIN)
    held_out = read_labelled(store, spec, config.split, Part.CALIBRATION)
    seen = held_out.for_quality() | _predict(networks, held_out.inputs)
    quality = Quality.fit(train.for_quality(), seen, settings, names=spec.labels, seed=config.seed)
    judged = quality.assess(seen, seen["label"], seen["noise"], seen["scatter"])
    return write_package(
        path,
        networks=networks,
        spec=spec,
        network_config=config.network,
        fixtures=fixture_stars(held_out.inputs),
        label_sigma=_typical(judged["label_error"], seen["noise"]),
        quality_arrays=quality.to_arrays(),
        curves=[_curve(task, ledger.done[task.name]) for task in kept],
        manifest_extra={
            "survey": {key: store.attrs.get(key) for key in ("survey", "release", "inputs")},
            "split": config.split.model_dump(mode="json") | census.to_json(),
            "train": config.model_dump(mode="json"),
            "quality": settings.model_dump(mode="json"),
            "bands": list(spec.bands),
            "coverage": quality.coverage(seen, spec.labels),
            "fingerprint": dict(fingerprint),
        },
    )


def _select(tasks: Sequence[MemberTask], ledger: Ledger, keep: float) -> list[MemberTask]:
    """The members with the lowest validation loss, in their own order."""
    ranked = sorted(tasks, key=lambda task: ledger.done[task.name]["validation"])
    return sorted(ranked[: max(1, math.ceil(keep * len(tasks)))], key=lambda task: task.number)


def _predict(networks: Sequence[Network], inputs: StarInputs) -> dict[str, Array]:
    return predict_members(networks, inputs)._asdict()


def _typical(error: Array, noise: Array) -> Array:
    """[L] median total error; of the learned noise where nothing could be calibrated."""
    found = np.where(np.isfinite(error), error, noise)
    return np.asarray(np.median(found, axis=0))


def _curve(task: MemberTask, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"member": task.number, **facts}


def _evaluate(package: Package, store: Store, config: TrainConfig) -> None:
    """The one use of the test split: how well the finished package does on it."""
    test = read_labelled(store, package.spec, config.split, Part.TEST)
    seen = test.for_quality() | _predict(package.networks(), test.inputs)
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
        },
    )


def _summary(package: Package, census: Census, seconds: float, listener: Listener) -> TrainSummary:
    summary = TrainSummary(
        package.path,
        package.digest,
        package.size,
        census.counts,
        tuple(float(curve["validation"]) for curve in package.curves),
        seconds,
        list(package.evaluation.get("results", [])),
    )
    listener(
        StageEnded(
            STAGE,
            {
                "members": summary.members,
                "stars": summary.stars["train"],
                "validation": round(float(np.mean(summary.validation)), 4),
                "seconds": round(seconds, 1),
            },
        )
    )
    return summary
