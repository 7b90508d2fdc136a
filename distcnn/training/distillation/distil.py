"""Distil: from an ensemble and a survey to a package of one network that answers as it does.

The student learns the ensemble's answers; its errors are then calibrated like those of any
package, on the calibration split, and only when the package is written is the test split opened
to see what the student costs. A student of a student would add its faults to those of its teacher.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distcnn import __version__
from distcnn.config import DistilConfig, ImportedNetwork, QualityConfig, TrainConfig
from distcnn.errors import TrainingError
from distcnn.events import Listener, StageEnded, StageStarted, silent
from distcnn.executor import Executor
from distcnn.files import remove_leftovers
from distcnn.location import Address, Location
from distcnn.model import InputSpec, Network, Package
from distcnn.survey import Ledger, Store
from distcnn.survey.split import Split, groups_digest
from distcnn.training.calibration_stars import CalibrationStars
from distcnn.training.data.labelled import (
    MAX_STARS_IN_MEMORY,
    Labelled,
    SplitSummary,
    read_labelled,
    summarise_split,
)
from distcnn.training.distillation.student import (
    StudentTask,
    data_digest,
    distillation_rows,
    run_student,
    train_config,
)
from distcnn.training.evaluate import evaluate_package
from distcnn.training.finalise import (
    calibrate_and_write,
    curve_of,
    result_in,
    tell_uncalibrated,
)
from distcnn.training.loop.member import MemberTask, read_member
from distcnn.training.loop.progress import PROGRESS, Follower, epochs_done, following
from distcnn.training.out_of_fold import CrossFitted
from distcnn.training.partial import (
    begin_ledger,
    check_fingerprint,
    check_room,
    locked,
    partial_folder,
)
from distcnn.training.stacking.stack import with_unseen_labels

STAGE = "distil"
MIN_DISTILLATION_STARS = 100
"""Stars without which nothing can be learned."""


@dataclass(frozen=True)
class DistilSummary:
    """What a distillation came to.

    ``agreement``: see ``agreement.student_agreement``; empty without test stars.
    """

    package: Path | Location
    digest: str
    stars: int
    validation: float
    seconds: float
    agreement: dict[str, Any]


def distil_package(
    package: Address,
    small: Address,
    survey: Address,
    config: DistilConfig,
    quality: QualityConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
) -> DistilSummary:
    """Train a student of the ensemble ``package`` on the stars of a survey; write it as ``small``.

    A run that was stopped goes on when called again with the same arguments, and a finished
    package is left as it is.

    Raises
    ------
    TrainingError : the package is no ensemble, does not fit the survey, there are too few stars,
        or another run writes to the same place.
    FingerprintMismatch : ``small`` was begun from another package, survey or settings.
    GridMismatch : the survey's spectra stand on another grid.
    """
    clock = time.perf_counter()
    run = DistilRun.of(package, small, survey, config, quality)
    with locked(run.partial):
        if run.small.exists():
            made = _reopen(run.small, run.fingerprint)
        else:
            ledger = begin_ledger(run.partial, run.fingerprint)
            _train(run, ledger, executor, listener)
            made = _finalise(run, ledger, listener)
        remove_leftovers(run.partial)
    if "price" not in made.evaluation and run.split_summary.counts["test"]:
        evaluate_package(made, run.store, run.train, run.teacher)
    tell_uncalibrated(made, listener)
    return _summary(made, run, time.perf_counter() - clock, listener)


@dataclass(frozen=True)
class DistilRun:
    """Teacher, survey and settings, checked, and what the product depends on."""

    teacher: Package
    small: Location
    store: Store
    config: DistilConfig
    quality: QualityConfig
    train: TrainConfig
    split_summary: SplitSummary
    stars: int
    data: str

    @classmethod
    def of(
        cls,
        package: Address,
        small: Address,
        survey: Address,
        config: DistilConfig,
        quality: QualityConfig,
    ) -> "DistilRun":
        teacher, store = Package.load(package), Store.open(survey, "survey")
        _check_teacher(teacher)
        train = train_config(teacher, config)
        _check_fit(teacher, store, train)
        split_summary = summarise_split(store, teacher.spec, train.split)
        rows = distillation_rows(store, train.split, config.stars)
        if len(rows) < MIN_DISTILLATION_STARS:
            raise TrainingError(
                f"{store.location.name} has {len(rows)} stars to learn from",
                expected=f"at least {MIN_DISTILLATION_STARS} that are not held back to judge it",
                cure="Give a larger survey, or raise distil.stars.",
            )
        data = data_digest(store, teacher, rows)
        place = Location.parse(small)
        if not place.exists():
            check_room(partial_folder(place), teacher.spec, train, members=1)
        return cls(teacher, place, store, config, quality, train, split_summary, len(rows), data)

    @property
    def partial(self) -> Path:
        return partial_folder(self.small)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the student depends on."""
        settings = self.config.model_dump(mode="json", exclude={"memory"})
        return {
            "distcnn_version": __version__,
            "teacher": self.teacher.digest,
            "data": self.split_summary.data,
            "unlabelled": self.data,
            "distil": settings,
            "quality": self.quality.model_dump(mode="json"),
        }

    @property
    def task(self) -> StudentTask:
        member = MemberTask(
            self.store.location.address,
            self.partial.absolute(),
            0,
            self.teacher.spec,
            self.train,
            self.split_summary.data,
        )
        return StudentTask(self.teacher.location.address, self.teacher.digest, member, self.config)


