"""Data loader: how a member's training stars reach the steps and ranks of an epoch.

Training is sharded over *virtual ranks*, a number that the settings fix, rather than over the
processes that happen to run. Every batch consists of one micro-batch per virtual rank; a virtual
rank has stars of its own, a run of the training stars in survey order, and random numbers of its
own, seeded by member, epoch, virtual rank and step. Real ranks take whole virtual ranks, so what
an optimiser step sees does not depend on how many processes there are: a run begun by eight goes
on with five and ends with the same weights. One virtual rank is plain training.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.training.data.tensors import Scaled, concatenate

Read = Callable[[Array], Scaled]
"""Gives the stars at ascending row numbers of the survey, scaled."""


@dataclass(frozen=True)
class Sharding:
    """How training stars are spread over the micro-batches; the weights depend on it.

    Parameters
    ----------
    virtual_ranks : micro-batches per batch, shared out over the real ranks.
    buffer : size of the shuffle buffer of a virtual rank [stars]; 0 = all are held in memory.
    """

    virtual_ranks: int = 1
    buffer: int = 0

    def to_json(self) -> dict[str, int]:
        """As in ledgers and manifests, where virtual ranks have always been ``lanes``."""
        return {"lanes": self.virtual_ranks, "buffer": self.buffer}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Sharding":
        return cls(value["lanes"], value["buffer"])


ONE_VIRTUAL_RANK = Sharding()
"""All training stars in memory, in one micro-batch per batch."""


def derived_seed(*numbers: int) -> int:
    """A seed that differs wherever one of the numbers does."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def rows_of_virtual_rank(rows: Array, virtual_ranks: int, number: int) -> Array:
    """Which training stars belong to a virtual rank: neighbours in the survey, evenly many.

    Neighbours, because they lie in the same chunks of the store: each chunk is then read by one
    rank only.
    """
    return np.array_split(rows, virtual_ranks)[number]


class Dataset(Protocol):
    """The training stars of one virtual rank."""

    def __len__(self) -> int: ...

    def batches(self, generator: torch.Generator, steps: int, first: int) -> Iterator[Scaled]:
        """Every star once, in a new order, in ``steps`` parts of which the first are left out."""
        ...


class InMemoryDataset:
    """All stars in memory, shuffled as a whole."""

    def __init__(self, stars: Scaled) -> None:
        self.stars = stars

    def __len__(self) -> int:
        return len(self.stars)

    def batches(self, generator: torch.Generator, steps: int, first: int) -> Iterator[Scaled]:
        order = torch.randperm(len(self), generator=generator)
        for rows in torch.tensor_split(order, steps)[first:]:
            yield self.stars.take(rows)


