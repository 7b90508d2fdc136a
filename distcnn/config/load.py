"""Reading configuration: YAML file, then ``--set key=value``; errors name file, line and key."""

from collections.abc import Iterable
from functools import reduce
from importlib import resources
from operator import getitem
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError, model_validator

from distcnn.config.base import Frozen
from distcnn.config.predict import PredictConfig, QualityConfig
from distcnn.config.resources import ResourcesConfig, redundant, settle
from distcnn.config.run import (
    AnyClusterConfig,
    ClusterConfig,
    DemoConfig,
    MonitorConfig,
    ReportConfig,
    own_cluster_models,
)
from distcnn.config.simulate import SimulateConfig
from distcnn.config.survey import IngestConfig
from distcnn.config.train import DistilConfig, TrainConfig, TuneConfig
from distcnn.errors import ConfigError
from distcnn.formatting import did_you_mean


class Config(Frozen):
    """The whole configuration: one section per stage, which receives that section only."""

    simulate: SimulateConfig = SimulateConfig()
    """``distcnn simulate``."""
    ingest: IngestConfig = IngestConfig()
    """``distcnn ingest``."""
    train: TrainConfig = TrainConfig()
    """``distcnn train``."""
    tune: TuneConfig = TuneConfig()
    """``distcnn tune``."""
    distil: DistilConfig = DistilConfig()
    """``distcnn distil``."""
    quality: QualityConfig = QualityConfig()
    """Limits, novelty and calibration, fitted by ``distcnn train`` and ``distcnn distil``."""
    predict: PredictConfig = PredictConfig()
    """``distcnn predict`` and ``distcnn verify``."""
    report: ReportConfig = ReportConfig()
    """``distcnn report``."""
    cluster: AnyClusterConfig = ClusterConfig()
    """``--cluster``."""
    monitor: MonitorConfig = MonitorConfig()
    """Who hears of progress, beside the console; every command."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a worker may use, for every command."""
    demo: DemoConfig = DemoConfig()
    """``distcnn demo``."""

    @model_validator(mode="after")
    def _settle(self) -> Self:
        # In place, since a validator has to give back the object that it was given.
        settled = settle(self)
        self.__dict__.update(settled.__dict__)
        self.model_fields_set.update(settled.model_fields_set)
        return self


def conf_folder() -> Path:
    """Folder of the configurations that come with distcnn (wheel or checkout)."""
    package = Path(str(resources.files("distcnn")))
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def load_config(path: str | Path | None = None, sets: Iterable[str] = ()) -> Config:
    """Read a configuration and override single values.

    Parameters
    ----------
    path : YAML file, or the bare name of one that comes with distcnn (``demo``); None = defaults.
    sets : ``section.key=value`` texts; values are YAML.

    Raises
    ------
    ConfigError : file unreadable, unknown key, or value out of range; names file, line and key.
    """
    sets = tuple(sets)
    tree: dict[str, Any] = {}
    lines: dict[str, int] = {}
    origin = "defaults"
    if path is not None:
        found = _find(Path(path))
        origin = str(found)
        tree, lines = _read(found)
    for text in sets:
        _override(tree, text)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, origin, lines, sets) from None


def to_yaml(config: Config, title: str) -> str:
    """Every section as YAML under a comment; ``load_config`` reads it back.

    A key that has its value from another one is left out, so that changing the other changes it.
    """
    tree = config.model_dump(mode="json")
    for *sections, key in redundant(config):
        del reduce(getitem, sections, tree)[key]
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return f"# {title}\n{text}"


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = conf_folder() / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.parent == Path() and shipped.is_file():
        return shipped
    names = sorted(file.stem for file in conf_folder().glob("*.yaml"))
    raise ConfigError(
        f"there is no configuration file {str(path)!r}",
        expected=f"a YAML file, or one of {', '.join(names)}",
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        text = path.read_text(encoding="utf-8")
        tree, lines = _parsed(text, str(path))
    # Of a date that is none (2022-13-45) the library says ValueError.
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable as YAML ({error})") from None
    if tree is None:
        return {}, lines
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}", expected="sections of keys")
    return tree, lines


def _parsed(text: str, origin: str) -> tuple[Any, dict[str, int]]:
    """What a YAML text holds, and the line of every key.

    Raises
    ------
    ConfigError : a key stands twice in one section; YAML itself would forget the first.
    ValueError, yaml.YAMLError, RecursionError : it is no YAML, or holds itself.
    """
    node = yaml.compose(text)
    lines: dict[str, int] = {}
    if node is not None:
        _note_lines(node, "", lines, origin)
    return yaml.safe_load(text), lines


def _note_lines(node: yaml.Node, prefix: str, lines: dict[str, int], origin: str) -> None:
    if isinstance(node, yaml.MappingNode):
        own = dict[str, int]()
        for key, value in node.value:
            name, line = f"{prefix}{_text_of(key)}", key.start_mark.line + 1
            if name in own:
                raise _given_twice(name, own[name], line, origin)
            own[name] = lines[name] = line
            _note_lines(value, f"{name}.", lines, origin)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, f"{prefix}{index}.", lines, origin)


def _text_of(key: yaml.Node) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark)


def _given_twice(name: str, first: int, line: int, origin: str) -> ConfigError:
    return ConfigError(
        f"{origin}, line {line}: {name!r} is given again; it stands in line {first} already",
        expected="every key once in its section",
        cure="Put what both have into one of them, and remove the other.",
    )


def _override(tree: dict[str, Any], text: str) -> None:
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"--set {text!r} has no '='", expected="--set section.key=value")
    *parents, last = key.strip().split(".")
    place = tree
    for name in parents:
        below = place.setdefault(name, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {text!r}: {name!r} is a value, not a section")
        place = below
    try:
        place[last] = _parsed(value, f"--set {text}")[0]
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"--set {text!r} is not readable as YAML ({error})") from None


def _explain(
    error: ValidationError, origin: str, lines: dict[str, int], sets: tuple[str, ...]
) -> ConfigError:
    # A misspelt key often makes another one missing: the misspelling is the cause.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    where = _place_of(first["loc"], origin, lines, sets)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        return ConfigError(f"{where}: {key} = {first['input']!r}{more}", expected=message)
    names = sorted(_fields_at(first["loc"][:-1]))
    cure = did_you_mean(str(first["loc"][-1]), names, f"Known here: {', '.join(names)}.")
    return ConfigError(f"{where}: unknown key {key!r}{more}", cure=cure)


def _place_of(
    path: tuple[int | str, ...], origin: str, lines: dict[str, int], sets: tuple[str, ...]
) -> str:
    """The --set, or file and line, of the key; of its section where the key is missing."""
    given = {text.partition("=")[0].strip(): text for text in sets}
    for length in range(len(path), 0, -1):
        name = ".".join(map(str, path[:length]))
        if name in given:
            return f"--set {given[name]}"
        if name in lines:
            return f"{origin}, line {lines[name]}"
    return origin


def _fields_at(path: tuple[int | str, ...]) -> set[str]:
    """Names of the fields of the section at ``path``, following its type annotations."""
    models: list[Any] = [Config]
    for part in path:
        fields = [m.model_fields[part] for m in models if str(part) in m.model_fields]
        models = [m for field in fields for m in _models_in(field.annotation)] or models
    if ClusterConfig in models:
        models = [ClusterConfig, *own_cluster_models().values()]
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
