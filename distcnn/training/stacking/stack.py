"""Stack: from an ensemble and its calibration stars to stacked labels of the same stars."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distcnn.arrays import Array, find_sorted
from distcnn.config import TrainConfig
from distcnn.evaluation.out_of_fold_table import (
    OutOfFoldLabels,
    OutOfFoldTable,
    read_out_of_fold,
)
from distcnn.events import Listener, silent
from distcnn.model import InputSpec, Network, Package
from distcnn.model.stacking import Parts
from distcnn.survey import Store
from distcnn.survey.split import Split, assign_fold
from distcnn.training.calibration_stars import CalibrationStars
from distcnn.training.data.copies import copies_of
from distcnn.training.data.copies.reddened import Reddening
from distcnn.training.data.labelled import Labelled, join_stars, read_labelled
from distcnn.training.evaluate import predict_labels
from distcnn.training.stacking.fit import FittedStacking, OutOfFoldStars, fit_stacking

MAX_TRAINING_STARS = 20_000
"""Most stars of training and of validation, evenly taken, that regressions are fitted to beside
those of calibration."""
STACKED = "stacked"
"""Name of the stacked labels among the methods of the table of out-of-fold predictions."""


@dataclass(frozen=True)
class Stacked:
    """Calibration stars with stacked labels, their folds [N], and what made the labels; None = the
    ensemble alone.
    """

    stars: CalibrationStars
    fold: Array | None = None
    fitted: FittedStacking | None = None

    @property
    def parts(self) -> Parts | None:
        """What the package holds of it."""
        return None if self.fitted is None else self.fitted.parts

    @property
    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {} if self.fitted is None else {"stacking": self.fitted.summary}

    def table(self, table: OutOfFoldTable) -> OutOfFoldTable:
        """The table with the stacked labels of the calibration stars."""
        if self.fitted is None or self.fold is None:
            return table
        # Faint copies of stars, behind them, have the same identifiers.
        ids, first = np.unique(self.stars.stars.source_id, return_index=True)
        predicted = self.stars.predicted
        missing = np.full_like(predicted["label"], np.nan)
        labels = OutOfFoldLabels(
            source_id=ids,
            fold=self.fold[first],
            members=np.zeros(len(ids), np.int16),
            label=predicted["label"][first],
            noise=missing[first],
            scatter=missing[first],
            fewer_members_error=predicted.get("fewer_members_error", missing)[first],
        )
        return replace(table, methods={**table.methods, STACKED: labels})


def stack_stars(
    networks: Sequence[Network],
    stars: CalibrationStars,
    store: Store,
    spec: InputSpec,
    config: TrainConfig,
    *,
    listener: Listener = silent,
) -> Stacked:
    """Fit regressions beside an ensemble, and put the stacked labels in place of its own.

    The stars with inputs hidden keep the ensemble's labels, as such stars do in prediction.
    """
    if not config.stacking.methods:
        return Stacked(stars)
    given = _given(networks, stars, store, spec, config)
    fitted = fit_stacking(networks[0], given, config.stacking, config.seed, listener)
    if fitted is None:
        return Stacked(stars)
    last = slice(len(given.stars) - len(stars.stars), None)
    share = fitted.share[last]
    predicted = dict(stars.predicted)
    predicted["label"] = fitted.label[last].astype(np.float32)
    if "fewer_members_error" in predicted:
        predicted["fewer_members_error"] = predicted["fewer_members_error"] * share
    return Stacked(replace(stars, predicted=predicted), given.fold[last], fitted)


def _given(
    networks: Sequence[Network],
    stars: CalibrationStars,
    store: Store,
    spec: InputSpec,
    config: TrainConfig,
) -> OutOfFoldStars:
    """All stars outside the test split, those of ``stars`` last."""
    label = stars.predicted["label"]
    if config.split.cross_fitted:
        # Faint copies are among these stars already.
        copies = Reddening.of(store, spec, config.augment)
        fold = stars.predicted["fold"]
        if copies is None:
            return OutOfFoldStars(stars.stars, fold, label, _is_copy(stars.stars, config))
        unknown = np.full_like(label, np.nan)
        return OutOfFoldStars(
            join_stars([copies(stars.stars), stars.stars]),
            np.concatenate([fold, fold]),
            np.concatenate([unknown, label]),
        )
    train, stopping = (
        read_labelled(store, spec, config.split, part, most=MAX_TRAINING_STARS)
        for part in (Split.TRAIN, Split.VALIDATION)
    )
    made = copies_of(store, spec, config.augment, stars.stars)
    unseen: Array = predict_labels(networks, stopping.inputs)["label"]
    if made is not None:
        train = join_stars([train, made(train)])
    everyone: Labelled = join_stars([train, stopping, stars.stars])
    labels = np.concatenate([np.full_like(train.label, np.nan), unseen, label])
    fold = assign_fold(everyone.source_id, config.split)
    copy = np.zeros(len(everyone), bool)
    copy[len(everyone) - len(stars.stars) :] = _is_copy(stars.stars, config)
    return OutOfFoldStars(everyone, fold, labels, copy)


def _is_copy(stars: Labelled, config: TrainConfig) -> Array:
    """[N] bool, faint copies: they stand behind their stars, under the same identifiers."""
    copy = np.full(len(stars), config.augment.faint_inputs)
    copy[np.unique(stars.source_id, return_index=True)[1]] = False
    return copy


def with_unseen_labels(
    stars: CalibrationStars, student: Network, teacher: Package
) -> CalibrationStars:
    """Calibration stars of a student, none of which the regressions of its teacher know.

    They were fitted to these stars. What the student says otherwise than its teacher is put on the
    stacked label of the teacher out of fold, which is what the student would say of a new star.
    """
    stacking, table = teacher.stacking(), read_out_of_fold(teacher.location)
    if stacking is None or table is None or STACKED not in table.methods:
        return stars
    known, inputs = table.methods[STACKED], stars.stars.inputs
    rows, there = find_sorted(known.source_id, stars.stars.source_id)
    answer = predict_labels(teacher.networks(), inputs, stacking)["label"]
    own = predict_labels([student], inputs)["label"]
    unseen = known.label[rows] + (own - answer)
    label = np.where(there[:, None], unseen, stars.predicted["label"]).astype(np.float32)
    predicted = stars.predicted | {"label": label}
    if "fewer_members_error" in predicted:
        excess = known.fewer_members_error[rows]
        predicted["fewer_members_error"] = np.where(
            there[:, None], excess, predicted["fewer_members_error"]
        ).astype(np.float32)
    return replace(stars, predicted=predicted)