def _check_teacher(teacher: Package) -> None:
    if teacher.student:
        raise TrainingError(
            f"{teacher.location} is a student already",
            expected="an ensemble of at least two members",
            cure="Distil the ensemble that it was made from.",
        )
    if isinstance(teacher.network, ImportedNetwork):
        raise TrainingError(
            f"{teacher.location} was trained elsewhere, on inputs scaled in a way of its own",
            expected="an ensemble that distcnn has trained",
            cure="Use the package as it is.",
        )
    if teacher.size < 2:
        raise TrainingError(
            f"{teacher.location} has one member, so there is no scatter to be learned",
            expected="an ensemble of at least two members",
            cure="Train with train.members=8 or more, or use the package as it is.",
        )


def _check_fit(teacher: Package, store: Store, train: TrainConfig) -> None:
    """The survey gives what the ensemble was trained on, split as it was then."""
    teacher.spec.check_survey(store)
    found = InputSpec.of_survey(store, train.network, teacher.labels)
    if found != teacher.spec:
        ours, theirs = found.to_json(), teacher.spec.to_json()
        names = [name for name in ours if ours[name] != theirs[name]]
        raise TrainingError(
            f"{store.location.name} has {_values(ours, names)}",
            expected=f"{_values(theirs, names)}, as {teacher.location.name} was trained on",
            cure="Give the survey that it was trained on, or one ingested with the same settings.",
        )
    begun = teacher.manifest.groups_digest
    if groups_digest(train.split) != begun:
        raise TrainingError(
            f"the table of groups {train.split.groups} is another one than in training",
            expected=f"the digest {str(begun)[:12]}",
            cure="Restore it: it says which stars no one may learn from.",
        )


def _values(spec: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {spec[name]}" for name in names)


def _reopen(path: Location, fingerprint: dict[str, Any]) -> Package:
    made = Package.load(path)
    check_fingerprint(path, made.manifest.fingerprint, fingerprint, "distil")
    return made


def _train(run: DistilRun, ledger: Ledger, executor: Executor, listener: Listener) -> None:
    task = run.task
    if task.name in ledger.done:
        return
    file, epochs = task.member.folder / PROGRESS, run.config.epochs
    begun = min(epochs_done(file), epochs)
    listener(StageStarted(STAGE, epochs, "epochs", begun))
    with following(Follower({0: file}, epochs, listener, STAGE)) as follower:
        for outcome in executor(run_student, [task]):
            ledger.record(task.name, **outcome.unwrap().to_json())
            follower.finish(0, begun)


def _finalise(run: DistilRun, ledger: Ledger, listener: Listener) -> Package:
    result = result_in(ledger, run.task.member)
    network = read_member(run.task.member, result.digest)
    held_out = read_labelled(
        run.store, run.teacher.spec, run.train.split, Split.CALIBRATION, most=MAX_STARS_IN_MEMORY
    )
    return calibrate_and_write(
        run.small,
        [network],
        run.train,
        _calibration_stars(run, network, held_out),
        store=run.store,
        split_summary=run.split_summary,
        settings=run.quality,
        curves=[curve_of(0, result)],
        own_labels=run.teacher.manifest.own_labels,
        more={
            "distilled": {
                "teacher": run.teacher.digest,
                "members": run.teacher.size,
                "network": run.teacher.network.model_dump(mode="json"),
                "stars": run.stars,
                "survey": run.data,
                "settings": run.config.model_dump(mode="json", exclude={"memory"}),
            },
            "fingerprint": run.fingerprint,
        },
        listener=listener,
    )


def _calibration_stars(run: DistilRun, network: Network, held_out: Labelled) -> CalibrationStars:
    members, split = run.teacher.manifest.members, run.teacher.manifest.training_split
    if not split.cross_fitted:
        stars = CalibrationStars.held_out([network], held_out)
    else:
        networks = run.teacher.networks()
        folds = [member.fold or 0 for member in members]
        members_of = CrossFitted(networks, folds, split)
        stars = CalibrationStars.of_student(network, members_of, held_out)
    return with_unseen_labels(stars, network, run.teacher)


def _summary(package: Package, run: DistilRun, seconds: float, listener: Listener) -> DistilSummary:
    summary = DistilSummary(
        package.location.outer,
        package.digest,
        run.stars,
        float(package.curves[0]["validation"]),
        seconds,
        dict(package.evaluation.get("price", {})),
    )
    facts = {"stars": summary.stars, "validation": round(summary.validation, 4)}
    listener(StageEnded(STAGE, facts | {"seconds": round(seconds, 1)}))
    return summary
