"""Choice of rows of a registry by the names that a setting gives."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from distcnn.errors import ConfigError
from distcnn.formatting import did_you_mean


class Keyed(Protocol):
    """A row of a registry."""

    @property
    def key(self) -> str:
        """Its name in the settings."""
        ...


Row = TypeVar("Row", bound=Keyed)


def choose_rows(rows: Sequence[Row], keys: Collection[str] | None, setting: str) -> tuple[Row, ...]:
    """The rows with these keys, all of them for None, in the order of the registry.

    Raises
    ------
    ConfigError : a key names no row; ``setting``, such as ``report.figures``, gave it.
    """
    if keys is None:
        return tuple(rows)
    known = [row.key for row in rows]
    kind = setting.rpartition(".")[2].removesuffix("s")
    for key in keys:
        if key not in known:
            raise ConfigError(
                f"{setting} names {key!r}, which is no {kind}",
                expected=f"one of {', '.join(known)}",
                cure=did_you_mean(key, known),
            )
    return tuple(row for row in rows if row.key in keys)
