"""Ask and tell: where trials come from and are reported to; nothing else knows Optuna.

Optuna chooses the settings (TPE, Bergstra et al. 2011) and keeps its own journal. The choice of
trial k is seeded by k and by what was reported before, so a study that was stopped goes on as if it
had not been. Only one process at a time may hold an ``AskTellStudy``; reading is free.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from distcnn.config import Range, TrainConfig, TuneConfig
from distcnn.errors import MissingExtra
from distcnn.training.data.loader import derived_seed
from distcnn.training.tuning.study import (
    Params,
    Space,
    Study,
    Trial,
    tuned_hyperparameters,
    values_of,
)

JOURNAL, NAME = "journal.jsonl", "tune"
RETRY_OF = "again"
"""Mark of a trial that repeats one that failed: the number of the first of them."""


def need_optuna() -> Any:
    """The module, set to be silent.

    Raises
    ------
    MissingExtra : it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra.of("Studies", "optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def read_study(path: Path, config: TrainConfig, settings: TuneConfig) -> Study:
    """What the journal says, whoever may be writing it."""
    optuna, hyperparameters = need_optuna(), tuned_hyperparameters(config, settings)
    trials: tuple[Trial, ...] = ()
    if (path / JOURNAL).exists():
        loaded = optuna.load_study(study_name=NAME, storage=_storage(optuna, path))
        trials = _trials(optuna, loaded, hyperparameters)
    return Study(path, hyperparameters, trials, settings.trials, config)


class AskTellStudy:
    """Asks Optuna for trials and tells it how they ended.

    Parameters
    ----------
    path : folder of the study; trials that were running when it was left are asked for again.
    config : settings of training; the first trial has them as they are.
    settings : hyper-parameters and seed.
    """

    def __init__(self, path: Path, config: TrainConfig, settings: TuneConfig) -> None:
        self.path, self.config, self.settings = path, config, settings
        self.optuna, self.hyperparameters = need_optuna(), tuned_hyperparameters(config, settings)
        self.spaces = {
            name: self._distribution(space) for name, space in self.hyperparameters.items()
        }
        _mend(path / JOURNAL)
        self.study = self.optuna.create_study(
            storage=_storage(self.optuna, path), study_name=NAME, load_if_exists=True
        )
        self.asked: dict[int, Any] = {}
        self._revive()

    def _distribution(self, space: Space) -> Any:
        kinds = self.optuna.distributions
        if isinstance(space, Range):
            return kinds.FloatDistribution(space.low, space.high, log=space.log)
        return kinds.CategoricalDistribution(space)

    def _revive(self) -> None:
        states, now = self.optuna.trial.TrialState, values_of(self.config, self.hyperparameters)
        if not self.study.trials and self._within(now):
            self.study.enqueue_trial(now)
        for trial in self.study.get_trials(states=(states.RUNNING,)):
            self.study.tell(trial.number, state=states.FAIL)
        trials = self.study.trials
        alive = {_first(trial) for trial in trials if trial.state != states.FAIL}
        for trial in trials:
            settings = self._chosen(trial)
            if _first(trial) not in alive and settings is not None:
                alive.add(_first(trial))
                self.study.enqueue_trial(settings, user_attrs={RETRY_OF: _first(trial)})

    def _chosen(self, trial: Any) -> Params | None:
        """Settings of a trial; None if its process died while it chose them.

        Those that were chosen are no reason to keep them: the seed of the next trial is the same
        and chooses all of them again, as if nothing had happened.
        """
        if set(self.hyperparameters) <= set(trial.params):
            return dict(trial.params)
        return cast("Params | None", trial.system_attrs.get("fixed_params"))

    def _within(self, now: Params) -> bool:
        return all(
            space.low <= now[name] <= space.high if isinstance(space, Range) else now[name] in space
            for name, space in self.hyperparameters.items()
        )

    def ask_all(self) -> Iterator[tuple[int, int, Params]]:
        """One trial after the other until there are enough, each chosen when it is taken.

        Its number, the number of the first one with the same settings, and the settings.
        """
        for count in range(len(self.state().finished), self.settings.trials):
            seed = derived_seed(self.settings.seed, count) % 2**32
            self.study.sampler = self.optuna.samplers.TPESampler(seed=seed)
            trial = self.study.ask(self.spaces)
            self.asked[trial.number] = trial
            yield trial.number, _first(trial), trial.params

    def tell(self, number: int, value: float, seconds: float) -> None:
        """A trial is complete."""
        trial = self.asked.pop(number)
        trial.set_user_attr("seconds", seconds)
        self.study.tell(trial, value)

    def tell_diverged(self, number: int) -> None:
        """Training could not go on with these settings."""
        # Pruned without a value: Optuna takes it for the worst, and keeps away from there.
        self.study.tell(self.asked.pop(number), state=self.optuna.trial.TrialState.PRUNED)

    def tell_failed(self, number: int) -> None:
        """Not the fault of the settings; the next run asks for them again."""
        self.study.tell(self.asked.pop(number), state=self.optuna.trial.TrialState.FAIL)

    def state(self) -> Study:
        """What the study has come to."""
        trials = _trials(self.optuna, self.study, self.hyperparameters)
        return Study(self.path, self.hyperparameters, trials, self.settings.trials, self.config)


def _storage(optuna: Any, path: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(path / JOURNAL), _NoLock())
    return optuna.storages.JournalStorage(backend)


class _NoLock:
    """No lock: one process works on a study, and the journal's own lock outlives a dead one."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> None:
    """Cut off the line that a killed process left unfinished."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _first(trial: Any) -> int:
    return int(trial.user_attrs.get(RETRY_OF, trial.number))


def _trials(optuna: Any, study: Any, hyperparameters: dict[str, Space]) -> tuple[Trial, ...]:
    states = optuna.trial.TrialState
    names = {
        states.COMPLETE: "complete",
        states.PRUNED: "diverged",
        states.FAIL: "failed",
        states.RUNNING: "running",
    }
    return tuple(
        Trial(
            trial.number,
            names[trial.state],
            trial.value,
            {name: trial.params[name] for name in hyperparameters},
            trial.user_attrs.get("seconds"),
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state in names and set(hyperparameters) <= set(trial.params)
    )
