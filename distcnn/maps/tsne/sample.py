"""Which stars the map is fitted to, and their spectra.

Half of them are training stars if there are as many, the others observed ones; both are chosen by
a hash of ``source_id``, so the same stars are fitted whatever the order of the survey.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import SplitConfig, TsneMapConfig
from distcnn.errors import InputError
from distcnn.quality.novelty import other_light
from distcnn.survey import Region, Store
from distcnn.survey.split import Split, assign_split

READ_STARS = 16_384
"""Stars read and placed at a time, about; whole shards of the survey where they are smaller."""


@dataclass(frozen=True)
class FittedRows:
    """Rows of the survey, and of the survey of the training stars if that is another one.

    ``observed`` [n] : rows of SURVEY that are no training stars; ``training`` [t] : rows of
    ``training_survey``. Both ascend.
    """

    observed: Array
    training: Array


@dataclass(frozen=True)
class Sources:
    """Where stars come from. ``labels`` : those that training stars have one of; ``bands`` : of
    the package, in its order.
    """

    survey: Store
    training: Store
    split: SplitConfig
    labels: tuple[str, ...]
    bands: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the training stars are stars of the survey."""
        return self.survey.location == self.training.location

    def light(self, block: Mapping[str, Array]) -> dict[str, Array]:
        """What stars of the survey have beside spectra, as the package's novelty knows it."""
        light = other_light(block)
        if "photometry" in light:
            known = list(map(str, self.survey.coordinate("band")))
            columns = [known.index(band) for band in self.bands if band in known]
            light["photometry"] = light["photometry"][:, columns]
        return light

    def is_training(self, ids: Array, label: Array, store: Store) -> Array:
        """[N] bool: stars that networks were trained on, by their labels in ``store``."""
        names = [str(name) for name in store.coordinate("label")]
        columns = [names.index(name) for name in self.labels if name in names]
        labelled = np.isfinite(label[:, columns]).any(axis=1)
        return np.asarray(labelled & (assign_split(ids, self.split) == Split.TRAIN))


def pieces(store: Store) -> Iterator[Region]:
    """The survey in regions that are read at a time."""
    yield from store.regions(max(1, READ_STARS // store.shard_stars))


def choose_rows(sources: Sources, config: TsneMapConfig) -> tuple[FittedRows, int]:
    """The rows that are fitted, and how many training stars there are.

    Raises
    ------
    InputError : there are no training stars.
    """
    training = _rows_by_hash(sources.training, sources, wanted=True)
    if not len(training[0]):
        raise InputError(
            f"{sources.training.location} has no star that the package was trained on",
            expected="the survey with the labels of the training stars",
            cure="Name it by --training.",
        )
    observed = _rows_by_hash(sources.survey, sources, wanted=False if sources.same else None)
    half = config.fitted_stars // 2
    of_training = min(len(training[0]), max(half, config.fitted_stars - len(observed[0])))
    of_observed = min(len(observed[0]), config.fitted_stars - of_training)
    rows = FittedRows(_lowest(observed, of_observed), _lowest(training, of_training))
    return rows, len(training[0])


def _rows_by_hash(store: Store, sources: Sources, *, wanted: bool | None) -> tuple[Array, Array]:
    """Rows, and the hash of their stars: training stars, the others, or (None) all."""
    rows, hashes = [np.empty(0, np.int64)], [np.empty(0)]
    for region in pieces(store):
        names = ["source_id", *(["label"] if wanted is not None else [])]
        block = store.read(region, names)
        keep = np.ones(region.size, bool)
        if wanted is not None:
            keep = sources.is_training(block["source_id"], block["label"], store) == wanted
        rows.append(region.start + np.flatnonzero(keep))
        hashes.append(hashing.uniform(block["source_id"][keep], 1))
    return np.concatenate(rows), np.concatenate(hashes)


def _lowest(found: tuple[Array, Array], count: int) -> Array:
    rows, order = found
    return np.sort(rows[np.argsort(order, kind="stable")[:count]])


def read_spectra(store: Store, rows: Array) -> Array:
    """Fluxes [n, P] of ascending rows, float32, read region by region."""
    parts = [np.empty((0, store.shape("flux")[1]), np.float32)]
    for region in pieces(store):
        inside = rows[(rows >= region.start) & (rows < region.stop)]
        if len(inside):
            flux = store.read(region, ["flux"])["flux"]
            parts.append(flux[inside - region.start].astype(np.float32))
    return np.concatenate(parts)
