"""YAML with the lines of its keys; a key that stands twice is an error, not forgotten."""

import codecs
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

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
        tree, lines = parse_yaml(_text_in(path), str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None
    places = {name: f"{path}, line {line}" for name, line in lines.items()}
    if tree is None:
        return {}, places
    if not isinstance(tree, dict):
        kind = {"list": "list", "str": "text"}.get(type(tree).__name__, "single value")
        raise ConfigError(
            f"{path} holds a {kind}", expected="sections of keys, such as 'train: {members: 8}'"
        )
    return tree, places


def parse_yaml(text: str, origin: str) -> tuple[Any, dict[str, int]]:
    """What a YAML text holds, and the line of every key.

    Raises
    ------
    ConfigError : it is no YAML, or holds itself; or a key stands twice in one section, of which
        YAML itself would forget the first.
    """
    lines: dict[str, int] = {}
    try:
        node = yaml.compose(text, _Loader)
        if node is not None:
            _note_lines(node, "", lines, origin)
        return yaml.load(text, _Loader), lines  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise _not_readable(error, origin) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{origin}, line {line}: a character that is no text, U+{error.character:04X}"
        ) from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{origin} is not readable as YAML ({error})") from None


def print_yaml(tree: dict[str, Any]) -> str:
    """YAML that ``parse_yaml`` reads back."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _text_in(path: Path) -> str:
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # of Windows: "Unicode"
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: byte {data[error.start]:#x} is no UTF-8",
            expected="a text in UTF-8",
            cure="Save the file in that encoding.",
        ) from None


class _Loader(yaml.SafeLoader):
    """Scalars as YAML 1.2 and most people read them.

    PyYAML has the rules of 1.1, with which ``010`` is 8, ``12:30`` is 750, ``no`` is false,
    ``2022-06-13`` is a date and ``1e3`` is a text. What is none of these here is a text, which a
    setting that is a number takes if it is one.
    """


_Loader.yaml_implicit_resolvers = {}


class _Dumper(yaml.SafeDumper):
    """Quotes what either version would take for something else than a text."""


_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
"""What a scalar without quotes is, and the letters it may begin with."""
for _name, (_form, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_form})\\Z"), _first
        )

_CURES = (
    ("'\\t'", "Indent with spaces, not with tabs."),
    ("alias", "Put a text that begins with * or & in quotes."),
    ("constructor for the tag", "Put a text that begins with ! in quotes."),
    ("cannot start any token", "Put a text that begins with such a letter in quotes."),
    ("escape character", "Use single quotes: within double ones a backslash is special."),
    ("another document", "Keep one document: remove the line '---' in the middle."),
    ("mapping values", "Write 'key: value', the colon after every key and a space after it."),
)


def _not_readable(error: yaml.MarkedYAMLError, origin: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    where = f"{origin}, line {mark.line + 1}, column {mark.column + 1}" if mark else origin
    problem = " ".join(filter(None, (error.context, error.problem)))
    cure = next((cure for part, cure in _CURES if part in problem), "")
    return ConfigError(f"{where}: not readable as YAML ({problem})", cure=cure)


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
