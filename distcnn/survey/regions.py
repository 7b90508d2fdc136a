"""Regions: the only unit of work.

A region covers whole shards of the store it will be written to, so two workers never touch
one file. (Writing parts of one shard from two tasks loses data silently.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from distcnn.errors import RegionError


@dataclass(frozen=True, order=True, slots=True)
class Region:
    """Rows ``[start, stop)`` of a store."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise RegionError(f"region [{self.start}, {self.stop})", expected="0 <= start < stop")

    @property
    def size(self) -> int:
        """Number of stars."""
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The rows as a slice."""
        return slice(self.start, self.stop)

    @property
    def name(self) -> str:
        """Text that sorts like the region: ``000000000-000004096``."""
        return f"{self.start:09d}-{self.stop:09d}"

    @classmethod
    def parse(cls, name: str) -> "Region":
        """The region of a name.

        Raises
        ------
        RegionError : the text is not the name of a region.
        """
        start, _, stop = name.partition("-")
        if not (start.isdigit() and stop.isdigit()):
            raise RegionError(f"{name!r} is not a region", expected="'start-stop'")
        return cls(int(start), int(stop))


@dataclass(frozen=True)
class Tiles(Sequence[Region]):
    """The regions of ``step`` rows that make up ``stars``; each is made when it is asked for."""

    stars: int
    step: int

    def __len__(self) -> int:
        return len(range(0, self.stars, self.step))

    @overload
    def __getitem__(self, index: int) -> Region: ...

    @overload
    def __getitem__(self, index: slice) -> list[Region]: ...

    def __getitem__(self, index: int | slice) -> Region | list[Region]:
        found = range(0, self.stars, self.step)[index]
        return self._at(found) if isinstance(found, int) else list(map(self._at, found))

    def __contains__(self, region: object) -> bool:
        return (
            isinstance(region, Region)
            and region.start % self.step == 0
            and region.stop == min(region.start + self.step, self.stars)
        )

    def _at(self, start: int) -> Region:
        return Region(start, min(start + self.step, self.stars))


def tile(stars: int, *, shard: int, shards: int = 1) -> Tiles:
    """Cut ``stars`` rows into regions of ``shards`` whole shards; the last may be shorter.

    Raises
    ------
    RegionError : ``shard`` or ``shards`` is below 1.
    """
    step = shard * shards
    if shard < 1 or shards < 1:
        raise RegionError(f"shard = {shard}, shards = {shards}", expected="both at least 1")
    return Tiles(stars, step)


def check_whole_shards(region: Region, *, stars: int, shard: int) -> None:
    """Refuse a region that ends outside the store or inside a shard.

    Raises
    ------
    RegionError : with the multiple that would have been right.
    """
    if region.stop > stars:
        raise RegionError(f"region {region.name} ends beyond the store's {stars} stars")
    ragged = region.stop % shard and region.stop != stars
    if region.start % shard or ragged:
        raise RegionError(
            f"region {region.name} begins or ends inside a shard",
            expected=f"a multiple of {shard} stars, the size of a shard",
            cure="Cut regions with tile().",
        )
