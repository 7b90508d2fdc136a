"""The reference of all settings, printed from the models: ``python -m distcnn.config.describe``."""

import inspect
import json
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distcnn.config.base import Frozen, parse_bytes
from distcnn.config.reading.load import Config
from distcnn.config.resources import Follows, followers
from distcnn.config.run import BackendConfig, ClusterConfig, SerialConfig, own_cluster_models
from distcnn.formatting import format_bytes

HEAD = """# Settings

Printed from the code by `python -m distcnn.config.describe > conf/README.md`.

A command reads a YAML file with these sections (`--conf FILE`; the name of a file in this
folder or in `surveys` will do, `--conf demo`), then single values (`--set train.members=4`).
What neither names has the default below. A key that is not listed here is an error. A size is a
number of bytes, or text such as `4 GiB` or `500 MB`.
"""


FORMER = """## Other names

Keys of single sections for what `resources` says for all: names from before that section, still
read. Giving one gives the key of `resources`; giving both is an error unless they agree.

| key | is |
|---|---|"""


def describe() -> str:
    """All settings of every section as Markdown: name, type, default, meaning."""
    return "\n".join([HEAD, *_sections(Config, ""), *_former_names()])


def _former_names() -> Iterator[str]:
    yield FORMER
    for path, mark in followers(Config):
        if mark.former:
            yield f"| `{'.'.join(path)}` | `{mark.key}` |"
    yield ""


def _own_keys_of_backends() -> Iterator[str]:
    for name, model in own_cluster_models().items():
        yield f"## `cluster` with `backend: {name}`\n\n{_paragraphs(model)}\n"
        common = ClusterConfig.model_fields
        fields = model.model_fields.items()
        own = {key: field for key, field in fields if not _is_same(field, common.get(key))}
        if issubclass(model, SerialConfig):
            names = [f"`{k}`" for k in model.model_fields if not _is_former(common[k])]
            yield f"Of the keys above it has {' and '.join(names)}.\n"
        own.pop("backend", None)
        if own:
            yield from _table(own)
        for key, field in own.items():
            if (below := _below(field)) is not None:
                yield f"### `cluster.{key}`{_remark(field)}\n\n{_paragraphs(below)}\n"
                yield from _table(below.model_fields)


def _paragraphs(model: type[Frozen]) -> str:
    return (inspect.getdoc(model) or "").replace("``", "`")


def _is_same(field: FieldInfo, other: FieldInfo | None) -> bool:
    return other is not None and (field.description, field.get_default()) == (
        other.description,
        other.get_default(),
    )


def _sections(model: type[Frozen], prefix: str) -> Iterator[str]:
    fields = model.model_fields.items()
    rows = {
        name: field
        for name, field in fields
        if (_below(field) is None or _is_list(field)) and not _is_former(field)
    }
    if rows:
        yield from _table(rows)
    for name, field in fields:
        below = _below(field)
        if below is not None:
            below = ClusterConfig if below is BackendConfig else below
            yield f"## `{prefix}{name}`{_remark(field)}\n\n{_sentence(field)}\n"
            yield from _sections(below, f"{prefix}{name}.")
            if below is ClusterConfig:
                yield from _own_keys_of_backends()


def _table(rows: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for name, field in rows.items():
        yield f"| `{name}` | {_kind_of(field)} | {_default(field)} | {_sentence(field)} |"
    yield ""


def _below(field: FieldInfo) -> type[Frozen] | None:
    """The model of a field that is a section of its own, or a list of them."""
    for part in (field.annotation, *get_args(field.annotation)):
        if isinstance(part, type) and issubclass(part, Frozen):
            return part
    return None


def _kind_of(field: FieldInfo) -> str:
    return "size" if _is_size(field.metadata) else _kind(field.annotation)


def _is_former(field: FieldInfo) -> bool:
    return any(isinstance(mark, Follows) and mark.former for mark in field.metadata)


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _remark(field: FieldInfo) -> str:
    if _is_list(field):
        return ", each entry"
    return " (may be null)" if type(None) in get_args(field.annotation) else ""


def _sentence(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split()).replace("|", "\\|")
    return text.replace("``", "`")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if _is_size(field.metadata) and parse_bytes(format_bytes(value)) == value:
        value = format_bytes(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _is_size(marks: Iterable[Any]) -> bool:
    return any(getattr(mark, "func", None) is parse_bytes for mark in marks)


def _kind(annotation: Any) -> str:
    """The type in words that a writer of YAML understands."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return "size" if _is_size(parts[1:]) else _kind(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in parts)
    if origin is tuple:
        named = [_kind(part) for part in parts if part is not Ellipsis]
        return f"list of {named[0]}" if Ellipsis in parts else f"[{', '.join(named)}]"
    if origin is dict:
        return f"{_kind(parts[0])}: {_kind(parts[1])}"
    return _WORDS.get(annotation, "section")


_WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "null",
}


if __name__ == "__main__":
    sys.stdout.write(describe())
