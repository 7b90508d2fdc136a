"""Batching: how many stars are read and computed at a time, chosen so that a worker has room.

What a worker needs grows with the length of a spectrum: batches that suit 800 pixels need
gigabytes at 7,000. The largest batch that fits is taken, and where two fit alike, the larger
pieces of reading. What was chosen stays with the prediction store: a star's values depend, in
their last bits, on the size of its batch, so a run that is resumed goes on with it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from distcnn.config import PredictConfig
from distcnn.inference.worker.compute import READ_AT_ONCE, block_rows
from distcnn.inference.worker.device_pipeline import STAGING_BUFFERS, cpu_block_stars
from distcnn.model import Package
from distcnn.survey import Store

# Upper bounds, about twice what was measured, so that a plan that is accepted fits.
IDLE_WORKER_BYTES = 450_000_000
"""An idle worker with torch loaded."""
FORWARD_VALUES_PER_INPUT = 40
"""float32 values alive in a forward pass, per input value of a star."""
NOVELTY_VALUES_PER_INPUT = 10
"""The same for stars that are widened, summed up and scored for novelty together."""
BLOCKS_IN_MEMORY = 3
"""A block that is read ahead, one in work, and the raw bytes of that."""
REGIONS_IN_MEMORY = 3
"""Results of a region: as parts, joined, and encoded while they are stored."""
MIN_BATCH_STARS = 8
"""Below this a batch is not lowered before the run: the fixed costs of a pass would rule."""


@dataclass(frozen=True)
class Batching:
    """Stars per forward pass (``gpu_batch``: on a GPU), and the least that are read at a time."""

    batch: int
    gpu_batch: int
    read: int = READ_AT_ONCE

    @classmethod
    def asked(cls, config: PredictConfig) -> Self:
        """What the configuration says."""
        return cls(config.batch, config.gpu_batch)

    @classmethod
    def of_store(cls, store: Store) -> Self:
        """What a prediction store was begun with; the first ones had what was asked for."""
        asked = PredictConfig.model_fields
        settings = store.attrs.get("settings", {})
        known = {n: settings.get(n, asked[n].default) for n in ("batch", "gpu_batch")}
        return cls(**{**known, **store.attrs.get("batching", {})})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class WorkerNeeds:
    """What decides the memory of a worker: bytes, and numbers per star."""

    weights: int
    """Bytes of the package's files."""
    inputs: int
    """Values per star that are read."""
    stored: int
    """Bytes per star as the survey holds them."""
    results: int
    """Bytes of the results of a region."""
    chunk: int
    pixels: int

    @classmethod
    def of(cls, package: Package, survey: Store, names: list[str], results: int) -> Self:
        """For the variables ``names`` of a survey; ``results``: bytes of a region's results."""
        widths = {name: int(np.prod(survey.shape(name)[1:])) for name in names}
        return cls(
            weights=package.file_sizes(),
            inputs=sum(widths.values()),
            stored=sum(width * survey.itemsize(name) for name, width in widths.items()),
            results=results,
            chunk=survey.chunk_stars,
            pixels=package.spec.pixels,
        )

    def on_cpu(self, batching: Batching) -> int:
        """Upper bound for a worker that computes on a CPU [bytes]."""
        widened = cpu_block_stars(batching.batch, self.pixels) * NOVELTY_VALUES_PER_INPUT
        widened += batching.batch * FORWARD_VALUES_PER_INPUT
        work = widened * self.inputs * np.dtype(np.float32).itemsize
        return self._any_device(batching.batch, batching.read) + work

    def on_gpu(self, batching: Batching) -> int:
        """The same for the host of a GPU, where the arithmetic takes no memory [bytes]."""
        staged = batching.gpu_batch * STAGING_BUFFERS * self.stored
        return self._any_device(batching.gpu_batch, batching.read) + staged

    def _any_device(self, batch: int, read: int) -> int:
        block = block_rows(self.chunk, batch, read) * BLOCKS_IN_MEMORY * self.stored
        # Weights twice: as they were read, and as an engine has arranged them.
        return IDLE_WORKER_BYTES + 2 * self.weights + block + REGIONS_IN_MEMORY * self.results


def choose_batching(needs: WorkerNeeds, asked: Batching, allowed: int) -> Batching:
    """The largest batches, none larger than asked for, with which a worker has room.

    Where even the smallest has none, what was asked for: the plan is then refused with its need.
    """
    reads = [asked.read]
    while reads[-1] > needs.chunk:
        reads.append(reads[-1] // 2)
    for batch in _halves(asked.batch):
        for read in reads:
            found = Batching(batch, asked.gpu_batch, read)
            if needs.on_cpu(found) <= allowed:
                return Batching(batch, _gpu_batch(needs, found, allowed), read)
    return asked


def _gpu_batch(needs: WorkerNeeds, found: Batching, allowed: int) -> int:
    for size in _halves(found.gpu_batch):
        if needs.on_gpu(Batching(found.batch, size, found.read)) <= allowed:
            return size
    return size


def _halves(size: int) -> Iterator[int]:
    yield size
    while size > MIN_BATCH_STARS:
        size = max(size // 2, MIN_BATCH_STARS)
        yield size
