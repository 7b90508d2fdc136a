"""Partitions: HEALPix pixels, of several orders, that each hold not too many stars.

Pixels are numbered as in the NESTED scheme: those inside pixel p of order k are 4 p to 4 p + 3 of
order k + 1, so a range of the spatial index (order 29) is a pixel of any order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array

INDEX_ORDER = 29
"""Order of the spatial index, the finest there is."""
COUNT_ORDER = 10
"""Order at which stars are counted, and the finest of a partition: pixels of 3.4 arcminutes."""


@dataclass(frozen=True, order=True)
class Partition:
    """A HEALPix pixel; the rows of its stars are one file."""

    order: int
    pixel: int

    @property
    def index_range(self) -> tuple[int, int]:
        """The spatial index of its stars is in ``[low, high)``."""
        shift = 2 * (INDEX_ORDER - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift


def count_stars(index: Array) -> Counter[int]:
    """Stars in each pixel of COUNT_ORDER, from their spatial index [N]."""
    pixels, counts = np.unique(index >> 2 * (INDEX_ORDER - COUNT_ORDER), return_counts=True)
    return Counter(dict(zip(pixels.tolist(), counts.tolist(), strict=True)))


def partitions_of(counts: Mapping[int, int], most_stars: int) -> list[Partition]:
    """The largest pixels with no more stars than that, in the order of their spatial index.

    Parameters
    ----------
    counts : stars in each pixel of COUNT_ORDER that has any. A pixel of that order is not cut
        further, however many stars it has.
    """
    sums = {COUNT_ORDER: dict(counts)}
    for order in range(COUNT_ORDER - 1, -1, -1):
        above: Counter[int] = Counter()
        for pixel, stars in sums[order + 1].items():
            above[pixel >> 2] += stars
        sums[order] = dict(above)

    def cut(order: int, pixel: int) -> Iterator[Partition]:
        if pixel not in sums[order]:
            return
        if order == COUNT_ORDER or sums[order][pixel] <= most_stars:
            yield Partition(order, pixel)
            return
        for child in range(4 * pixel, 4 * pixel + 4):
            yield from cut(order + 1, child)

    return [found for pixel in range(12) for found in cut(0, pixel)]
