"""YAML with the lines of its keys; a key that stands twice is an error, not forgotten."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from distcnn.errors import ConfigError


def conf_folder() -> Path:
    """Folder of the configurations that come with distcnn (wheel or checkout)."""
    package = Path(str(resources.files("distcnn")))
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The sections of a file, and where each of their keys stands (``my.yaml, line 3``).

    Raises
    ------
    ConfigError : the file is not readable, or holds something else; or a key stands there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree, lines = parse_yaml(text, str(path))
    # Of a date that is none (2022-13-45) the library says ValueError.
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable as YAML ({error})") from None
    places = {name: f"{path}, line {line}" for name, line in lines.items()}
    if tree is None:
        return {}, places
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}", expected="sections of keys")
    return tree, places


def parse_yaml(text: str, origin: str) -> tuple[Any, dict[str, int]]:
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
