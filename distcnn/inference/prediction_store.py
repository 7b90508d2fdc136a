"""Prediction store: begun, or found again; what it was made from, and who may write to it.

The store exists whole before the first star is computed. Its fingerprint says from which
survey, by which package and how; another fingerprint is an error, never a mixture.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import numpy as np
import torch

from distcnn import __version__
from distcnn.config import PredictConfig
from distcnn.errors import LockHeld, StoreBusy, StoreError
from distcnn.inference.compatibility import survey_digest
from distcnn.inference.compute import COPIED_IF_THERE
from distcnn.labels import ATTRIBUTE, label_info
from distcnn.location import Address, Location
from distcnn.model import Package
from distcnn.model.networks.covariance import pair_names
from distcnn.quality import Quality
from distcnn.schema import (
    LABEL,
    NAME,
    NAME_BYTES,
    PAIR,
    PREDICTION_VARIABLES,
    STAR,
    Flag,
    Variable,
)
from distcnn.survey import (
    LEDGER,
    SNR_INTERVAL,
    Coordinate,
    Layout,
    Ledger,
    Share,
    Store,
    Tiles,
    begin_element,
    check_fingerprint,
    create_store,
    merge_elements,
    stored_regions,
    tile,
)

Attrs = dict[str, Any]
LOCK, DEAD_LETTERS = "lock", "dead_letters.jsonl"
BEGIN_LOCK = "lock.begin"
"""Held by the element of a job array that chooses engine and batches for all."""
POLL_S = 0.5
CREATION_TIMEOUT_S = 120.0
"""Longest wait for a store that another element of the array makes."""
BEGIN_TIMEOUT_S = 900.0
"""Longest wait for an engine that another element chooses; a dead one frees its lock."""
MAX_CHUNK_STARS = 16_384
"""Most stars in a chunk of predictions, unless the survey's chunks have more."""
MIN_REGIONS = 64
"""Regions that a survey is cut into at least, if they do not become too small: at the end of a
run every worker but one waits for the last region."""
MIN_REGION_STARS = 4096
"""Below this the fixed costs of a region (files, a task, a line in the ledger) would show."""
FINGERPRINT_VERSION = 2
SETTINGS_WITHOUT_EFFECT = {
    "device": "chooses hardware, as the cluster does; the store keeps its engine on any device",
    "worker_memory": "only refuses a plan; batches are halved where memory really runs out",
    "accept": "only refuses a survey",
    "attempts": "tries a failed region again, with the same result if it succeeds",
    "verify_sample": "read after the run",
    "verify_tolerance": "read after the run",
}
"""Settings of prediction that may differ when a run is resumed, and why. A list of those left
out: a new setting counts as deciding the result until it is shown that it does not."""
_SETTINGS_OF_VERSION_1 = ("engine", "precision", "batch", "gpu_batch")
"""Stores of the first version, a list of those kept: compared as they were, so they resume."""


def fingerprint(
    package: Package, survey: Store, config: PredictConfig, predictions: Location
) -> Attrs:
    """Everything that decides the values of the result, as the store at ``predictions`` put it.

    Raises
    ------
    StoreError : the path holds something else than a prediction store.
    """
    settings = config.model_dump(mode="json", exclude=set(SETTINGS_WITHOUT_EFFECT))
    version = {"version": FINGERPRINT_VERSION}
    if _fingerprint_version(predictions) == 1:
        settings, version = {name: settings[name] for name in _SETTINGS_OF_VERSION_1}, {}
    return {
        **version,
        "survey": survey_digest(survey),
        "package": package.digest,
        **settings,
        "distcnn": __version__,
        "torch": str(torch.__version__),
    }


def _fingerprint_version(predictions: Location) -> int:
    """That of the store there, or the present one where nothing was begun."""
    if not predictions.exists():
        return FINGERPRINT_VERSION
    found = Store.open(predictions, "predictions").attrs.get("fingerprint", {})
    return int(found.get("version", 1))


def layout(
    package: Package, survey: Store, predictions: Location, config: PredictConfig, requested: Attrs
) -> Layout:
    """The prediction store of a survey: one row per star, in the survey's order and shards."""
    labels, pairs = np.array(package.labels), np.array(pair_names(package.labels), dtype=str)
    own = package.manifest.own_labels
    units = {"units_of": {name: label_info(name, own).unit for name in package.labels}}
    coordinates = {LABEL: Coordinate(LABEL, labels, units), PAIR: Coordinate(PAIR, pairs)}
    # Zarr knows no arrays of width 0, and a single label has no pairs.
    dims = {STAR, LABEL, PAIR} if pairs.size else {STAR, LABEL}
    dims |= {NAME} if "name" in survey.variables else set()
    return Layout(
        kind="predictions",
        sizes={STAR: survey.stars, LABEL: labels.size, PAIR: pairs.size, NAME: NAME_BYTES},
        chunk_stars=_chunk(survey.chunk_stars, region_stars(survey)),
        shard_stars=region_stars(survey),
        variables=_variables(survey, dims),
        coordinates={name: c for name, c in coordinates.items() if name in dims},
        attrs=_attrs(package, survey, config) | provenance(package, survey, predictions, requested),
        row_key=survey.row_key,
    )


