"""Margins: the sky around a partition, for those who look for neighbours across its border.

Taken are all stars of the fine pixels that touch the partition from outside: at least those within
the margin, and some more. LSDB compares distances itself.
"""

import numpy as np

from distcnn.arrays import Array
from distcnn.catalogue.hats.partitions import INDEX_ORDER, Partition


def margin_ranges(partition: Partition, margin: float) -> Array:
    """Ranges [R,2] of the spatial index, low to below high, that are around a partition.

    ``margin`` : in arcseconds.
    """
    from hats.pixel_math.healpix_shim import margin2order
    from hats.pixel_math.pixel_margins import get_margin

    order = max(int(margin2order(np.array(margin / 60))), partition.order)
    found = get_margin(partition.order, partition.pixel, order - partition.order)
    pixels = np.unique(np.asarray(found, np.int64))
    shift = 2 * (INDEX_ORDER - order)
    # Pixels with following numbers are one range.
    first = np.flatnonzero(np.diff(pixels, prepend=-2) > 1)
    last = np.append(first[1:] - 1, len(pixels) - 1)
    ranges: Array = np.stack([pixels[first], pixels[last] + 1], axis=1) << shift
    return ranges
