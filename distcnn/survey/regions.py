"""Regions: the only unit of work.

A region covers whole shards of the store it will be written to, so two workers never touch
one file. (Writing parts of one shard from two tasks loses data silently.)
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from distcnn.errors import RegionError, UsageError


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


_SLURM = ("ID", "MIN", "MAX", "COUNT")


@dataclass(frozen=True)
class Share:
    """What one of ``count`` elements of a job array takes: every ``count``-th region.

    ``element`` counts from 1, so the first region of a share is region ``element`` of the store.
    Neighbours go to different elements, so that a patch of hard or empty regions is spread.
    """

    element: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.element <= self.count:
            raise UsageError(
                f"--array {self}",
                expected=f"i/N with i from 1 to N{f', here {self.count}' if self.count else ''}",
                cure="Elements count from 1: #SBATCH --array=1-N.",
            )

    @classmethod
    def parse(cls, text: str) -> "Share":
        """The share that ``3/16`` names.

        Raises
        ------
        UsageError : the text is not ``i/N`` with i from 1 to N.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if found is None:
            raise UsageError(f"--array {text!r}", expected="i/N, such as 3/16, with i from 1 to N")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_slurm(cls, variables: Mapping[str, str]) -> "Share":
        """That of a task of a Slurm job array without gaps, whatever number its first task has.

        Raises
        ------
        UsageError : the variables are not there, or the array has gaps: how many tasks it had
            at first, they do not tell.
        """
        try:
            task, first, last, count = (int(variables[f"SLURM_ARRAY_TASK_{n}"]) for n in _SLURM)
        except (KeyError, ValueError):
            raise UsageError(
                "--array slurm outside of a Slurm job array",
                expected=f"the variables SLURM_ARRAY_TASK_{', _'.join(_SLURM)}",
                cure="Submit with sbatch --array=1-N, or give --array i/N.",
            ) from None
        if last - first + 1 != count:
            raise UsageError(
                f"--array slurm in an array of {count} tasks from {first} to {last}",
                expected="an array without gaps, such as 1-N",
                cure="Give the number of tasks: --array $SLURM_ARRAY_TASK_ID/N.",
            )
        return cls(task - first + 1, count)

    def of(self, regions: Sequence[Region]) -> Iterator[Region]:
        """The regions of this share; each is made when it is asked for."""
        return (regions[at] for at in range(self.element - 1, len(regions), self.count))

    @property
    def name(self) -> str:
        """For the names of files: ``3-of-16``."""
        return f"{self.element}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.element}/{self.count}"


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
