"""Configuration is a value: frozen, validated, every field documented with its unit."""

import re
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    field_validator,
)

from distcnn.errors import UsageError
from distcnn.location import Location

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class Frozen(BaseModel):
    """A section of the configuration: immutable, unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1; ``strict`` would refuse "1e3" and "0.5" as well.
        annotation = cls.model_fields[info.field_name or ""].annotation
        if _has_bool(value) and not _takes_bool(annotation):
            raise ValueError("a value that is not true or false")
        return value


def _has_bool(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_has_bool, value)))


def _takes_bool(annotation: Any) -> bool:
    values = isinstance(annotation, bool)  # of Literal[True]
    return values or annotation in {bool, Any} or any(map(_takes_bool, get_args(annotation)))


def parse_bytes(value: object) -> object:
    """``"4 GiB"`` -> 4294967296; integers pass.

    Not ``pydantic.ByteSize``: that one takes "1.2.3 GB" for one byte and "4 b" for four.

    Raises
    ------
    ValueError : the text is not a number followed by a unit of bytes.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match.group(2).upper() not in _UNITS:
        raise ValueError(f"{value!r} is not a size such as '4 GiB' or '500 MB'")
    return int(float(match.group(1)) * _UNITS[match.group(2).upper()])


Bytes = Annotated[int, BeforeValidator(parse_bytes)]


def _on_this_machine(path: Path) -> Path:
    try:
        return Location.parse(path).local_path
    except UsageError as error:
        raise ValueError(f"{error.expected}; {error.problem}") from None


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"every name once; {', '.join(twice)} is given again")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_each_once)]
"""Names of labels, bands and the like, none of them twice."""
LocalPath = Annotated[Path, AfterValidator(_on_this_machine)]
"""A path, or the address of a local file; any other place is refused, never taken for a folder."""
