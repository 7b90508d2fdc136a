"""A prediction store for an element of a job array: made, begun and written beside others."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from distcnn.config import PredictConfig
from distcnn.errors import LockHeld, StoreError
from distcnn.inference.prediction_store.fingerprint import check_begun
from distcnn.inference.prediction_store.layout import layout
from distcnn.inference.prediction_store.opening import LOCK, busy
from distcnn.location import Location
from distcnn.model import Package
from distcnn.survey import Ledger, Share, Store, begin_element, create_store, stored_regions

Attrs = dict[str, Any]
BEGIN_LOCK = "lock.begin"
"""Held by the element of a job array that chooses engine and batches for all."""
POLL_S = 0.5
CREATION_TIMEOUT_S = 120.0
"""Longest wait for a store that another element of the array makes."""
BEGIN_TIMEOUT_S = 900.0
"""Longest wait for an engine that another element chooses; a dead one frees its lock."""


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
        raise busy(f"{store.location.name} is being written by a whole run", held) from None
    with lock:
        try:
            own = (store.private / f"lock.{share.name}").lock(claim=False)
        except LockHeld as held:
            raise busy(f"element {share} is at work already", held) from None
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
    check_begun(store, requested)
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
