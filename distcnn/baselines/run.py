"""Compare: fit every baseline on the package's split, and store what it says of other stars."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Baseline, LabelledStars
from distcnn.baselines.registry import BASELINES
from distcnn.errors import StoreError, UsageError
from distcnn.evaluation.baseline_table import (
    BaselineLabels,
    BaselineTable,
    is_baselines,
    origin_of,
    read_baselines,
    write_baselines,
)
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.location import Address, Location
from distcnn.manifest import read_manifest
from distcnn.survey import Store
from distcnn.survey.split import TEST, Split, assign_split

STAGE = "compare"
INPUTS = ("flux", "xp", "photometry", "parallax", "parallax_error")
MAX_STARS = 20_000
"""Most stars of each part that a baseline is fitted on or asked for; they are held in memory."""


def compare(
    survey: Address,
    out: Address,
    package: Address,
    listener: Listener = silent,
    *,
    max_stars: int = MAX_STARS,
    seed: int = 0,
) -> BaselineTable:
    """Fit the baselines that the survey's inputs allow; their labels become the file ``out``.

    They learn the labels of ``package`` from its training split and choose settings on its
    validation split. A table of the same origin and settings is left as it is.

    Raises
    ------
    StoreError : the survey has no labelled star in training or validation, or ``out`` cannot
        be written.
    PackageError : the package cannot be used.
    UsageError : ``out`` is there, but no table of baselines.
    """
    out = Location.parse(out)
    store = Store.open(survey, "survey")
    manifest = read_manifest(package)
    labels, split = manifest.spec.labels, manifest.training_split
    origin = origin_of(store, split, labels)
    chosen = [baseline for baseline in BASELINES if set(baseline.needs) & set(store.variables)]
    settings = {"max_stars": max_stars, "seed": seed, "methods": [b.title for b in chosen]}
    if out.exists():
        found = _read_own(out)
        if (found.origin, found.settings) == (origin, settings):
            listener(Notice(f"{out} is there already, of the same survey and split"))
            return found
    start = perf_counter()
    parts = collect(store, labels, lambda ids: assign_split(ids, split), max_stars)
    listener(StageStarted(STAGE, len(chosen), "methods"))
    methods = {}
    for baseline in chosen:
        methods[baseline.title] = _answer(baseline, parts, seed)
        listener(Advanced(STAGE, 1, baseline.title))
    table = BaselineTable(tuple(labels), methods, origin, settings)
    write_baselines(out, table)
    facts = {"methods": len(methods), "stars": len(parts[2]["source_id"])}
    listener(StageEnded(STAGE, facts | {"seconds": round(perf_counter() - start, 1)}))
    return table


def _read_own(out: Location) -> BaselineTable:
    if is_baselines(out):
        return read_baselines(out)
    raise UsageError(
        f"{out} is there and is no table of baselines",
        expected="a new name that ends in .parquet, or the table of an earlier run",
        cure="Give another name; nothing else is ever replaced.",
    )


def _answer(baseline: Baseline, parts: Sequence[Mapping[str, Array]], seed: int) -> BaselineLabels:
    training, validation, others = parts
    fitted = baseline.fit(
        LabelledStars(training, training["label"]),
        LabelledStars(validation, validation["label"]),
        seed=seed,
    )
    estimate = fitted.predict(others)
    return BaselineLabels(others["source_id"], estimate.label, estimate.error)


def collect(
    store: Store, labels: Sequence[str], part_of: Callable[[Array], Array], max_stars: int
) -> list[dict[str, Array]]:
    """Training, validation and other stars: test split and unlabelled, ``max_stars`` of each.

    Parameters
    ----------
    labels : which of the survey's labels, in order.
    part_of : source_ids [N] -> ``Split`` [N].

    Raises
    ------
    StoreError : the survey has no labelled star in training or validation.
    """
    if "label" not in store.variables:
        raise _unlabelled(store)
    known = [str(name) for name in store.coordinate("label")]
    columns = [known.index(name) for name in labels]
    names = [name for name in INPUTS if name in store.variables]
    blocks: list[list[dict[str, Array]]] = [[], [], []]
    for region in store.regions():
        rows = store.read(region, [*names, "source_id", "label"])
        rows["label"] = rows["label"][:, columns]
        part, has = part_of(rows["source_id"]), np.isfinite(rows["label"]).any(axis=1)
        where = (
            has & (part == Split.TRAIN),
            has & (part == Split.VALIDATION),
            ~has | (part >= TEST),
        )
        for block, inside in zip(blocks, where, strict=True):
            room = max_stars - sum(len(one["source_id"]) for one in block)
            chosen = np.flatnonzero(inside)[: max(room, 0)]
            block.append({name: values[chosen] for name, values in rows.items()})
    parts = [_joined(block) for block in blocks]
    if not all(len(part["source_id"]) for part in parts[:2]):
        raise _unlabelled(store)
    return parts


def _unlabelled(store: Store) -> StoreError:
    return StoreError(
        f"{store.location} has no labelled star to fit baselines on",
        expected="labelled stars in the training and validation splits of the package",
        cure="The report does without them; `distcnn demo` with --set report.baselines=false.",
    )


def _joined(blocks: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
