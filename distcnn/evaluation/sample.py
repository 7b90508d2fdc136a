"""The sample: predictions, references and baselines side by side, star by star.

Counts are of every star; arrays are of a sample that fits in memory, drawn by a hash of
source_id, so the same stars whatever the sharding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd

from distcnn import hashing
from distcnn.arrays import Array, find_sorted
from distcnn.config import ReportConfig
from distcnn.errors import StoreError
from distcnn.evaluation.completeness import RECOMMENDATION, CompletenessCounts
from distcnn.evaluation.data import EvaluationData
from distcnn.evaluation.references import read_truth, survey_labels, true_labels
from distcnn.events import Advanced, Listener, StageStarted
from distcnn.schema import Flag, Status
from distcnn.survey import Region, Store
from distcnn.survey.split import TEST, assign_split

STAGE = "evaluate"
READ_STARS = 65_536
"""Stars read at a time."""
_READ = (
    "source_id",
    "snr",
    "label",
    "label_error",
    "novelty",
    "valid_pixels",
    "flags",
    "status",
)
_DEBIASED = "label_debiased"
_COUNTED = ("ra", "dec", "reference_magnitude", RECOMMENDATION)
"""What completeness is told by, where the predictions have it."""


@dataclass
class Counts:
    """Of every star: total, by status, by flag, without any flag, and how complete they are."""

    completeness: CompletenessCounts
    stars: int = 0
    status: dict[str, int] = field(default_factory=lambda: {s.name.lower(): 0 for s in Status})
    flags: dict[str, int] = field(default_factory=lambda: {f.name or "": 0 for f in Flag})
    unflagged: int = 0

    def add(self, block: Mapping[str, Array]) -> None:
        """Count one region."""
        flags, status = block["flags"], block["status"]
        self.completeness.add(block)
        self.stars += len(flags)
        done = status == Status.DONE
        self.unflagged += int((done & (flags == 0)).sum())
        for state in Status:
            self.status[state.name.lower()] += int((status == state).sum())
        for flag in Flag:
            self.flags[flag.name or ""] += int(((flags & np.uint32(flag)) != 0).sum())


@dataclass(frozen=True)
class Sample:
    """Stars [N] with labels [N, L] in label units; NaN = not known.

    Attributes
    ----------
    row : row of the star in the stores.
    label_debiased : NaN where the predictions have none.
    novelty : 1 = the limit. ``valid_pixels`` : fraction of the spectrum.
    reference, reference_error : truth of a simulation, or reference labels of the survey.
    defect : what a simulation did to the star, joined by "+"; empty where clean or unknown.
    held_out : bool, used by no part of training.
    drawn : bool, represents the survey; the others are here for their references alone.
    baselines : labels [N, L] by name of the method.
    """

    row: Array
    source_id: Array
    snr: Array
    label: Array
    label_error: Array
    label_debiased: Array
    novelty: Array
    valid_pixels: Array
    flags: Array
    status: Array
    reference: Array
    reference_error: Array
    defect: Array
    held_out: Array
    drawn: Array
    baselines: dict[str, Array]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def referenced(self) -> Array:
        """[N] bool: computed, outside training, with a reference label."""
        done = np.isfinite(self.reference).any(axis=1) & (self.status == Status.DONE)
        return np.asarray(done & self.held_out)

    @property
    def evaluated(self) -> Array:
        """[N] bool: referenced, and without a defect as far as one can tell."""
        return np.asarray(self.referenced & (self.defect == ""))

    @property
    def pull(self) -> Array:
        """[N, L]: residual over the total error, that of the reference included."""
        total = np.hypot(self.label_error, self.reference_error)
        return np.asarray((self.label - self.reference) / total)

    def has_defect(self, kind: str) -> Array:
        """[N] bool: one kind of defect, alone or among others."""
        return np.array([kind in text.split("+") for text in self.defect], bool)

    def take(self, rows: Array) -> "Sample":
        """The stars selected by a mask or by positions."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        baselines = {name: label[rows] for name, label in parts.pop("baselines").items()}
        return Sample(**{name: array[rows] for name, array in parts.items()}, baselines=baselines)


