"""Every rival on one survey: fitted on the same training stars, asked for the same others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.photometry import PhotometryOnly
from distcnn.baselines.ridge import Ridge
from distcnn.errors import StoreError
from distcnn.survey import Store

INPUTS = ("flux", "xp", "photometry", "parallax", "parallax_error")
SPECTRAL = ("flux", "xp")
MOST = 20_000
"""Most stars of each part that a rival is fitted on or asked for."""


@dataclass(frozen=True)
class Answer:
    """Labels [N, L] of a rival for the stars ``source_id`` [N], which it was not fitted on."""

    source_id: Array
    label: Array


def compare(
    store: Store,
    labels: Sequence[str],
    part_of: Callable[[Array], Array],
    *,
    most: int = MOST,
    seed: int = 0,
) -> dict[str, Answer]:
    """Fit the rivals that the survey's inputs allow.

    Parameters
    ----------
    store : a survey with reference labels.
    labels : which of them, in order.
    part_of : source_ids -> 0 train, 1 validation, other numbers for the rest.

    Raises
    ------
    StoreError : the survey has no labelled star in training or validation.
    """
    parts = _collect(store, labels, part_of, most)
    train, validation, others = parts
    if not len(train["source_id"]) or not len(validation["source_id"]):
        raise StoreError(
            f"{store.path} has no labelled star to fit rivals on",
            cure="Report without them: --set report.baselines=false.",
        )
    answers = {}
    if any(name in train for name in SPECTRAL):
        ridge = Ridge.fit(train, train["label"], validation, validation["label"])
        answers["ridge regression, same inputs"] = Answer(
            others["source_id"], ridge.predict(others)
        )
    if "photometry" in train:
        trees = PhotometryOnly.fit(train, train["label"], seed=seed)
        answers["photometry and parallax alone"] = Answer(
            others["source_id"], trees.predict(others)
        )
    return answers


def _collect(
    store: Store, labels: Sequence[str], part_of: Callable[[Array], Array], most: int
) -> list[dict[str, Array]]:
    """Training, validation and all other stars, at most ``most`` of each, region by region."""
    known = [str(name) for name in store.coordinate("label")]
    columns = [known.index(name) for name in labels]
    names = [name for name in INPUTS if name in store.variables]
    blocks: list[list[dict[str, Array]]] = [[], [], []]
    for region in store.regions():
        rows = store.read(region, [*names, "source_id", "label"])
        rows["label"] = rows["label"][:, columns]
        part, has = part_of(rows["source_id"]), np.isfinite(rows["label"]).any(axis=1)
        where = (has & (part == 0), has & (part == 1), ~has | (part > 2))
        for block, inside in zip(blocks, where, strict=True):
            room = most - sum(len(one["source_id"]) for one in block)
            chosen = np.flatnonzero(inside)[: max(room, 0)]
            block.append({name: values[chosen] for name, values in rows.items()})
    return [_joined(block) for block in blocks]


def _joined(blocks: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
