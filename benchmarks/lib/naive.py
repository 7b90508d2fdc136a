"""The plain loop that everything is compared with: eager float32, member by member."""

import time

import torch

from distcnn.model import Batch, Package, star_inputs
from distcnn.survey import Region, Store

BATCHES = (256, 1024)
"""Of the plain loop, which is given the better one; a notebook knows only one."""


class Naive:
    """What a notebook does: every member on every batch, scaling included, then mean and std."""

    def __init__(self, package: Package, survey: Store) -> None:
        self.members = package.networks()
        bands = [str(band) for band in survey.coordinate("band")]
        rows = Region(0, min(survey.stars, 4096))
        self.stars = star_inputs(survey.read(rows, package.spec.variables), package.spec, bands)

    def __call__(self, size: int) -> int:
        with torch.no_grad():
            for batch in self.stars.batches(size):
                self.one(batch)
        return len(self.stars)

    def one(self, batch: Batch) -> torch.Tensor:
        """Mean of a batch over the members."""
        each = [member(batch) for member in self.members]
        mean = torch.stack([mean for mean, *_ in each])
        noise = torch.stack([sigma for _, sigma, _ in each])
        mean.std(0).square().add_(noise.square().mean(0)).sqrt_()
        return mean.mean(0)


def measure_naive(naive: Naive, threads: int, seconds: float) -> dict[str, float]:
    """Stars per second of wall and of CPU time with so many threads, in the better batch."""
    torch.set_num_threads(threads)
    each = [_measure(naive, size, seconds / len(BATCHES)) for size in BATCHES]
    return {"threads": threads, **max(each, key=lambda one: one["stars_per_second"])}


def _measure(naive: Naive, size: int, seconds: float) -> dict[str, float]:
    naive(size)
    stars, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        stars += naive(size)
    spent = time.perf_counter() - wall
    return {
        "batch": size,
        "stars": stars,
        "seconds": round(spent, 2),
        "stars_per_second": round(stars / spent, 1),
        "stars_per_cpu_second": round(stars / (time.process_time() - cpu), 1),
    }
