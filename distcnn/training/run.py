"""Run: from a survey to a package.

Members are trained through a flow, one task each; then errors are calibrated on stars that
no member has seen, the package is written, and only then is the test split opened.
"""

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
    Package,
)
from distcnn.survey import Ledger, Store
from distcnn.training.assemble import assemble, evaluate_package
from distcnn.training.data import Census, take_census
from distcnn.training.loop import CHECKPOINT
from distcnn.training.members import PROGRESS, MemberTask, run_member
from distcnn.training.progress import STAGE, Follower, following


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
        made = assemble(
            package, tasks, ledger, store, census=census, fingerprint=whole, settings=quality
        )
    shutil.rmtree(partial, ignore_errors=True)
    if not made.evaluation and census.counts["test"]:
        evaluate_package(made, store, config)
    return _summary(made, census, time.perf_counter() - clock, listener)


def _fingerprint(spec: InputSpec, census: Census, config: TrainConfig) -> dict[str, Any]:
    """What a member depends on; another ensemble of the same members may use them."""
    settings = config.model_dump(mode="json", exclude={"members", "keep", "distribute"})
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
