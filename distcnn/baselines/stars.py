"""Which stars baselines are fitted on, which they are asked for, and how both are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Inputs, LabelledStars
from distcnn.config import SplitConfig
from distcnn.errors import StoreError
from distcnn.survey import Region, Store
from distcnn.survey.split import TEST, Split, assign_split

INPUTS = ("flux", "flux_error", "snr", "xp", "photometry", "parallax", "parallax_error")
READ_STARS = 4096


@dataclass(frozen=True)
class ComparisonStars:
    """Stars of a survey by their part in a comparison.

    Attributes
    ----------
    training, validation : in memory.
    rows : [M] ascending row numbers of the stars that are asked for: the labelled stars of the
        test split, then stars without labels, as many as allowed.
    source_id, snr : [M]. ``reference``, ``reference_error`` : [M, L], NaN = none.
    """

    store: Store
    training: LabelledStars
    validation: LabelledStars
    rows: Array
    source_id: Array
    snr: Array
    reference: Array
    reference_error: Array

    @classmethod
    def collect(
        cls,
        store: Store,
        labels: Sequence[str],
        split: SplitConfig,
        max_stars: int,
    ) -> "ComparisonStars":
        """Read who is who, and the stars to fit; at most ``max_stars`` of each kind.

        Parameters
        ----------
        labels : which of the survey's labels, in order.
        split : of the package. Where its members train on folds, every labelled star outside
            the test split trains but those of validation.

        Raises
        ------
        StoreError : the survey has no labelled star in training or validation.
        """
        if "label" not in store.variables:
            raise _unlabelled(store)
        known = [str(name) for name in store.coordinate("label")]
        columns = [known.index(name) for name in labels]
        part, has = _parts(store, columns, split)
        fitted = [Split.TRAIN, *([Split.CALIBRATION] if split.cross_fitted else [])]
        training = np.flatnonzero(has & np.isin(part, fitted))[:max_stars]
        validation = np.flatnonzero(has & (part == Split.VALIDATION))[:max_stars]
        if not (len(training) and len(validation)):
            raise _unlabelled(store)
        asked = np.concatenate([np.flatnonzero(has & (part >= TEST)), np.flatnonzero(~has)])
        rows = np.sort(asked[:max_stars])
        facts = _read(store, rows, _known(store, ("source_id", "snr", "label", "label_error")))
        missing = np.full(len(rows), np.nan)
        return cls(
            store,
            _labelled(store, training, columns),
            _labelled(store, validation, columns),
            rows,
            facts["source_id"],
            facts.get("snr", missing),
            facts["label"][:, columns],
            _error_of(facts, columns),
        )

    def blocks(self, variables: Sequence[str]) -> Iterator[Inputs]:
        """Inputs of the stars that are asked for, some thousands at a time, in order of rows."""
        for rows in np.split(self.rows, np.arange(READ_STARS, len(self.rows), READ_STARS)):
            if rows.size:
                yield _read(self.store, rows, variables)


def known_inputs(store: Store) -> tuple[str, ...]:
    """Names of the inputs that a survey has."""
    return _known(store, INPUTS)


def _known(store: Store, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in store.variables)


def _parts(store: Store, columns: Sequence[int], split: SplitConfig) -> tuple[Array, Array]:
    """[N] part of every star of the survey, and whether it has one of the labels."""
    parts, has = [], []
    for region in store.regions():
        block = store.read(region, ["source_id", "label"])
        parts.append(assign_split(block["source_id"], split))
        has.append(np.isfinite(block["label"][:, list(columns)]).any(axis=1))
    return np.concatenate(parts), np.concatenate(has)


def _labelled(store: Store, rows: Array, columns: Sequence[int]) -> LabelledStars:
    names = (*known_inputs(store), *_known(store, ("label", "label_error")))
    block = _read(store, rows, names)
    inputs = {name: block[name] for name in known_inputs(store)}
    return LabelledStars(inputs, block["label"][:, list(columns)], _error_of(block, columns))


def _error_of(block: Inputs, columns: Sequence[int]) -> Array:
    if "label_error" not in block:
        return np.full((len(block["label"]), len(columns)), np.nan, np.float32)
    return block["label_error"][:, list(columns)]


def _read(store: Store, rows: Array, names: Sequence[str]) -> dict[str, Array]:
    """Variables of the stars at ascending rows, of each region only what is wanted."""
    if not len(rows):
        return {name: store.read(Region(0, 0), [name])[name] for name in names}
    parts = []
    for region in store.regions():
        inside = rows[(rows >= region.start) & (rows < region.stop)]
        if inside.size:
            # Chunks are decoded whole, so a few rows more cost nothing.
            near = Region(int(inside[0]), int(inside[-1]) + 1)
            block = store.read(near, names)
            parts.append({name: block[name][inside - near.start] for name in names})
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _unlabelled(store: Store) -> StoreError:
    return StoreError(
        f"{store.location} has no labelled star to fit baselines on",
        expected="labelled stars in the training and validation splits of the package",
        cure="The report does without them; `distcnn demo` with --set report.baselines=false.",
    )
