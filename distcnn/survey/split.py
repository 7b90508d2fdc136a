"""Split: who is trained on, decided by a hash of source_id and nothing else.

A star falls into the same part whatever survey, release or order it comes in, so no star can
leak from training into test by being ingested again. Stars of one group (a cluster) share the
hash of its name, so that none of them tells what the others are.

Hashes lie on a circle. The test split is the end of it, whatever the method. With
``split.method=folds`` the rest is cut into equal folds; a member that holds out fold f finds its
calibration stars there, its validation stars right behind it, and trains on all others.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distcnn import hashing
from distcnn.arrays import Array, find_sorted
from distcnn.config import SplitConfig
from distcnn.errors import ConfigError, TrainingError

GROUP_COLUMNS = ("source_id", "group")


class Split(IntEnum):
    """Parts of the labelled stars."""

    TRAIN = 0
    VALIDATION = 1
    CALIBRATION = 2
    TEST = 3


TEST = Split.TEST
"""The part that is opened once, when everything else is done."""
NO_FOLD = -1
"""In place of a fold: that of a test star."""


def assign_split(source_id: Array, split: SplitConfig, fold: int | None = None) -> Array:
    """The ``Split`` of each star, int8 [N].

    Parameters
    ----------
    fold : the split as a member sees it that holds out this fold: it trains on TRAIN, stops by
        VALIDATION, and CALIBRATION is its fold. None = the four parts that the settings name.

    Raises
    ------
    ConfigError : the table of groups is not there.
    TrainingError : the table of groups cannot be used.
    """
    edges, place = _edges(split), _place(source_id, split)
    if fold is None:
        return np.searchsorted(edges, place, side="right").astype(np.int8)
    number = _fold(place, edges[-1], split.folds)
    behind = (place / edges[-1] * split.folds - (fold + 1)) % split.folds
    stopping = behind < split.validation / edges[-1] * split.folds
    part = np.where(stopping, np.int8(Split.VALIDATION), np.int8(Split.TRAIN))
    part[number == fold] = Split.CALIBRATION
    part[number == NO_FOLD] = Split.TEST
    return part


def assign_fold(source_id: Array, split: SplitConfig) -> Array:
    """The fold of each star, int8 [N]: whose members never see it; ``NO_FOLD`` for test stars.

    Raises
    ------
    ConfigError, TrainingError : see ``assign_split``.
    """
    return _fold(_place(source_id, split), _edges(split)[-1], split.folds)


def _edges(split: SplitConfig) -> Array:
    edges = np.cumsum([split.train, split.validation, split.calibration])
    # Sums of decimal fractions may end at 0.9999...; without a test split nobody is in it.
    return np.where(edges > 1 - 1e-9, 1.0, edges)


def _place(source_id: Array, split: SplitConfig) -> Array:
    """Place on the circle of hashes, [N] in 0...1."""
    keys = source_id if split.groups is None else Groups.read(split.groups).keys(source_id)
    return np.asarray((hashing.uniform(keys, split.seed) + split.rotate) % 1.0)


def _fold(place: Array, end: float, folds: int) -> Array:
    # A place just below the end may come out as the end by rounding.
    number = np.minimum((place / end * folds).astype(np.int8), folds - 1)
    return np.where(place < end, number, np.int8(NO_FOLD)).astype(np.int8)


def groups_digest(split: SplitConfig) -> str | None:
    """Digest of the table of groups, which decides the split with the settings; None without.

    Raises
    ------
    ConfigError : the table is not there.
    """
    return None if split.groups is None else digest_of(split.groups)


@dataclass(frozen=True)
class Groups:
    """Stars that have a group: ``source_id`` [K], ascending, and the ``key`` [K] of its group."""

    source_id: Array
    key: Array

    @classmethod
    def read(cls, path: Path) -> "Groups":
        """The table at ``path``, read once per content and process.

        Raises
        ------
        ConfigError : there is no such file.
        TrainingError : it is no table, lacks a column, or has a star twice.
        """
        return _read(path, digest_of(path))

    def keys(self, source_id: Array) -> Array:
        """[N] int64: the key of a star's group, or its source_id where it has none."""
        own = np.asarray(source_id, np.int64)
        place, found = find_sorted(self.source_id, own)
        keys = own.copy()
        keys[found] = self.key[place[found]]
        return keys


def digest_of(path: Path) -> str:
    """Digest of a table of groups.

    Raises
    ------
    ConfigError : there is no such file.
    """
    try:
        return hashing.of_file(path)
    except OSError as error:
        raise ConfigError(
            f"train.split.groups = {path} cannot be read ({error.strerror or error})",
            expected=f"a CSV or Parquet file, from the folder {Path.cwd()} unless absolute",
            cure="Without this table the split cannot be known. Give its path from where the "
            "command runs, or an absolute one that every worker sees.",
        ) from None


@lru_cache(maxsize=4)
def _read(path: Path, digest: str) -> Groups:
    table = _table(path)
    # Texts, because a float cannot hold a source_id.
    names = table["group"].fillna("").astype(str).str.strip().to_numpy(object)
    ids = _identifiers(path, table["source_id"])
    order = np.argsort(ids, kind="stable")
    ids, names = ids[order], names[order]
    _check_once(path, ids, names)
    grouped = names != ""
    unique, place = np.unique(names[grouped].astype(str), return_inverse=True)
    keys = np.array([_key(str(name)) for name in unique], np.int64)
    return Groups(ids[grouped], keys[place] if keys.size else np.empty(0, np.int64))


def _table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # those of pandas and pyarrow are ValueErrors
        raise TrainingError(
            f"{path} is not readable ({type(error).__name__}: {error})",
            expected="a CSV or Parquet table",
        ) from None
    missing = [name for name in GROUP_COLUMNS if name not in table]
    if missing:
        raise TrainingError(
            f"{path} has no column {', '.join(missing)}",
            expected=f"{' and '.join(GROUP_COLUMNS)}; it has {', '.join(map(str, table.columns))}",
            cure="Rename the columns of the table of groups.",
        )
    return table


def _identifiers(path: Path, column: "pd.Series[Any]") -> Array:
    if column.dtype.kind in "iu":
        return column.to_numpy(np.int64)
    texts = column.astype(str).str.strip()
    wrong = ~texts.str.fullmatch(r"\d{1,19}").to_numpy(bool)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise TrainingError(
            f"{path} has the source_id {texts.iloc[row]!r} in row {row + 1}",
            expected="an integer; tables that went through floating point have lost digits",
        )
    return np.array([int(text) for text in texts], np.int64)


def _check_once(path: Path, ids: Array, names: Array) -> None:
    again = np.flatnonzero(ids[1:] == ids[:-1])
    if not again.size:
        return
    first, other = names[again[0]], names[again[0] + 1]
    where = f"in the groups {first!r} and {other!r}" if first != other else "twice"
    raise TrainingError(
        f"{path} has the star {ids[again[0]]} {where} ({again.size} such rows)",
        expected="every star once",
        cure="A star can fall into one part only: decide for one row.",
    )


def _key(name: str) -> int:
    """64 bits of the digest of a group's name: it is hashed in place of a source_id."""
    return int.from_bytes(bytes.fromhex(hashing.of_bytes(name.encode())[:16]), signed=True)
