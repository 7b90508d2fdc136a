"""Reading configuration: YAML file, then ``--set key=value``; errors name file, line and key."""

from collections.abc import Iterable
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_core import ErrorDetails

from distcnn.config.base import Frozen
from distcnn.config.checks import ChecksConfig
from distcnn.config.imported import ImportedConfig
from distcnn.config.maps import MapsConfig
from distcnn.config.objects import ObjectsConfig
from distcnn.config.predict import PredictConfig, QualityConfig
from distcnn.config.reading.cluster_choice import put_below
from distcnn.config.reading.idle import idle_keys
from distcnn.config.reading.yaml_file import conf_folder, parse_yaml, print_yaml, read_yaml
from distcnn.config.resources import ResourcesConfig, redundant, settle
from distcnn.config.run import (
    AnyClusterConfig,
    BackendConfig,
    CompareConfig,
    DemoConfig,
    LocalConfig,
    MonitorConfig,
    ReportConfig,
    cluster_model,
    own_cluster_models,
)
from distcnn.config.survey.ingest import IngestConfig
from distcnn.config.survey.simulate import SimulateConfig
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
    imported: ImportedConfig = ImportedConfig()
    """``distcnn package import``."""
    quality: QualityConfig = QualityConfig()
    """Limits, novelty and calibration, fitted by ``distcnn train``, ``distcnn distil`` and
    ``distcnn package import``."""
    predict: PredictConfig = PredictConfig()
    """``distcnn predict`` and ``distcnn verify``."""
    maps: MapsConfig = MapsConfig()
    """``distcnn map``."""
    compare: CompareConfig = CompareConfig()
    """``distcnn compare``."""
    report: ReportConfig = ReportConfig()
    """``distcnn report``."""
    checks: ChecksConfig = ChecksConfig()
    """``distcnn check``."""
    cluster: AnyClusterConfig = LocalConfig()
    """``--cluster``."""
    monitor: MonitorConfig = MonitorConfig()
    """Who hears of progress, beside the console; every command."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a worker may use, for every command."""
    objects: ObjectsConfig = ObjectsConfig()
    """How ``s3://``, ``gs://`` and ``az://`` are reached, for every command."""
    demo: DemoConfig = DemoConfig()
    """``distcnn demo``."""

    @model_validator(mode="after")
    def _settle(self) -> Self:
        # In place, since a validator has to give back the object that it was given.
        settled = settle(self)
        self.__dict__.update(settled.__dict__)
        self.model_fields_set.update(settled.model_fields_set)
        return self


def load_config(
    path: str | Path | None = None, sets: Iterable[str] = (), cluster: str | None = None
) -> Config:
    """Read a configuration and override single values.

    Parameters
    ----------
    path : YAML file, or the bare name of one that comes with distcnn (``demo``); None = defaults.
    sets : ``section.key=value`` texts; values are YAML.
    cluster : where the work runs: a preset of ``conf/clusters``, a YAML file with the sections
        ``cluster`` and ``resources``, or the address of a scheduler; the keys of ``path`` and of
        ``sets`` go before its own. None = as these say.

    Raises
    ------
    ConfigError : file unreadable, unknown key, or value out of range; names file, line and key.
    """
    sets = tuple(sets)
    tree: dict[str, Any] = {}
    places: dict[str, str] = {}
    origin = "defaults"
    if path is not None:
        found = _find(Path(path))
        origin = str(found)
        tree, places = read_yaml(found)
    if cluster is not None:
        tree, places = put_below(tree, places, cluster)
    for text in sets:
        _override(tree, text)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, origin, places, sets, tree) from None
    for key, value, only in idle_keys(config):
        raise ConfigError(
            f"{_place_of(key, origin, places, sets)}: {'.'.join(key)} = {value!r} has no effect",
            expected=f"it only {only}",
            cure="Leave it out.",
        )
    return config


def to_yaml(config: Config, title: str) -> str:
    """Every section as YAML under a comment; ``load_config`` reads it back.

    A key that has its value from another one is left out, so that changing the other changes it.
    """
    tree = config.model_dump(mode="json")
    for *sections, key in redundant(config):
        del reduce(getitem, sections, tree)[key]
    return f"# {title}\n{print_yaml(tree)}"


def shipped_configurations() -> dict[str, str]:
    """Name of every configuration that comes along -> the first line of its comment."""
    found = {}
    for folder in _shipped_folders():
        for path in sorted(folder.glob("*.yaml")):
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            found[path.stem] = first.removeprefix("#").strip()
    return found


