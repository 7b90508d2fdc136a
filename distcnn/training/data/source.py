"""Source: a survey as training takes it, through scalings that are fitted on it, and sharded."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.config import TrainConfig
from distcnn.location import Address
from distcnn.model import InputSpec, build_network, fit_scaling
from distcnn.survey import Store
from distcnn.survey.split import Split
from distcnn.training.data.augment import SurveyProperties
from distcnn.training.data.copies import copies_of
from distcnn.training.data.labelled import (
    DEVELOPMENT,
    MAX_STARS_IN_MEMORY,
    Labelled,
    evenly_spaced,
    find_rows,
    read_labels,
    read_rows,
    read_stars,
    rows_per_read,
)
from distcnn.training.data.loader import (
    ONE_VIRTUAL_RANK,
    Dataset,
    InMemoryDataset,
    Sharding,
    StreamedDataset,
    TrainLoader,
    known_snr,
    rows_of_virtual_rank,
)
from distcnn.training.data.tensors import Scaled, gather, scale_stars

MAX_SAMPLE_STARS = 20_000
"""Most stars on which scalings and what augmentation must know of a survey are measured."""


@dataclass(frozen=True)
class ScaledReader:
    """Reads stars of a survey as the layers of a network take them.

    Parameters
    ----------
    scale : the scalings of that network, fitted.
    no_stars : what ``read_rows`` gives, without a star: tells widths where no row is asked for.
    copies : makes copies of stars, which have rows of their own behind those of the survey.
    """

    store: Store
    spec: InputSpec
    scale: Callable[[Labelled], Scaled]
    no_stars: Labelled
    copies: Callable[[Labelled], Labelled] | None = None

    def with_copies(self, rows: Array) -> Array:
        """Ascending rows, and those of their copies, if there are any."""
        return rows if self.copies is None else np.concatenate([rows, rows + self.store.stars])

    def read(self, rows: Array) -> Scaled:
        """The stars at ascending rows."""
        if not len(rows):
            return self.scale(self.no_stars)
        return gather((self.scale(part) for part in self._parts(rows)), len(rows))

    def _parts(self, rows: Array) -> Iterator[Labelled]:
        survey = rows < self.store.stars
        yield from read_rows(self.store, self.spec, rows[survey])
        if self.copies is not None:
            copied = read_rows(self.store, self.spec, rows[~survey] - self.store.stars)
            yield from map(self.copies, copied)

    def dataset(self, rows: Array, buffer: int) -> Dataset:
        """Those rows through a shuffle buffer of that many stars; 0 = in memory."""
        if not buffer:
            return InMemoryDataset(self.read(rows))
        return StreamedDataset(rows, self.read, piece=rows_per_read(self.store), buffer=buffer)


@dataclass(frozen=True)
class ScaledSurvey:
    """Training and validation stars in memory, and what was measured on the training stars.

    ``scaling`` is the part of a network's state that was fitted on them.
    """

    train: Scaled
    validation: Scaled
    scaling: dict[str, Tensor]
    properties: SurveyProperties


@dataclass(frozen=True)
class TrainingData:
    """What one rank trains a member with; see ``ScaledSurvey``."""

    loader: TrainLoader
    validation: Scaled
    scaling: dict[str, Tensor]
    properties: SurveyProperties


@dataclass(frozen=True)
class LabelledSource:
    """The labelled stars of a survey: where they are, and in which settings they are seen.

    Parameters
    ----------
    digest : of all that training sees of the survey (``SplitSummary.data``).
    fold : that the member holds out; None where the split is the same for all.
    """

    survey: Address
    spec: InputSpec
    config: TrainConfig
    digest: str
    fold: int | None = None

    def in_memory(self) -> ScaledSurvey:
        """All stars, scaled; kept for the next member that this process trains."""
        settings = self.config.model_dump_json(include={"split", "network", "members", "augment"})
        return _scaled_survey(self.survey, self.spec, settings, self.digest, self.fold)

    def of_rank(self, sharding: Sharding, rank: int, world: int) -> TrainingData:
        """What rank ``rank`` of ``world`` trains with: the virtual ranks rank, rank + world, ..."""
        batch = self.config.batch
        if sharding == ONE_VIRTUAL_RANK:
            stars = self.in_memory()
            loader = TrainLoader.in_memory(stars.train, batch)
            return TrainingData(loader, stars.validation, stars.scaling, stars.properties)
        fitted = _FittedSurvey.of(self.survey, self.spec, self.config, self.fold)
        loader = fitted.loader(sharding, range(rank, sharding.virtual_ranks, world), batch)
        return TrainingData(loader, fitted.validation(), fitted.scaling, fitted.properties)


@dataclass(frozen=True)
class _FittedSurvey:
    """A survey with scalings fitted on an even sample of its training stars.

    Of folds the scalings, a centre and a width per input and label, are those of all stars
    outside test: the members of a package share them.

    The sample itself is not kept: streaming goes on for hours, and it would lie in memory.

    Parameters
    ----------
    train, stopping : rows of the stars of training, and of copies of them, and of validation.
    pool : S/N [n,1] of the sample.
    """

    reader: ScaledReader
    train: Array
    stopping: Array
    pool: Tensor
    scaling: dict[str, Tensor]
    properties: SurveyProperties

    @classmethod
    def of(
        cls, survey: Address, spec: InputSpec, config: TrainConfig, fold: int | None
    ) -> "_FittedSurvey":
        store = Store.open(survey, "survey")
        train = find_rows(store, spec, config.split, Split.TRAIN, fold=fold)
        shared = train if fold is None else find_rows(store, spec, config.split, *DEVELOPMENT)
        sample = read_stars(store, spec, shared[:: max(1, -(-len(shared) // MAX_SAMPLE_STARS))])
        network = build_network(spec, config.network, seed=0)
        faintest = config.augment.faintest
        fit_scaling(network, sample.inputs, read_labels(store, spec, shared), faintest)
        # Rows by number, since a slice of the sample would keep all of it in memory.
        no_stars = sample.take(np.arange(0))
        reader = ScaledReader(
            store,
            spec,
            lambda stars: scale_stars(network, stars),
            no_stars,
            copies_of(store, spec, config.augment, sample),
        )
        return cls(
            reader,
            reader.with_copies(train),
            find_rows(store, spec, config.split, Split.VALIDATION, fold=fold),
            known_snr(torch.from_numpy(sample.inputs["snr"])),
            scaling_of(network.state_dict()),
            SurveyProperties.of(store, sample),
        )

    def validation(self) -> Scaled:
        return self.reader.read(evenly_spaced(self.stopping, MAX_STARS_IN_MEMORY))

    def loader(self, sharding: Sharding, numbers: Iterable[int], batch: int) -> TrainLoader:
        """The training stars of some of the virtual ranks."""
        count, buffer = sharding.virtual_ranks, sharding.buffer
        datasets = {
            number: self.reader.dataset(rows_of_virtual_rank(self.train, count, number), buffer)
            for number in numbers
        }
        return TrainLoader(datasets, count, len(self.train), batch, self.pool, streamed=buffer > 0)


def scaling_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a network's state that is fitted on a survey before training."""
    return {name: t for name, t in state.items() if name.startswith(("inputs.", "labels."))}


@lru_cache(maxsize=1)
def _scaled_survey(
    survey: Address, spec: InputSpec, settings: str, digest: str, fold: int | None
) -> ScaledSurvey:
    # ``digest`` is not read but part of the key: another survey under the same name is another.
    fitted = _FittedSurvey.of(survey, spec, TrainConfig.model_validate_json(settings), fold)
    train = fitted.reader.read(fitted.train)
    return ScaledSurvey(train, fitted.validation(), fitted.scaling, fitted.properties)
