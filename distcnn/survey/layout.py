"""Layout: everything about a store that is decided before its first row is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distcnn.errors import StoreError
from distcnn.schema import STAR, Variable
from distcnn.survey.rows import STAR_KEY, RowKey

INT16_FILL = -32768
FLOAT16_RANGE = (2.0**-20, 65504.0)
"""Between these float16 holds positive values to better than 3%; below, the steps of its
subnormal numbers show, and beyond is infinity."""


def float_dtype(low: float, high: float) -> str:
    """The smaller of float16 and float32 that holds positive values from ``low`` to ``high``."""
    return "float16" if FLOAT16_RANGE[0] <= low <= high <= FLOAT16_RANGE[1] else "float32"


@dataclass(frozen=True)
class Quantised:
    """Linear int16 encoding: value = offset + step * code; code -32768 means NaN.

    The largest error of a value inside the range is half a step.
    """

    step: float
    offset: float
    fill: int = INT16_FILL

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that can be held."""
        return self.offset - 32767 * self.step, self.offset + 32767 * self.step

    def encode(self, values: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
        """Codes of values; NaN and values outside the range become the fill code."""
        with np.errstate(invalid="ignore"):
            codes = np.rint((values - np.float32(self.offset)) / np.float32(self.step))
            good = np.abs(codes) <= 32767
        return np.where(good, codes, INT16_FILL).astype(np.int16)

    def decode(self, codes: NDArray[np.int16]) -> NDArray[np.float32]:
        """Values of codes, float32; the fill code becomes NaN."""
        values = codes.astype(np.float32)
        values *= np.float32(self.step)
        values += np.float32(self.offset)
        values[codes == INT16_FILL] = np.nan
        return values


def to_float32(values: NDArray[Any], how: Quantised | None) -> NDArray[Any]:
    """What is stored, as float32 with NaN for missing; anything but codes and float16: as it is."""
    if how is not None:
        return how.decode(values)
    return values.astype(np.float32) if values.dtype == np.float16 else values


@dataclass(frozen=True)
class Coordinate:
    """Values along one dimension: floats (wavelength) or texts (names of labels, bands)."""

    dim: str
    values: NDArray[Any]
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A store before its first row: sizes, variables, coordinates, attributes, encodings."""

    kind: str
    sizes: Mapping[str, int]
    chunk_stars: int
    shard_stars: int
    variables: tuple[Variable, ...]
    coordinates: Mapping[str, Coordinate]
    attrs: Mapping[str, Any]
    quantised: Mapping[str, Quantised] = field(default_factory=dict)
    row_key: RowKey = STAR_KEY

    def __post_init__(self) -> None:
        if self.shard_stars % self.chunk_stars:
            raise StoreError(
                f"shard_stars = {self.shard_stars}",
                expected=f"a multiple of chunk_stars = {self.chunk_stars}",
            )
        lost = {d for v in self.variables for d in v.dims if d not in self.sizes}
        if lost or STAR not in self.sizes:
            raise StoreError(f"sizes lack the dimensions {sorted(lost | {STAR})}")
        absent = set(self.row_key.names) - {v.name for v in self.variables}
        if absent:
            raise StoreError(
                f"the variables lack {', '.join(sorted(absent))}",
                expected=f"the row key {self.row_key}",
            )