def _variables(survey: Store, dims: set[str]) -> tuple[Variable, ...]:
    """Those of the schema, and what else the rows of the survey are known by."""
    absent = {name for name in COPIED_IF_THERE if name not in survey.variables}
    known = tuple(
        v for v in PREDICTION_VARIABLES.values() if dims.issuperset(v.dims) and v.name not in absent
    )
    return (*(v for v in survey.row_key.variables if v.name not in PREDICTION_VARIABLES), *known)


def region_stars(survey: Store) -> int:
    """Stars of a region of predictions: a shard of the survey, or of few stars a part of one.

    It follows from the survey alone, never from the workers: with any number of them the same
    files are made, and a run can be resumed by another number.
    """
    size = survey.shard_stars
    while (
        size % (2 * survey.chunk_stars) == 0
        and size // 2 >= MIN_REGION_STARS
        and survey.stars < MIN_REGIONS * size
    ):
        size //= 2
    return size


def regions_of(survey: Store, predictions: Location) -> Tiles:
    """All regions of a run: those of the prediction store, or what they will be.

    Raises
    ------
    StoreError : the path holds something else.
    """
    if predictions.exists():
        return Store.open(predictions, "predictions").regions()
    return tile(survey.stars, shard=region_stars(survey))


def _chunk(chunk: int, shard: int) -> int:
    """Stars in a chunk of predictions: a multiple of the survey's chunks that divides a shard.

    The largest one within ``MAX_CHUNK_STARS``: a star's results are few bytes, and a chunk costs
    the same however large it is.
    """
    parts = shard // chunk
    fitting = (n * chunk for n in range(1, parts + 1) if parts % n == 0)
    return max(rows for rows in fitting if rows <= max(chunk, MAX_CHUNK_STARS))


def _attrs(package: Package, survey: Store, config: PredictConfig) -> Attrs:
    return {
        "complete": False,
        "distcnn_version": __version__,
        "labels": list(package.labels),
        **({ATTRIBUTE: own} if (own := package.manifest.own_labels) else {}),
        "release": survey.attrs.get("release"),
        **({SNR_INTERVAL: interval} if (interval := survey.attrs.get(SNR_INTERVAL)) else {}),
        "bands": list(package.spec.bands),
        "engine": {"members": package.size},
        "settings": config.model_dump(mode="json"),
        "flags": {flag.name: {"bit": int(flag), "text": flag.sentence} for flag in Flag},
        "limits": _limits(Quality.from_arrays(package.quality_arrays)),
    }


def provenance(package: Package, survey: Store, predictions: Location, requested: Attrs) -> Attrs:
    """Package and survey: digests, and paths relative to the prediction store."""
    sources = {"package": package.location, "survey": survey.location}
    found: Attrs = {
        name: {"path": source.relative_to(predictions), "digest": requested[name]}
        for name, source in sources.items()
    }
    found["survey"]["name"] = survey.attrs.get("survey")
    return {**found, "fingerprint": requested}


def _limits(quality: Quality) -> dict[str, list[float | None]]:
    # JSON has no NaN: a side without a limit is null.
    limits = quality.limits
    boxes = {
        "label_low": limits.label[:, 0],
        "label_high": limits.label[:, 1],
        "reference_magnitude": limits.magnitude,
        "parallax": limits.parallax,
    }
    return {
        name: [float(v) if np.isfinite(v) else None for v in np.ravel(box)]
        for name, box in boxes.items()
    }


def finished_regions(predictions: Location, requested: Attrs) -> Mapping[str, Attrs]:
    """Ledger lines of the regions that are done; none if nothing was begun. Changes nothing.

    Raises
    ------
    FingerprintMismatch : the store was begun from another survey or package, or otherwise.
    StoreError : the path holds something else.
    """
    if not predictions.exists():
        return {}
    store = Store.open(predictions, "predictions")
    done = stored_regions(store)
    if done or store.attrs.get("complete"):
        _check_begun(store, requested)
    return done


def has_engine(predictions: Location) -> bool:
    """Whether the engine and the batches of the store there are chosen."""
    if not predictions.exists():
        return False
    return bool(Store.open(predictions, "predictions").attrs["engine"].get("candidate"))


def _check_begun(store: Store, requested: Attrs) -> None:
    again = f"remove {store.location}"
    if not store.attrs.get("complete"):
        again = f"begin again: --restart removes {store.location}"
    check_fingerprint(
        store.attrs.get("fingerprint", {}),
        requested,
        begun=f"{store.location.name} was begun",
        cure=f"Ask for the same again, use another output path, or {again}.",
    )


