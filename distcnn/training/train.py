"""Train: from a survey to a package.

Members are trained through an executor, one task each; then errors are calibrated on stars that
no member has seen, the package is written, and only then is the test split opened.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__
from distcnn.config import QualityConfig, TrainConfig
from distcnn.errors import TrainingError, UsageError
from distcnn.events import Listener, Notice, StageEnded, StageStarted, silent
from distcnn.executor import Executor, Gang, TaskResult
from distcnn.files import remove_leftovers
from distcnn.gpus import usable_gpus
from distcnn.location import Address, Location
from distcnn.model import (
    InputSpec,
    Package,
)
from distcnn.survey import Ledger, Store
from distcnn.survey.split import groups_digest
from distcnn.training.data.labelled import SplitSummary, summarise_split
from distcnn.training.ddp.launch import train_together
from distcnn.training.evaluate import evaluate_package
from distcnn.training.finalise import finalise_ensemble, tell_uncalibrated
from distcnn.training.loop.checkpoint import CHECKPOINT
from distcnn.training.loop.member import MemberResult, MemberTask, member_name, run_member
from distcnn.training.loop.progress import PROGRESS, STAGE, Follower, epochs_done, following
from distcnn.training.partial import (
    LEDGER,
    begin_ledger,
    check_fingerprint,
    check_room,
    locked,
    member_settings,
    partial_folder,
)
from distcnn.training.plan import TrainPlan, Workload, make_plan


@dataclass(frozen=True)
class TrainSummary:
    """What training came to. ``results`` are rows per label and S/N bin on the test split."""

    package: Path | Location
    digest: str
    members: int
    stars: dict[str, int]
    validation: tuple[float, ...]
    seconds: float
    results: list[dict[str, Any]] = field(default_factory=list)


def train_package(
    survey: Address,
    package: Address,
    config: TrainConfig,
    quality: QualityConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
    resume: bool = False,
    gpus: int | None = None,
) -> TrainSummary:
    """Train an ensemble on the labelled stars of a survey and write it as a package.

    A run that was stopped goes on when called again with the same arguments; finished members
    are not trained twice, and a finished package is left as it is.

    Parameters
    ----------
    resume : refuse to begin again.
    gpus : of each worker; None = those of this machine, where the work is done then.

    Raises
    ------
    TrainingError : too few labelled stars, unknown labels, a loss that is not finite, or
        another training writes to the same place.
    FingerprintMismatch : ``package`` was begun from other data, settings or code.
    UsageError : there is nothing to resume.
    """
    clock = time.perf_counter()
    package = Location.parse(package)
    if resume:
        _require_begun(package)
    run = TrainRun.of(survey, package, config)
    whole = run.fingerprint | config.model_dump(
        mode="json", include={"members", "keep", "stacking"}
    )
    whole |= {"quality": quality.model_dump(mode="json")}
    with locked(run.partial):
        if package.exists():
            made = _reopen(package, whole, config)
        else:
            gpus = usable_gpus() if gpus is None else gpus
            plan = run.plan(workers=executor.workers, gang=isinstance(executor, Gang), gpus=gpus)
            ledger = begin_ledger(run.partial, run.fingerprint | {"plan": plan.pinned})
            tasks = run.tasks(plan)
            _train_members(tasks, plan, ledger, executor, listener)
            made = finalise_ensemble(
                package,
                tasks,
                ledger,
                run.store,
                split_summary=run.split_summary,
                fingerprint=whole | {"plan": plan.pinned},
                settings=quality,
                listener=listener,
            )
        remove_leftovers(run.partial)
    if not made.evaluation and run.split_summary.counts["test"]:
        evaluate_package(made, run.store, config)
    tell_uncalibrated(made, listener)
    return _summary(made, run.split_summary, time.perf_counter() - clock, listener)


def plan_training(
    survey: Address,
    package: Address,
    config: TrainConfig,
    *,
    workers: int,
    gang: bool = True,
    gpus: int | None = None,
) -> TrainPlan:
    """What ``train_package`` would do with that many workers; nothing is begun or written.

    ``gpus``: of each of them; None = there is no telling before they have come.

    Raises
    ------
    TrainingError : too few labelled stars, or unknown labels.
    """
    run = TrainRun.of(survey, package, config)
    return run.plan(workers=workers, gang=gang, gpus=gpus)


def _require_begun(package: Location) -> None:
    partial = partial_folder(package)
    if not package.exists() and not (partial / LEDGER).exists():
        raise UsageError(
            f"there is nothing to resume: neither {package} nor {partial} is there",
            cure="Leave out --resume to begin.",
        )


@dataclass(frozen=True)
class TrainRun:
    """A survey, a place for the package, and what is known of both before anything is done."""

    survey: Location
    package: Location
    config: TrainConfig
    store: Store
    spec: InputSpec
    split_summary: SplitSummary

    @classmethod
    def of(cls, survey: Address, package: Address, config: TrainConfig) -> "TrainRun":
        store, package = Store.open(survey, "survey"), Location.parse(package)
        spec = InputSpec.of_survey(store, config.network, config.labels)
        if not package.exists():
            check_room(partial_folder(package), spec, config, config.members)
        split_summary = summarise_split(store, spec, config.split)
        return cls(store.location, package, config, store, spec, split_summary)

    @property
    def partial(self) -> Path:
        return partial_folder(self.package)

    @property
    def fingerprint(self) -> dict[str, Any]:
        return _fingerprint(self.spec, self.split_summary, self.config)

    def plan(self, *, workers: int, gang: bool, gpus: int | None = None) -> TrainPlan:
        """Decide, or go on with what was decided."""
        begun = self._begun()
        numbers = range(self.config.members)
        finished = [n for n in numbers if begun is not None and member_name(n) in begun.done]
        everyone = tuple(numbers) if self.package.exists() else tuple(finished)
        counts = dict(self.split_summary.counts)
        if self.config.augment.dust:  # a copy of every training star
            counts["train"] *= 2
        workload = Workload(self.config.members, everyone, counts, self.spec)
        pinned = begun.fingerprint.get("plan") if begun is not None else None
        return make_plan(
            workload, self.config, workers=workers, gang=gang, pinned=pinned, gpus=gpus
        )

    def _begun(self) -> Ledger | None:
        path = self.partial / LEDGER
        return Ledger.read(path) if path.exists() else None

    def tasks(self, plan: TrainPlan) -> list[MemberTask]:
        return [
            MemberTask(
                self.survey.address,
                self.partial.absolute(),
                number,
                self.spec,
                self.config,
                self.split_summary.data,
                plan.sharding,
            )
            for number in range(self.config.members)
        ]


def _fingerprint(
    spec: InputSpec, split_summary: SplitSummary, config: TrainConfig
) -> dict[str, Any]:
    """What a member depends on; another ensemble of the same members may use them."""
    settings = member_settings(config)
    settings["split"]["groups"] = groups_digest(config.split)
    return {
        "distcnn_version": __version__,
        "data": split_summary.data,
        "spec": spec.to_json(),
        **settings,
    }


def _reopen(path: Location, fingerprint: Mapping[str, Any], config: TrainConfig) -> Package:
    package = Package.load(path)
    found: Mapping[str, Any] = package.manifest.fingerprint
    asked = dict(fingerprint)
    if config.distribute.strategy != "auto":
        asked["strategy"] = config.distribute.strategy
        found = {**found, "strategy": found.get("plan", {}).get("strategy")}
    check_fingerprint(path, found, asked, "train")
    return package


def _train_members(
    tasks: Sequence[MemberTask],
    plan: TrainPlan,
    ledger: Ledger,
    executor: Executor,
    listener: Listener,
) -> None:
    waiting = [task for task in tasks if task.name not in ledger.done]
    epochs = tasks[0].config.epochs
    begun = {task.number: _epochs_done(task, epochs) for task in waiting}
    done = epochs * (len(tasks) - len(waiting)) + sum(begun.values())
    listener(StageStarted(STAGE, epochs * len(tasks), "epochs", done))
    listener(Notice(str(plan)))
    files = {task.number: task.folder / PROGRESS for task in waiting}
    errors = []
    with following(Follower(files, epochs, listener)) as follower:
        for outcome in _outcomes(waiting, plan, executor, follower.report):
            if outcome.error is not None:
                errors.append(outcome.error)
                continue
            ledger.record(outcome.task.name, **outcome.unwrap().to_json())
            follower.finish(outcome.task.number, begun[outcome.task.number])
    if errors:
        raise errors[0]


Outcomes = Iterator[TaskResult[MemberTask, MemberResult]]


def _outcomes(
    waiting: Sequence[MemberTask], plan: TrainPlan, executor: Executor, listener: Listener
) -> Outcomes:
    if plan.strategy == "data":
        return _in_groups(waiting, executor, listener)
    if plan.strategy == "fused":
        return _vmapped(waiting, executor)
    return executor(run_member, waiting)


def _in_groups(waiting: Sequence[MemberTask], executor: Executor, listener: Listener) -> Outcomes:
    """One member after the other, each by a group of ranks."""
    if not isinstance(executor, Gang):
        raise TrainingError(
            "these workers cannot be had together",
            expected="a cluster of Dask workers for train.distribute.strategy=data",
            cure="Train with --cluster local, or with train.distribute.strategy=ensemble.",
        )
    for task in waiting:
        yield TaskResult(task, train_together(task, executor, listener))


def _vmapped(waiting: Sequence[MemberTask], executor: Executor) -> Outcomes:
    """Members shared out over devices, one per worker."""
    from distcnn.training.vmap.trainer import VmapTask, run_vmapped

    groups = [
        tuple(alike[first :: executor.workers])
        for alike in _by_fold(waiting)
        for first in range(executor.workers)
    ]
    for outcome in executor(run_vmapped, [VmapTask(group) for group in groups if group]):
        if outcome.error is not None:
            yield TaskResult(outcome.task.members[0], None, outcome.error)
            continue
        for task, result in zip(outcome.task.members, outcome.unwrap(), strict=True):
            yield TaskResult(task, result)


def _by_fold(tasks: Sequence[MemberTask]) -> list[list[MemberTask]]:
    """Members that learn from the same stars, together: one pass has them once on its device."""
    found: dict[int | None, list[MemberTask]] = {}
    for task in tasks:
        found.setdefault(task.fold, []).append(task)
    return list(found.values())


def _epochs_done(task: MemberTask, epochs: int) -> int:
    if not (task.folder / CHECKPOINT).exists():
        return 0
    return min(epochs_done(task.folder / PROGRESS), epochs)


def _summary(
    package: Package, split_summary: SplitSummary, seconds: float, listener: Listener
) -> TrainSummary:
    summary = TrainSummary(
        package.location.outer,
        package.digest,
        package.size,
        split_summary.counts,
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
