"""Resources: what a worker may use, stated once; and keys that take their value from another.

Every stage receives its own section only, so a value that several stages need is copied into
their sections when a configuration is put together: a field marked with ``Follows`` has the
value of another key. Most of these fields are the former names of a key of ``resources``: an
old file, or ``--set``, may still give them, and their value is then moved to where it is now.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from distcnn.config.base import Bytes, Frozen
from distcnn.errors import ConfigError

WORKER_BYTES = 4_000_000_000
"""Memory of a worker by default [bytes]."""
PLANNED_EIGHTHS = 3
"""Eighths of a worker's memory that a plan may count on, unless it is said: 1.5 of 4 GB."""

Device = Literal["auto", "cpu", "cuda"]
Model = TypeVar("Model", bound=Frozen)
Path = tuple[str, ...]


class ResourcesConfig(Frozen):
    """What every worker may use, whatever the stage: training, distillation or prediction."""

    device: Device = "auto"
    """Where the arithmetic runs; ``auto`` takes a GPU where the worker has one."""
    memory: Bytes = WORKER_BYTES
    """Memory of a worker; one that comes near it is killed and started again. Workers that run
    already have limits of their own."""
    planned_memory: Bytes | None = None
    """What a plan may count on of it: a prediction that needs more is refused before it starts.
    Less than ``memory``, because a plan knows what its arrays need, not the peaks of libraries
    and of the allocator. None = three eighths of ``memory``."""

    threads: int = Field(1, ge=1)
    """Threads of a worker's arithmetic. One, on as many workers as there are cores, is fastest and
    gives the same bits everywhere; more are for machines whose memory has no room for that many
    workers, and change results by rounding."""

    @property
    def to_plan(self) -> int:
        """``planned_memory``, or what stands for it [bytes]."""
        if self.planned_memory is not None:
            return self.planned_memory
        return self.memory * PLANNED_EIGHTHS // 8


@dataclass(frozen=True)
class Follows:
    """Marks a field that has the value of ``key`` unless it is given.

    ``former``: the field is another name of ``key``, mostly from before there was ``resources``.
    Giving it gives ``key``; giving both must give the same.
    """

    key: str
    former: bool = False


ResourceDevice = Annotated[Device, Follows("resources.device", former=True)]
WorkerMemory = Annotated[Bytes, Follows("resources.memory", former=True)]
WorkerThreads = Annotated[int, Field(ge=1), Follows("resources.threads", former=True)]
PlannedMemory = Annotated[Bytes, Follows("resources.planned_memory", former=True)]


def followers(model: type[Frozen], path: Path = ()) -> Iterator[tuple[Path, Follows]]:
    """The marked fields of a model and of its sections, with their paths."""
    for name, field in model.model_fields.items():
        yield from (((*path, name), mark) for mark in field.metadata if isinstance(mark, Follows))
        if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen):
            yield from followers(field.annotation, (*path, name))


def settle(config: Model) -> Model:
    """A copy in which former keys are moved and every follower has the value it follows.

    Former keys of one value that differ from each other, as one file for several stages may have
    them, are left where they are: each still counts for its own stage.

    Raises
    ------
    ConfigError : a key and its former name are given different values.
    """
    marks = list(followers(type(config)))
    for key in dict.fromkeys(mark.key for _, mark in marks if mark.former):
        given = [path for path, mark in marks if mark.key == key and _is_given(config, path)]
        config = _moved(config, _split(key), given)
    for path, mark in marks:
        if not _is_given(config, path):
            config = _replaced(config, path, _followed(config, _split(mark.key)))
    return config


def redundant(config: Frozen) -> Iterator[Path]:
    """The paths that are not written: followers that say what their key says.

    Where former names of a key differ from each other they are what counts, and the key is not.
    """
    marks = list(followers(type(config)))
    for mark in dict.fromkeys(mark for _, mark in marks):
        paths = [path for path, its in marks if its == mark]
        if {_value(config, path) for path in paths} == {_followed(config, _split(mark.key))}:
            yield from paths
        elif mark.former:
            yield _split(mark.key)


def _moved(config: Model, key: Path, given: list[Path]) -> Model:
    values = [_value(config, path) for path in given]
    if not _is_given(config, key):
        return _replaced(config, key, values[0], given=True) if len(set(values)) == 1 else config
    for path, value in zip(given, values, strict=True):
        if value != _followed(config, key):
            now, former = ".".join(key), ".".join(path)
            raise ConfigError(
                f"{now} = {_followed(config, key)!r} and {former} = {value!r}",
                expected=f"one value, since {former} is the former name of {now}",
                cure=f"Leave out {former}.",
            )
    return config


def _followed(config: Frozen, key: Path) -> Any:
    section = _value(config, key[:-1])
    if isinstance(section, ResourcesConfig) and key[-1] == "planned_memory":
        return section.to_plan
    return getattr(section, key[-1])


def _split(key: str) -> Path:
    return tuple(key.split("."))


def _value(config: Frozen, path: Path) -> Any:
    return reduce(getattr, path, config)


def _is_given(config: Frozen, path: Path) -> bool:
    return path[-1] in _value(config, path[:-1]).model_fields_set


def _replaced(config: Model, path: Path, value: Any, *, given: bool = False) -> Model:
    """A copy with another value at a path; whether keys were given stays as it was."""
    name, *below = path
    if below:
        value = _replaced(getattr(config, name), tuple(below), value, given=given)
    copy = config.model_copy(update={name: value})
    known = config.model_fields_set | ({name} if given else set())
    object.__setattr__(copy, "__pydantic_fields_set__", set(known))
    return copy
