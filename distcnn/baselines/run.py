"""Compare: fit every baseline on the package's split, and store what it says of other stars."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Baseline, FittedBaseline
from distcnn.baselines.network import PackageNetwork
from distcnn.baselines.registry import choose_baselines
from distcnn.baselines.stars import ComparisonStars, known_inputs
from distcnn.baselines.steps import STAGE, UNTOLD, Steps
from distcnn.errors import FileBroken, UsageError
from distcnn.evaluation.baseline_table import (
    NETWORK,
    BaselineLabels,
    BaselineTable,
    MethodFacts,
    is_baselines,
    origin_of,
    read_baselines,
    write_baselines,
)
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.files import empty_folder, locked_folder
from distcnn.location import Address, Location, work_folder
from distcnn.manifest import read_manifest
from distcnn.stats import robust_std
from distcnn.survey import Store

MAX_STARS = 20_000
"""Most stars of each part that a baseline is fitted on or asked for."""


def compare(
    survey: Address,
    out: Address,
    package: Address,
    listener: Listener = silent,
    *,
    methods: Sequence[str] = (),
    network: bool = True,
    max_stars: int = MAX_STARS,
    seed: int = 0,
) -> BaselineTable:
    """Fit the baselines that the survey's inputs allow; their labels become the file ``out``.

    They learn the labels of ``package`` from its training split and choose settings on its
    validation split. What a table of the same origin and settings holds already is not computed
    again, and what an unfinished run has computed is kept beside it until all is done.

    Parameters
    ----------
    methods : names of rows of the registry; none = all that the survey has inputs for.
    network : whether the package itself answers for the same stars too.

    Raises
    ------
    StoreError : the survey has no labelled star in training or validation, or ``out`` cannot
        be written.
    PackageError : the package cannot be used.
    UsageError : ``out`` is there, but no table of baselines; or a method is not known, or needs
        what the survey does not have.
    LockHeld : another process makes the same table.
    """
    out = Location.parse(out)
    store = Store.open(survey, "survey")
    manifest = read_manifest(package)
    labels, split = manifest.spec.labels, manifest.training_split
    chosen = _usable(methods, store)
    wanted = [NETWORK] * network + [baseline.title for baseline in chosen]
    frame = BaselineTable(
        tuple(labels), {}, origin_of(store, split, labels), {"max_stars": max_stars, "seed": seed}
    )
    done = _finished(out, frame)
    if all(title in done.methods for title in wanted):
        listener(Notice(f"{out} is there already, of the same survey and split"))
        return done
    with locked_folder(work_folder(out)):
        work = _Work(work_folder(out), frame)
        start = perf_counter()
        stars = ComparisonStars.collect(store, labels, split, max_stars)
        missing = [title for title in wanted if title not in done.methods]
        listener(StageStarted(STAGE, len(missing), "methods"))
        rows = {baseline.title: baseline for baseline in chosen}
        for title in missing:
            if title == NETWORK:
                part = work.keep(NETWORK, lambda: _of_network(package, stars, frame, listener))
            else:
                part = work.keep(
                    rows[title].name, _maker(rows[title], stars, frame, seed, listener)
                )
            done = _joined(done, part)
            listener(Advanced(STAGE, 1, title))
        table = _in_order(done)
        write_baselines(out, table)
        empty_folder(work.folder)
    facts = {"methods": len(missing), "stars": len(stars.rows)}
    listener(StageEnded(STAGE, facts | {"seconds": round(perf_counter() - start, 1)}))
    return table


def _usable(methods: Sequence[str], store: Store) -> list[Baseline]:
    """The methods asked for; of all of them those that the survey has inputs for."""
    chosen, has = choose_baselines(methods), set(store.variables)
    useless = [b for b in chosen if not set(b.needs) & has]
    if methods and useless:
        raise UsageError(
            f"{useless[0].name} cannot be fitted: the survey has none of its inputs",
            expected=f"one of {', '.join(useless[0].needs)} in {store.location}",
            cure="Leave the method out of --methods.",
        )
    return [baseline for baseline in chosen if baseline not in useless]


def _finished(out: Location, frame: BaselineTable) -> BaselineTable:
    """What the table at ``out`` has of the same origin and settings; else nothing."""
    if not out.exists():
        return frame
    if not is_baselines(out):
        raise UsageError(
            f"{out} is there and is no table of baselines",
            expected="a new name that ends in .parquet, or the table of an earlier run",
            cure="Give another name; nothing else is ever replaced.",
        )
    found = read_baselines(out)
    return found if _alike(found, frame) and set(found.facts) >= set(found.methods) else frame


def _alike(found: BaselineTable, frame: BaselineTable) -> bool:
    same = found.origin == frame.origin and found.settings == frame.settings
    return same and found.labels == frame.labels


class _Work:
    """Tables of single methods in the folder of an unfinished run."""

    def __init__(self, folder: Path, frame: BaselineTable) -> None:
        self.folder, self.frame = folder, frame

    def keep(self, name: str, make: Callable[[], BaselineTable]) -> BaselineTable:
        """The table of one method: as an earlier run has left it, or made now."""
        path = self.folder / f"{name}.parquet"
        if path.exists():
            with suppress(FileBroken):
                found = read_baselines(path)
                if _alike(found, self.frame):
                    return found
        table = make()
        write_baselines(path, table)
        return table


def _maker(
    baseline: Baseline,
    stars: ComparisonStars,
    frame: BaselineTable,
    seed: int,
    listener: Listener,
) -> Callable[[], BaselineTable]:
    def make() -> BaselineTable:
        start = perf_counter()
        fitted = baseline.fit(stars.training, stars.validation, seed=seed, listener=listener)
        seconds = perf_counter() - start
        steps, others = Steps(baseline.name, listener), stars.validation
        with steps.step("labels of the validation split", len(others.label), "stars") as advance:
            estimate = fitted.predict(others.inputs)
            advance(len(others.label))
        mad = _mad(estimate.label - others.label, frame.labels)
        found, speed = ask(fitted, stars, known_inputs(stars.store), steps)
        known = MethodFacts(baseline.name, baseline.spectroscopic, seconds, speed, mad)
        return _of_one(frame, baseline.title, found, known)

    return make


def _of_network(
    package: Address, stars: ComparisonStars, frame: BaselineTable, listener: Listener
) -> BaselineTable:
    network = PackageNetwork.load(package, stars.store)
    names = dict.fromkeys((*known_inputs(stars.store), *network.variables))
    read = [name for name in names if name in stars.store.variables]
    found, speed = ask(network, stars, read, Steps(NETWORK, listener))
    return _of_one(frame, NETWORK, found, MethodFacts(NETWORK, False, float("nan"), speed))


def _of_one(
    frame: BaselineTable, title: str, found: BaselineLabels, known: MethodFacts
) -> BaselineTable:
    part = BaselineTable(frame.labels, {title: found}, frame.origin, frame.settings)
    return _joined(part, BaselineTable(frame.labels, {}, {}, {}, {title: known}))


def ask(
    fitted: FittedBaseline, stars: ComparisonStars, names: Sequence[str], steps: Steps = UNTOLD
) -> tuple[BaselineLabels, float]:
    """Labels of the stars that are asked for, and stars per second, reading apart."""
    labels, errors, seconds = [], [], 0.0
    with steps.step("labels of the other stars", len(stars.rows), "stars") as advance:
        for inputs in stars.blocks(names):
            start = perf_counter()
            estimate = fitted.predict(inputs)
            seconds += perf_counter() - start
            labels.append(estimate.label)
            error = estimate.error
            errors.append(np.full_like(estimate.label, np.nan) if error is None else error)
            advance(len(estimate.label))
    width = stars.reference.shape[1]
    empty = np.empty((0, width), np.float32)
    label, error = np.concatenate([empty, *labels]), np.concatenate([empty, *errors])
    return BaselineLabels(stars.source_id, label, error), len(label) / max(seconds, 1e-9)


def _mad(residual: Array, labels: Sequence[str]) -> dict[str, float]:
    """1.48 MAD of each label that has residuals."""
    pairs = zip(labels, residual.T, strict=True)
    columns = {name: column[np.isfinite(column)] for name, column in pairs}
    return {name: robust_std(values) for name, values in columns.items() if values.size}


def _joined(one: BaselineTable, other: BaselineTable) -> BaselineTable:
    methods = {**one.methods, **other.methods}
    return BaselineTable(
        one.labels, methods, one.origin, one.settings, {**one.facts, **other.facts}
    )


def _in_order(table: BaselineTable) -> BaselineTable:
    """The methods in the order of the registry, the network first."""
    titles = [NETWORK, *(baseline.title for baseline in choose_baselines())]
    order = sorted(table.methods, key=titles.index)
    return BaselineTable(
        table.labels,
        {title: table.methods[title] for title in order},
        table.origin,
        table.settings,
        {title: table.facts[title] for title in order},
    )
