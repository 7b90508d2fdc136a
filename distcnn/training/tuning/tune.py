"""Tune: trials of other settings, as tasks of an executor, judged by their validation loss.

A trial trains a member or two for few epochs on the training split. Its value is the loss on
the validation split; labels of calibration and test stars reach no trial. In the study's folder:

    ledger.jsonl     from what data and settings the study was begun
    journal.jsonl    every trial asked for and reported, as Optuna keeps it
    trials.csv       the same as a table
    work/            trials that have not ended

Trials are not pruned against each other: ``train.patience`` alone ends one early.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from distcnn import __version__
from distcnn.config import TrainConfig, TuneConfig
from distcnn.errors import LockHeld, TrainingError, UsageError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.executor import Executor, TaskResult
from distcnn.files import FOLDER_LOCK, FileLock, empty_folder, remove_leftovers
from distcnn.location import Address
from distcnn.model import InputSpec
from distcnn.survey import Ledger, Store
from distcnn.training.data.labelled import summarise_split
from distcnn.training.loop.member import MemberTask, run_member
from distcnn.training.partial import check_room, member_settings
from distcnn.training.tuning.optuna_study import JOURNAL, AskTellStudy, need_optuna, read_study
from distcnn.training.tuning.study import Study, overridden, tuned_hyperparameters, write_table

STAGE = "tune"


@dataclass(frozen=True)
class TrialTask:
    """One trial to run: its members, with the settings to try."""

    number: int
    members: tuple[MemberTask, ...]


@dataclass(frozen=True)
class TrialResult:
    """Mean of the members' best validation losses [nat per label], and the time it took [s]."""

    validation: float
    seconds: float


def run_trial(task: TrialTask) -> TrialResult:
    """Train the members of a trial, or go on with them."""
    clock = time.perf_counter()
    losses = [run_member(member).validation for member in task.members]
    return TrialResult(sum(losses) / len(losses), time.perf_counter() - clock)


def tune(
    survey: Address,
    study: Path,
    config: TrainConfig,
    settings: TuneConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
) -> Study:
    """Run trials until the study has ``settings.trials`` finished ones; the same call goes on.

    A trial whose driver or worker died is marked failed, and the next call asks for its
    settings again; ``error`` of what is returned says that there is one.

    Raises
    ------
    MissingExtra : optuna is not installed.
    UsageError : another process works on this study.
    FingerprintMismatch : the study was begun from other data, settings or code.
    TrainingError, ConfigError : too few labelled stars; a range beyond what training takes.
    """
    clock = time.perf_counter()
    make = _begin(survey, study, config, settings)
    with _alone(study):
        ask_tell = AskTellStudy(study, config, settings)
        begun = ask_tell.state()
        listener(Notice(str(begun)))
        listener(StageStarted(STAGE, settings.trials, "trials", len(begun.finished)))
        tasks = (make.task(*asked) for asked in ask_tell.ask_all())
        errors = [_tell(ask_tell, outcome, listener) for outcome in executor(run_trial, tasks)]
        done = replace(ask_tell.state(), error=next(filter(None, errors), None))
        write_table(done)
        if done.error is None:
            remove_leftovers(study / "work")
    best = {"best": done.best.value} if done.best else {}
    seconds = round(time.perf_counter() - clock, 1)
    listener(StageEnded(STAGE, {"trials": len(done.finished), **best, "seconds": seconds}))
    return done


def look(survey: Address, study: Path, config: TrainConfig, settings: TuneConfig) -> Study:
    """What ``tune`` would do and what it has done; raises what it would raise, runs nothing."""
    if (study / "ledger.jsonl").exists():
        _begin(survey, study, config, settings)
    return read_study(study, config, settings)


@dataclass(frozen=True)
class _TrialTaskFactory:
    """Makes tasks from settings; ``base`` are members with the present settings."""

    work: Path
    base: tuple[MemberTask, ...]
    epochs: int

    def task(self, number: int, first: int, params: dict[str, object]) -> TrialTask:
        # A trial asked for again goes on where the one before was stopped.
        folder = self.work / f"trial_{first:04d}"
        members = (
            MemberTask(m.survey, folder, m.number, m.spec, self._config(m, params), m.data)
            for m in self.base
        )
        return TrialTask(number, tuple(members))

    def _config(self, member: MemberTask, params: dict[str, object]) -> TrainConfig:
        return overridden(member.config, params).model_copy(update={"epochs": self.epochs})


def _begin(
    survey: Address, study: Path, config: TrainConfig, settings: TuneConfig
) -> _TrialTaskFactory:
    """Begin a study or go on with the one there, of the same data and settings."""
    need_optuna()
    tuned_hyperparameters(config, settings)
    store = Store.open(survey, "survey")
    spec = InputSpec.of_survey(store, config.network, config.labels)
    check_room(study, spec, config, settings.members)
    split_summary = summarise_split(store, spec, config.split)
    made_from = {"distcnn_version": __version__, "data": split_summary.data, "spec": spec.to_json()}
    asked = {"tune": settings.model_dump(mode="json", exclude={"trials"})}
    Ledger.open(
        study / "ledger.jsonl",
        made_from | asked | member_settings(config),
        disposable=None if (study / JOURNAL).exists() else frozenset(),
        cure="Ask for the same again, use another folder, or begin again: --restart removes the "
        f"trials in {study}.",
    )
    work = (study / "work").absolute()
    base = tuple(
        MemberTask(store.location.address, work, number, spec, config, split_summary.data)
        for number in range(settings.members)
    )
    return _TrialTaskFactory(work, base, settings.epochs)


def _tell(
    ask_tell: AskTellStudy, outcome: TaskResult[TrialTask, TrialResult], listener: Listener
) -> BaseException | None:
    """Note how a trial ended; returns the error of one that must be asked for again."""
    number, error = outcome.task.number, outcome.error
    if error is None:
        result = outcome.unwrap()
        ask_tell.tell(number, result.validation, result.seconds)
    elif isinstance(error, TrainingError):
        ask_tell.tell_diverged(number)
        listener(Notice(f"trial {number}: {error}", "warning"))
    else:
        ask_tell.tell_failed(number)
        listener(Notice(f"trial {number} has failed: {error}", "warning"))
        return error
    _report(ask_tell.state(), number, listener)
    listener(Advanced(STAGE, 1, note=f"trial {number}"))
    return None


def _report(study: Study, number: int, listener: Listener) -> None:
    trial = next(trial for trial in study.trials if trial.number == number)
    if trial.value is None:
        return
    settings = ", ".join(f"{name} {value:.4g}" for name, value in trial.params.items())
    place = " (the best so far)" if study.best == trial else ""
    listener(Notice(f"trial {number}: validation {trial.value:.4f}{place}; {settings}"))


def discard_study(study: Path) -> None:
    """Remove every trial of a study, finished or not.

    Raises
    ------
    UsageError : another process works on it.
    """
    if not (study / "ledger.jsonl").exists():
        return
    with _alone(study):
        empty_folder(study)


@contextmanager
def _alone(study: Path) -> Iterator[None]:
    """No one else may work on the study."""
    try:
        lock = FileLock.acquire(study / FOLDER_LOCK)
    except LockHeld:
        raise UsageError(
            f"another `distcnn tune` works on {study}",
            cure="Wait for its end, or give another folder.",
        ) from None
    with lock:
        yield
