"""Opening a prediction store for a whole run: begun or found again, and held by one run alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distcnn.config import PredictConfig
from distcnn.errors import LockHeld, StoreBusy
from distcnn.inference.prediction_store.fingerprint import check_begun
from distcnn.inference.prediction_store.layout import layout, provenance
from distcnn.location import Address, Location
from distcnn.model import Package
from distcnn.survey import LEDGER, Ledger, Store, create_store, merge_elements, stored_regions

Attrs = dict[str, Any]
LOCK = "lock"
"""Held by a whole run alone; shared by the elements of a job array."""


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
        check_begun(store, requested)
    return done


def has_engine(predictions: Location) -> bool:
    """Whether the engine and the batches of the store there are chosen."""
    if not predictions.exists():
        return False
    return bool(Store.open(predictions, "predictions").attrs["engine"].get("candidate"))


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
        check_begun(store, requested)
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
        raise busy(f"{store.location.name} is being written by another run", held) from None
    with lock:
        yield


def busy(what: str, held: LockHeld) -> StoreBusy:
    """The error that names whoever holds a lock."""
    holder = held.problem.partition(" is held by ")[2]
    return StoreBusy(
        f"{what} ({holder})" if holder else what, cure="Wait for it, or use another output path."
    )
