"""Lanes: how a member's training stars are dealt to the steps and ranks of an epoch.

Every batch consists of ``lanes`` parts. A lane has its own stars, a run of the training stars
in survey order, and its own random numbers, seeded by member, epoch, lane and step. Ranks
share the lanes out, so what an optimiser step sees does not depend on how many ranks there
are. With one lane this is plain training.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.training.data.tensors import Scaled

Read = Callable[[Array], Scaled]
"""Gives the stars at ascending row numbers of the survey, scaled."""


def derived_seed(*numbers: int) -> int:
    """A seed that differs wherever one of the numbers does."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def lane_rows(rows: Array, lanes: int, lane: int) -> Array:
    """Which of the training stars belong to a lane: neighbours in the survey, evenly many."""
    return np.array_split(rows, lanes)[lane]


class Lane(Protocol):
    """The stars of one lane."""

    def __len__(self) -> int: ...

    def batches(self, generator: torch.Generator, steps: int, first: int) -> Iterator[Scaled]:
        """Every star once, in a new order, in ``steps`` parts of which the first are left out."""
        ...


class HeldLane:
    """A lane whose stars are in memory."""

    def __init__(self, stars: Scaled) -> None:
        self.stars = stars

    def __len__(self) -> int:
        return len(self.stars)

    def batches(self, generator: torch.Generator, steps: int, first: int) -> Iterator[Scaled]:
        order = torch.randperm(len(self), generator=generator)
        for rows in torch.tensor_split(order, steps)[first:]:
            yield self.stars.take(rows)


class StreamedLane:
    """A lane read from the survey anew in every epoch.

    Pieces of the survey come in random order into a window of at most ``buffer`` stars (one
    piece at least), which is shuffled as a whole.

    Parameters
    ----------
    rows : ascending row numbers in the survey.
    piece : rows of the survey that are read at once.
    """

    def __init__(self, rows: Array, read: Read, *, piece: int, buffer: int) -> None:
        self.rows, self.read, self.buffer = rows, read, buffer
        cuts = np.flatnonzero(np.diff(rows // piece)) + 1
        self.pieces = np.split(rows, cuts) if len(rows) else []

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, generator: torch.Generator, steps: int, first: int) -> Iterator[Scaled]:
        whole, more = divmod(len(self), steps)
        sizes = [whole + (step < more) for step in range(steps)]
        cursor = _Cursor(self._windows(generator), self.read)
        cursor.skip(sum(sizes[:first]))
        for size in sizes[first:]:
            yield cursor.take(size)

    def _windows(self, generator: torch.Generator) -> list[tuple[Array, Tensor]]:
        """Ascending rows of each window, and the order in which they are used."""
        windows: list[list[Array]] = []
        room = 0
        for number in torch.randperm(len(self.pieces), generator=generator).tolist():
            piece = self.pieces[number]
            if len(piece) > room:
                windows.append([])
                room = self.buffer
            windows[-1].append(piece)
            room -= len(piece)
        return [
            (
                np.sort(np.concatenate(window)),
                torch.randperm(sum(map(len, window)), generator=generator),
            )
            for window in windows
        ]


class _Cursor:
    """Goes through windows, one of which is in memory."""

    def __init__(self, windows: list[tuple[Array, Tensor]], read: Read) -> None:
        self.windows, self.read = windows, read
        self.stars: Scaled | None = None
        self.order = torch.empty(0, dtype=torch.int64)
        self.skipped = 0

    def skip(self, stars: int) -> None:
        while self.windows and stars >= len(self.windows[0][0]):
            stars -= len(self.windows.pop(0)[0])
        self.skipped = stars

    def take(self, count: int) -> Scaled:
        parts = []
        while count > len(self.order):
            if self.stars is not None and len(self.order):
                parts.append(self.stars.take(self.order))
                count -= len(self.order)
            self._next_window()
        if self.stars is None:
            self.stars = self.read(np.empty(0, np.int64))
        parts.append(self.stars.take(self.order[:count]))
        self.order = self.order[count:]
        return _joined(parts)

    def _next_window(self) -> None:
        self.stars = None  # two windows at once would be twice the memory
        rows, order = self.windows.pop(0)
        self.stars, self.order = self.read(rows), order[self.skipped :]
        self.skipped = 0


def _joined(parts: list[Scaled]) -> Scaled:
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.tensors() for part in parts), strict=True)
    return Scaled(*(torch.cat(column) for column in columns))


@dataclass
class Share:
    """What one lane adds to a batch: stars (perhaps none) and the random numbers for them.

    ``seed`` is that of drop-out; None = its random numbers go on.
    """

    stars: Scaled
    generator: torch.Generator
    seed: int | None


@dataclass(frozen=True)
class Feed:
    """The training stars of one rank.

    Parameters
    ----------
    lanes : by number, those of this rank, of ``of`` in all.
    stars : how many an epoch has, over all lanes.
    batch : stars per step, over all lanes.
    pool : S/N [n,1] of training stars.
    """

    lanes: Mapping[int, Lane]
    of: int
    stars: int
    batch: int
    pool: Tensor
    streamed: bool = False

    @classmethod
    def plain(cls, stars: Scaled, batch: int) -> "Feed":
        """One lane, in memory."""
        return cls({0: HeldLane(stars)}, 1, len(stars), batch, known_snr(stars.snr))

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch; stars left over by whole batches are spread over them."""
        return math.ceil(self.stars / self.batch)

    @property
    def by_step(self) -> bool:
        """Whether random numbers are seeded afresh in every step, so that an epoch may be
        continued in the middle.
        """
        return self.of > 1 or self.streamed

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[list[Share]]:
        """The shares of every step from ``first`` on."""
        dice = {lane: _Dice(seed, epoch, lane, by_step=self.by_step) for lane in self.lanes}
        batches = {
            number: lane.batches(dice[number].order, self.steps, first)
            for number, lane in self.lanes.items()
        }
        for step in range(first, self.steps):
            yield [Share(next(batches[n]), *dice[n].of_step(step)) for n in self.lanes]


def known_snr(snr: Tensor) -> Tensor:
    """S/N [n,1] where there is one; infinite, so that no noise is added, where nobody has one."""
    pool = snr[torch.isfinite(snr[:, 0])]
    return pool if len(pool) else torch.full((1, 1), math.inf)


class _Dice:
    """Random numbers of one lane in one epoch."""

    def __init__(self, seed: int, epoch: int, lane: int, *, by_step: bool) -> None:
        self.by_step = by_step
        self.numbers = (seed, epoch, lane) if by_step else (seed, epoch)
        self.order = torch.Generator().manual_seed(
            derived_seed(*self.numbers, 2) if by_step else derived_seed(*self.numbers)
        )

    def of_step(self, step: int) -> tuple[torch.Generator, int | None]:
        """For augmentation, and the seed of drop-out."""
        if self.by_step:
            seed = derived_seed(*self.numbers, 3, step)
            return torch.Generator().manual_seed(seed), derived_seed(*self.numbers, 4, step)
        return self.order, derived_seed(*self.numbers, 1) if step == 0 else None