def _shipped_folders() -> tuple[Path, Path]:
    """Folders of configurations that a name alone finds."""
    return conf_folder(), conf_folder() / "surveys"


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    for folder in _shipped_folders():
        shipped = folder / f"{path.name.removesuffix('.yaml')}.yaml"
        if path.parent == Path() and shipped.is_file():
            return shipped
    names = [f.stem for folder in _shipped_folders() for f in sorted(folder.glob("*.yaml"))]
    raise ConfigError(
        f"there is no configuration file {str(path)!r}",
        expected=f"a YAML file, or one of {', '.join(names)}",
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
    place[last] = parse_yaml(value, f"--set {text}")[0]


def _explain(
    error: ValidationError,
    origin: str,
    places: dict[str, str],
    sets: tuple[str, ...],
    tree: dict[str, Any],
) -> ConfigError:
    # A misspelt key often makes another one missing: the misspelling is the cause.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    # Where there is a choice of types, pydantic names the one it tried; no key is called so.
    key = ".".join(str(part) for part in first["loc"] if part not in _TYPES)
    where = _place_of(first["loc"], origin, places, sets)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "missing":
        beside = ", ".join(map(str, first["input"] or ())) or "nothing"
        parts = [*map(str, first["loc"][:-1])]
        near = [text for text in sets if _name_of(text).split(".")[:-1] == parts]
        where = f"--set {near[0]}" if near else where
        cure = f"Give the whole section {'.'.join(parts)}; its defaults are a whole, too."
        return ConfigError(f"{where}: {key} is missing", expected=f"it beside {beside}", cure=cure)
    if first["type"] != "extra_forbidden":
        expected, cure = _wanted(first)
        return ConfigError(
            f"{where}: {key} = {first['input']!r}{more}", expected=expected, cure=cure
        )
    names = sorted(_fields_at(first["loc"][:-1], tree))
    cure = did_you_mean(str(first["loc"][-1]), names, f"Known here: {', '.join(names)}.")
    section, dot, rest = str(first["loc"][-1]).partition(".")
    if dot and section in names:
        cure = f"Write it as '{section}: {{{rest}: ...}}': dots are for --set."
    if first["loc"][:-1] == ("cluster",):
        cure = _of_another_backend(str(first["loc"][-1])) or cure
    return ConfigError(f"{where}: unknown key {key!r}{more}", cure=cure)


_TYPES = {"str", "int", "float", "bool", "tuple[str, ...]", "tuple[str,...]"}
"""Names of types within a place of pydantic's errors."""


def _wanted(found: ErrorDetails) -> tuple[str, str]:
    """What should have stood there, and the cure."""
    kind, given = found["type"], found["input"]
    if kind in {"model_type", "dict_type"}:
        cure = "Leave the section out for the defaults." if given is None else ""
        return "a section: keys with a colon, a space and a value", cure
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "a text", "Put it in quotes."
    if given is None and kind in {"string_type", "tuple_type"}:
        return "a text or a list of texts", "Give a value, or leave the key out."
    message = found["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return message[0].lower() + message[1:], ""


def _name_of(text: str) -> str:
    """The key of a --set."""
    return text.partition("=")[0].strip()


def _place_of(
    path: tuple[int | str, ...], origin: str, places: dict[str, str], sets: tuple[str, ...]
) -> str:
    """The --set, or file and line, of the key; of its section where the key is missing."""
    given = {_name_of(text): text for text in sets}
    for length in range(len(path), 0, -1):
        name = ".".join(map(str, path[:length]))
        if name in given:
            return f"--set {given[name]}"
        if name in places:
            return places[name]
    return origin


def _fields_at(path: tuple[int | str, ...], tree: dict[str, Any]) -> set[str]:
    """Names of the fields of the section at ``path``, following its type annotations."""
    models: list[Any] = [Config]
    for part in path:
        fields = [m.model_fields[part] for m in models if str(part) in m.model_fields]
        models = [m for field in fields for m in _models_in(field.annotation)] or models
    if BackendConfig in models:
        models = [cluster_model(tree["cluster"].get("backend", "local"))]
    return {name for model in models for name in model.model_fields}


def _of_another_backend(key: str) -> str:
    """The cure for a key of the section ``cluster`` that other backends have; else empty."""
    having = [name for name, model in own_cluster_models().items() if key in model.model_fields]
    return f"It is a key of {' and '.join(having)}: choose that with --cluster." if having else ""


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