class StreamedDataset:
    """Read from the survey again in every epoch, through a shuffle buffer.

    Pieces of the survey come in random order and fill a buffer of at most ``buffer`` stars (one
    piece at least), which is shuffled as a whole. Unlike the usual buffer, which gives one star
    and takes one, it is filled and emptied at once: what it holds at step k then follows from the
    seed alone, so a run can go on in the middle of an epoch without reading what went before.

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
        # Sizes as ``torch.tensor_split`` makes them: the first steps get the stars left over.
        whole, more = divmod(len(self), steps)
        sizes = [whole + (step < more) for step in range(steps)]
        reader = _BufferReader(self._fillings(generator), self.read)
        reader.skip(sum(sizes[:first]))
        for size in sizes[first:]:
            yield reader.take(size)

    def _fillings(self, generator: torch.Generator) -> list[tuple[Array, Tensor]]:
        """Ascending rows of each filling of the buffer, and the order in which they are used."""
        fillings: list[list[Array]] = []
        room = 0
        for number in torch.randperm(len(self.pieces), generator=generator).tolist():
            piece = self.pieces[number]
            if len(piece) > room:
                fillings.append([])
                room = self.buffer
            fillings[-1].append(piece)
            room -= len(piece)
        return [
            (
                np.sort(np.concatenate(filling)),
                torch.randperm(sum(map(len, filling)), generator=generator),
            )
            for filling in fillings
        ]


class _BufferReader:
    """Goes through the fillings of a shuffle buffer, one of which is in memory."""

    def __init__(self, fillings: list[tuple[Array, Tensor]], read: Read) -> None:
        self.fillings, self.read = fillings, read
        self.stars: Scaled | None = None
        self.order = torch.empty(0, dtype=torch.int64)
        self.skipped = 0

    def skip(self, stars: int) -> None:
        """Leave out that many; whole fillings are not even read."""
        while self.fillings and stars >= len(self.fillings[0][0]):
            stars -= len(self.fillings.pop(0)[0])
        self.skipped = stars

    def take(self, count: int) -> Scaled:
        """The next ``count`` stars, from as many fillings as it takes."""
        parts = []
        while count > len(self.order):
            if self.stars is not None and len(self.order):
                parts.append(self.stars.take(self.order))
                count -= len(self.order)
            self._fill()
        if self.stars is None:
            self.stars = self.read(np.empty(0, np.int64))
        parts.append(self.stars.take(self.order[:count]))
        self.order = self.order[count:]
        return concatenate(parts)

    def _fill(self) -> None:
        self.stars = None  # let go first: two fillings at once would be twice the memory
        rows, order = self.fillings.pop(0)
        self.stars, self.order = self.read(rows), order[self.skipped :]
        self.skipped = 0


@dataclass
class MicroBatch:
    """What one virtual rank adds to a batch: stars (perhaps none) and random numbers for them.

    ``generator`` is for augmentation; ``seed`` that of drop-out, None = its numbers go on.
    """

    stars: Scaled
    generator: torch.Generator
    seed: int | None


@dataclass(frozen=True)
class TrainLoader:
    """The training stars of one real rank, as micro-batches of its virtual ranks.

    Parameters
    ----------
    datasets : by number of the virtual rank, those of this rank.
    virtual_ranks : how many there are in all.
    stars : how many an epoch has, over all virtual ranks.
    batch : stars per step, over all virtual ranks.
    pool : S/N [n,1] of training stars, for augmentation to choose from.
    streamed : whether the stars go through a shuffle buffer.
    """

    datasets: Mapping[int, Dataset]
    virtual_ranks: int
    stars: int
    batch: int
    pool: Tensor
    streamed: bool = False

    @classmethod
    def in_memory(cls, stars: Scaled, batch: int) -> "TrainLoader":
        """One virtual rank, in memory."""
        return cls({0: InMemoryDataset(stars)}, 1, len(stars), batch, known_snr(stars.snr))

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch; stars left over by whole batches are spread over them."""
        return math.ceil(self.stars / self.batch)

    @property
    def reseeds_each_step(self) -> bool:
        """Whether every step has seeds of its own, so that an epoch may be continued inside.

        One virtual rank in memory goes on with the numbers of the step before: its epochs are
        short, and packages trained so must come out as they always have.
        """
        return self.virtual_ranks > 1 or self.streamed

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[list[MicroBatch]]:
        """The micro-batches of every step from ``first`` on."""
        streams = {
            number: _SeededStreams(seed, epoch, number, each_step=self.reseeds_each_step)
            for number in self.datasets
        }
        batches = {
            number: dataset.batches(streams[number].order, self.steps, first)
            for number, dataset in self.datasets.items()
        }
        for step in range(first, self.steps):
            yield [MicroBatch(next(batches[n]), *streams[n].of_step(step)) for n in self.datasets]


def known_snr(snr: Tensor) -> Tensor:
    """S/N [n,1] where there is one; infinite, so that no noise is added, where no star has one."""
    pool = snr[torch.isfinite(snr[:, 0])]
    return pool if len(pool) else torch.full((1, 1), math.inf)


class _SeededStreams:
    """The random streams of one virtual rank in one epoch: order, augmentation, drop-out.

    The last number of a seed says what it is for: 1 and 4 drop-out, 2 order, 3 augmentation.
    """

    def __init__(self, seed: int, epoch: int, virtual_rank: int, *, each_step: bool) -> None:
        self.each_step = each_step
        self.numbers = (seed, epoch, virtual_rank) if each_step else (seed, epoch)
        self.order = torch.Generator().manual_seed(
            derived_seed(*self.numbers, 2) if each_step else derived_seed(*self.numbers)
        )

    def of_step(self, step: int) -> tuple[torch.Generator, int | None]:
        """Generator for augmentation, and the seed of drop-out."""
        if self.each_step:
            seed = derived_seed(*self.numbers, 3, step)
            return torch.Generator().manual_seed(seed), derived_seed(*self.numbers, 4, step)
        return self.order, derived_seed(*self.numbers, 1) if step == 0 else None