def read_sample(
    data: EvaluationData, config: ReportConfig, listener: Listener
) -> tuple[Sample, Counts, tuple[str, ...]]:
    """Read the stores once; returns the sample, the counts and the names of the labels.

    Raises
    ------
    StoreError : the predictions do not belong to the survey.
    FileBroken, ColumnMissing : the truth table cannot be used.
    """
    store = Store.open(data.predictions, "predictions")
    survey = Store.open(data.survey, "survey") if data.survey else None
    names = tuple(str(name) for name in store.coordinate("label"))
    if survey is not None and survey.stars != store.stars:
        raise StoreError(
            f"{store.location} has {store.stars} stars",
            expected=f"{survey.stars}, as in {survey.location}",
            cure="Name the survey that these predictions were made from.",
        )
    truth = read_truth(data.truth, names) if data.truth else None
    joiner = _Joiner(data, names, survey, truth, config.sample / max(store.stars, 1))
    counts, parts = Counts(CompletenessCounts(config.snr_edges)), []
    listener(StageStarted(STAGE, store.stars, "stars"))
    for region in _regions(store):
        block = _read(store, region)
        counts.add(block)
        parts.append(joiner.join(region, block))
        listener(Advanced(STAGE, region.size))
    return _concatenate(parts), counts, names


def _read(store: Store, region: Region) -> dict[str, Array]:
    counted = [name for name in _COUNTED if name in store.variables]
    names = tuple(dict.fromkeys((*store.row_key.names, *_READ, *counted)))
    if _DEBIASED in store.variables:
        return store.read(region, (*names, _DEBIASED))
    block = store.read(region, names)
    return block | {_DEBIASED: np.full_like(block["label"], np.nan)}


def _regions(store: Store) -> Iterator[Region]:
    shards = max(1, READ_STARS // store.shard_stars)
    yield from store.regions(shards)


class _Joiner:
    """Knows the tables; turns one region of predictions into a part of the sample."""

    def __init__(
        self,
        data: EvaluationData,
        names: tuple[str, ...],
        survey: Store | None,
        truth: "pd.DataFrame | None",
        fraction: float,
    ) -> None:
        self.names, self.survey, self.truth, self.fraction = names, survey, truth, fraction
        self.split = data.split
        self.baselines = {
            name: (np.argsort(found.source_id), found) for name, found in data.baselines.items()
        }

    def join(self, region: Region, block: dict[str, Array]) -> Sample:
        ids = block["source_id"]
        drawn = hashing.uniform(ids) < self.fraction
        survey = self._survey_labels(region, block)
        reference, error, defect = self._references(ids, survey)
        held_out = self._held_out(ids, survey)
        # Stars with truth are as many as the survey; stars with references are few and all kept.
        wanted = held_out & np.isfinite(reference).any(axis=1)
        keep = drawn if self.truth is not None else drawn | wanted
        rows = np.flatnonzero(keep)
        return Sample(
            row=region.start + rows,
            **{name: block[name][rows] for name in (*_READ, _DEBIASED)},
            reference=reference[rows],
            reference_error=error[rows],
            defect=defect[rows],
            held_out=held_out[rows],
            drawn=drawn[rows],
            baselines={name: self._baseline(name, ids[rows]) for name in self.baselines},
        )

    def _survey_labels(self, region: Region, rows: dict[str, Array]) -> dict[str, Array] | None:
        """Labels of the survey's own table, of which training took its stars; None without."""
        if self.survey is None or "label" not in self.survey.variables:
            return None
        key = self.survey.row_key
        block = self.survey.read(region, (*key.names, "label", "label_error"))
        if key.differing(block, rows).size:
            raise StoreError(
                f"region {region.name} holds other stars than {self.survey.location}",
                cure="Name the survey that these predictions were made from.",
            )
        return block

    def _held_out(self, ids: Array, survey: dict[str, Array] | None) -> Array:
        """[N] bool: no labelled star of the training, validation or calibration split."""
        if self.split is None or survey is None:
            return np.ones(len(ids), bool)
        labelled = np.isfinite(survey["label"]).any(axis=1)
        return np.asarray(~labelled | (assign_split(ids, self.split) == TEST))

    def _references(
        self, ids: Array, survey: dict[str, Array] | None
    ) -> tuple[Array, Array, Array]:
        """Reference labels and their errors [N, L], and the defect of each star."""
        if self.truth is not None:
            return true_labels(self.truth, ids, self.names)
        defect = np.full(len(ids), "", object)
        if self.survey is None or survey is None:
            shape = (len(ids), len(self.names))
            return np.full(shape, np.nan), np.zeros(shape), defect
        return *survey_labels(self.survey, survey, self.names), defect

    def _baseline(self, name: str, ids: Array) -> Array:
        order, baseline = self.baselines[name]
        label = np.full((len(ids), len(self.names)), np.nan)
        place, found = find_sorted(baseline.source_id[order], ids)
        label[found] = baseline.label[order[place[found]]]
        return label


def _concatenate(parts: list[Sample]) -> Sample:
    arrays = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Sample)
        if f.name != "baselines"
    }
    baselines = {
        name: np.concatenate([part.baselines[name] for part in parts])
        for name in parts[0].baselines
    }
    return Sample(**arrays, baselines=baselines)