def discard_unfinished(predictions: Address) -> None:
    """Remove a prediction store that is not finished; a finished one stays.

    Raises
    ------
    StoreError : another run writes to it, or the path holds something else.
    """
    predictions = Location.parse(predictions)
    if not predictions.exists():
        return
    store = Store.open(predictions, "predictions")
    if not store.attrs.get("complete"):
        with _write_lock(store):
            store.location.remove()


@contextmanager
def open_prediction_store(
    package: Package, survey: Store, predictions: Location, config: PredictConfig, requested: Attrs
) -> Iterator[tuple[Store, Ledger, int]]:
    """The prediction store and its ledger, locked; ``requested``: the fingerprint.

    The number is that of regions taken over from elements of job arrays.

    Raises
    ------
    FingerprintMismatch : the store was begun from another survey or package, or otherwise.
    StoreError : another run writes to it, or the disk refuses.
    """
    if predictions.exists():
        _discard_empty(predictions, requested)
    if predictions.exists():
        store = Store.open(predictions, "predictions")
        _check_begun(store, requested)
    else:
        store = create_store(predictions, layout(package, survey, predictions, config, requested))
    with _write_lock(store):
        ledger = Ledger.open(store.private / LEDGER, requested)
        merged = merge_elements(store, ledger)
        attrs = provenance(package, survey, predictions, requested)
        if any(store.attrs.get(name) != value for name, value in attrs.items()):
            store.annotate(attrs)  # package or survey were moved since
        store.location.remove_drafts()
        with ledger.flushed():
            yield store, ledger, merged


def _discard_empty(predictions: Location, requested: Attrs) -> None:
    """Remove a store of another fingerprint in which nothing was stored."""
    store = Store.open(predictions, "predictions")
    same = store.attrs.get("fingerprint", {}) == requested
    if not same and not store.attrs.get("complete") and not stored_regions(store):
        discard_unfinished(predictions)


@contextmanager
def _write_lock(store: Store) -> Iterator[None]:
    try:
        lock = (store.private / LOCK).lock()
    except LockHeld as held:
        raise _busy(f"{store.location.name} is being written by another run", held) from None
    with lock:
        yield


def _busy(what: str, held: LockHeld) -> StoreBusy:
    holder = held.problem.partition(" is held by ")[2]
    return StoreBusy(
        f"{what} ({holder})" if holder else what, cure="Wait for it, or use another output path."
    )


@contextmanager
def open_share(
    share: Share, store: Store, requested: Attrs
) -> Iterator[tuple[Mapping[str, Attrs], Callable[[], Ledger]]]:
    """For one element: what all have stored so far, and how to begin a ledger of its own.

    Elements share the lock of the store, so that no run without ``--array`` begins meanwhile.

    Raises
    ------
    StoreBusy : such a run writes to the store, or this element is at work already.
    """
    try:
        lock = (store.private / LOCK).lock(shared=True, claim=False)
    except LockHeld as held:
        raise _busy(f"{store.location.name} is being written by a whole run", held) from None
    with lock:
        try:
            own = (store.private / f"lock.{share.name}").lock(claim=False)
        except LockHeld as held:
            raise _busy(f"element {share} is at work already", held) from None
        try:
            yield stored_regions(store), lambda: begin_element(store, share, requested)
        finally:
            own.remove()


def create_or_await(
    package: Package, survey: Store, predictions: Location, config: PredictConfig, requested: Attrs
) -> Store:
    """The prediction store, made by the first element that comes.

    Raises
    ------
    FingerprintMismatch : the store was begun from another survey or package, or otherwise.
    LockHeld : whoever makes it does not come to an end.
    StoreError : the disk refuses.
    """
    deadline = monotonic() + CREATION_TIMEOUT_S
    while not predictions.exists():
        try:
            create_store(predictions, layout(package, survey, predictions, config, requested))
        except LockHeld:
            if monotonic() > deadline:
                raise
            sleep(POLL_S)
        except StoreError:
            if not predictions.exists():  # else another element was faster
                raise
    store = Store.open(predictions, "predictions")
    _check_begun(store, requested)
    return store


def begin_once(store: Store, begin: Callable[[Store], None]) -> Store:
    """Let one element choose the engine for all, by ``begin``; the others wait for it.

    Raises
    ------
    LockHeld : the one that chooses does not come to an end.
    """
    deadline = monotonic() + BEGIN_TIMEOUT_S
    while not store.attrs["engine"].get("candidate"):
        try:
            lock = (store.private / BEGIN_LOCK).lock()
        except LockHeld:
            if monotonic() > deadline:
                raise
            sleep(POLL_S)
            store = Store.open(store.location, "predictions")
            continue
        with lock:
            store = Store.open(store.location, "predictions")
            if not store.attrs["engine"].get("candidate"):
                begin(store)
    return store
