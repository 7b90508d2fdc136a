"""Split: who is trained on, decided by a hash of source_id and nothing else.

A star falls into the same part whatever survey, release or order it comes in, so no star can
leak from training into test by being ingested again. Stars of one group (a cluster) share the
hash of its name, so that none of them tells what the others are.
"""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.survey.groups import Groups, digest_of


class Part(IntEnum):
    """Parts of the labelled stars."""

    TRAIN = 0
    VALIDATION = 1
    CALIBRATION = 2
    TEST = 3


TEST = Part.TEST
"""The part that is opened once, when everything else is done."""


def assign(source_id: Array, split: SplitConfig) -> Array:
    """The ``Part`` of each star, int8 [N].

    Raises
    ------
    ConfigError : the table of groups is not there.
    TrainingError : the table of groups cannot be used.
    """
    edges = np.cumsum([split.train, split.validation, split.calibration])
    # Sums of decimal fractions may end at 0.9999...; without a test split nobody is in it.
    edges = np.where(edges > 1 - 1e-9, 1.0, edges)
    keys = source_id if split.groups is None else Groups.read(split.groups).keys(source_id)
    place = (hashing.uniform(keys, split.seed) + split.rotate) % 1.0
    return np.searchsorted(edges, place, side="right").astype(np.int8)


def groups_digest(split: SplitConfig) -> str | None:
    """Digest of the table of groups, which decides the split with the settings; None without.

    Raises
    ------
    ConfigError : the table is not there.
    """
    return None if split.groups is None else digest_of(split.groups)


def identity(source_id: Iterable[int] | Array) -> str:
    """Digest of a set of stars, whatever their order."""
    ids = np.sort(np.asarray(source_id, np.int64))
    return hashing.of_arrays({"source_id": ids})
