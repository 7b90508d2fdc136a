"""Configuration is a value: frozen, validated, every field documented with its unit."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from distcnn.errors import UsageError
from distcnn.location import Location

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class Frozen(BaseModel):
    """A section of the configuration: immutable, unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


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


LocalPath = Annotated[Path, AfterValidator(_on_this_machine)]
"""A path, or the address of a local file; any other place is refused, never taken for a folder."""
