"""Study: trials of other settings, and which were best. Knows no Optuna and runs nothing."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distcnn.config import Config, Range, TrainConfig, TuneConfig, to_yaml
from distcnn.errors import ConfigError
from distcnn.files import atomic_write_bytes

HYPERPARAMETERS: dict[str, tuple[str, ...]] = {
    "learning_rate": ("learning_rate",),
    "weight_decay": ("weight_decay",),
    "batch": ("batch",),
    "dropout": ("network", "dropout"),
    "width": ("network", "width"),
    "hidden": ("network", "hidden"),
    "noise": ("augment", "noise"),
}
"""Where each hyper-parameter is in the settings of training."""
_OF_HYBRID = ("dropout", "width", "hidden")
Params = dict[str, Any]
Space = Range | tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One trial: ``value`` is its validation loss [nat per label], None where it has none.

    ``state`` is ``complete``, ``diverged`` (training could not go on), ``failed`` (its worker
    or driver died; its settings are asked for again) or ``running``. ``seconds`` on its worker.
    """

    number: int
    state: str
    value: float | None
    params: Params
    seconds: float | None = None

    @property
    def finished(self) -> bool:
        return self.state in ("complete", "diverged")


@dataclass(frozen=True)
class Study:
    """What a study has come to, ``wanted`` trials being asked for; prints as text.

    ``error`` is why a trial of this run failed, for the caller to raise when all is written.
    """

    path: Path
    hyperparameters: Mapping[str, Space]
    trials: tuple[Trial, ...]
    wanted: int
    config: TrainConfig = field(repr=False)
    error: BaseException | None = None

    @property
    def finished(self) -> list[Trial]:
        """The trials that count."""
        return [trial for trial in self.trials if trial.finished]

    @property
    def best(self) -> Trial | None:
        """The complete trial with the lowest loss; the earlier one of equals."""
        ranked = [(t.value, t.number, t) for t in self.trials if t.value is not None]
        return min(ranked)[2] if ranked else None

    def best_settings(self) -> TrainConfig:
        """The settings of training with the hyper-parameters of the best trial."""
        return self.config if self.best is None else overridden(self.config, self.best.params)

    def __str__(self) -> str:
        return "\n".join([*self._plan(), *self._result()])

    def _plan(self) -> Iterator[str]:
        waiting = max(0, self.wanted - len(self.finished))
        yield f"{self.path}: {len(self.finished)} of {self.wanted} trials done, {waiting} to go"
        for name, space in self.hyperparameters.items():
            yield f"  {name:14s} {_text(space):28s} now {value_of(self.config, name):.4g}"
        seconds = [trial.seconds for trial in self.finished if trial.seconds is not None]
        if not seconds:
            yield "  time           not known before the first trial"
            return
        mean = sum(seconds) / len(seconds)
        ahead = f", {mean * waiting / 60:.3g} minutes of workers to go" if waiting else ""
        yield f"  time           {mean:.3g} s per trial{ahead}"

    def _result(self) -> Iterator[str]:
        best, now = self.best, values_of(self.config, self.hyperparameters)
        if best is None:
            return
        for trial in self.trials[:1]:
            if trial.value is not None and trial.params == now:
                yield f"  present        validation loss {trial.value:.4f} (trial {trial.number})"
        yield f"  best           validation loss {best.value:.4f} (trial {best.number})"
        yield from (f"    {name:13s} {value:.4g}" for name, value in best.params.items())


def tuned_hyperparameters(config: TrainConfig, settings: TuneConfig) -> dict[str, Space]:
    """The hyper-parameters that are tuned: not null, and with an effect on this network.

    Raises
    ------
    ConfigError : none is left, or one may stand where training does not take it.
    """
    found = {name: getattr(settings, name) for name in HYPERPARAMETERS}
    idle: list[str] = [] if config.network.preset == "hybrid" else list(_OF_HYBRID)
    idle += [] if config.network.spectrum else ["noise"]
    hyperparameters = {
        n: space for n, space in found.items() if space is not None and n not in idle
    }
    if not hyperparameters:
        raise ConfigError(
            "no hyper-parameter is tuned", cure="Give one of those under tune a range."
        )
    for name, space in hyperparameters.items():
        for end in (space.low, space.high) if isinstance(space, Range) else space:
            _check(config, name, end)
    return hyperparameters


def _check(config: TrainConfig, name: str, value: float) -> None:
    try:
        overridden(config, {name: value})
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        expected = message[0].lower() + message[1:]
        raise ConfigError(f"tune.{name} reaches {value:g}", expected=expected) from None


def overridden(config: TrainConfig, params: Mapping[str, Any]) -> TrainConfig:
    """Settings of training with some hyper-parameters overridden."""
    tree = config.model_dump()
    for name, value in params.items():
        *parents, last = HYPERPARAMETERS[name]
        place = tree
        for parent in parents:
            place = place[parent]
        place[last] = value
    return TrainConfig.model_validate(tree)


def value_of(config: TrainConfig, name: str) -> Any:
    """Value of a hyper-parameter."""
    place: Any = config
    for part in HYPERPARAMETERS[name]:
        place = getattr(place, part)
    return place


def values_of(config: TrainConfig, names: Mapping[str, Space]) -> Params:
    """Values of some hyper-parameters."""
    return {name: value_of(config, name) for name in names}


def write_table(study: Study) -> Path:
    """``trials.csv``: number, state, validation loss, seconds and hyper-parameters of trials."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", "state", "validation", "seconds", *study.hyperparameters])
    for trial in study.trials:
        seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
        hyperparameters = [trial.params[name] for name in study.hyperparameters]
        writer.writerow([trial.number, trial.state, trial.value, seconds, *hyperparameters])
    path = study.path / "trials.csv"
    atomic_write_bytes(path, stream.getvalue().encode())
    return path


def write_best(study: Study, whole: Config) -> Path:
    """``best.yaml``: the whole configuration with the settings of the best trial."""
    title = f"Best of {len(study.finished)} trials. {study.path.name}/trials.csv has them all."
    best = whole.model_copy(update={"train": study.best_settings()})
    path = study.path / "best.yaml"
    atomic_write_bytes(path, to_yaml(best, title).encode())
    return path


def _text(space: Space) -> str:
    if isinstance(space, Range):
        return f"{space.low:g} to {space.high:g}" + (" (logarithmic)" if space.log else "")
    return ", ".join(map(str, space))
