"""Data classes of arrays, which are told by the names of their fields."""

from collections.abc import Mapping
from typing import Self

from distcnn.arrays import Array


class ArrayFields:
    """A data class of arrays alone."""

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        names = self.__dataclass_fields__  # type: ignore[attr-defined]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """What ``to_arrays`` described."""
        return cls(**arrays)
