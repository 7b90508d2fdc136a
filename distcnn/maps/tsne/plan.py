"""What the map of spectra will cost, before it is begun."""

from dataclasses import dataclass

from distcnn.config import TsneMapConfig
from distcnn.formatting import format_bytes, format_duration
from distcnn.maps.tsne.embedding import threads

# Measured on a core of an AMD EPYC on a busy machine; see benchmarks/README.md.
FIT_SECONDS, FIT_STARS, FIT_POWER = 170.0, 50_000, 1.2
"""Core seconds of the fit of so many stars, with their novelty and the figures; it grows with that
power of their number."""
BASE_BYTES = 3 * 2**28
"""Of a process with its libraries."""
PLACED_PER_SECOND = 1100.0
"""Stars a core places, with their novelty, in a second."""


@dataclass(frozen=True)
class TsnePlan:
    """``stars`` in all, ``fitted`` of them decide the map, the others are placed on it."""

    stars: int
    fitted: int
    training: int
    placed_before: int
    pixels: int
    config: TsneMapConfig

    @property
    def fit_core_seconds(self) -> float:
        """Of the fit, on one core."""
        return float(FIT_SECONDS * (self.fitted / FIT_STARS) ** FIT_POWER)

    @property
    def place_core_seconds(self) -> float:
        """Of placing the stars that are neither fitted nor placed yet, on one core."""
        return max(self.stars - self.placed_before - self.fitted, 0) / PLACED_PER_SECOND

    @property
    def memory(self) -> int:
        """Bytes: the spectra that are fitted, twice, and what their neighbours take."""
        star = 8 * self.pixels + 90 * 12 * 3 + 8 * self.config.components
        return self.fitted * star + BASE_BYTES

    def __str__(self) -> str:
        cores = threads()
        return "\n".join(
            [
                f"stars      {self.stars:,}, {self.placed_before:,} of them placed before",
                f"fit        {self.fitted:,} stars, {self.training:,} of them training stars",
                f"memory     about {format_bytes(self.memory)}",
                f"time       about {format_duration(self.fit_core_seconds / cores)} to fit and "
                f"{format_duration(self.place_core_seconds / cores)} to place, on {cores} cores",
            ]
        )
