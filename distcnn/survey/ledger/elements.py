"""Element ledgers: what the elements of a job array have stored, until one ledger has it all.

Every process of an element writes a ledger of its own beside that of the store, so none waits
for another, one that died does not stand in the way of the next, and no file has two writers.
Together they are read as one; a run that holds the store alone merges them.
"""

import re
import secrets
from collections import ChainMap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distcnn.errors import StoreError
from distcnn.location import Location
from distcnn.survey.ledger import Facts, Ledger
from distcnn.survey.regions import Share
from distcnn.survey.store import Store

LEDGER = "ledger.jsonl"
"""The ledger of a store, in its private folder."""
_NAME = re.compile(r"ledger\.(\d+)-of-(\d+)\.[0-9a-f]+\.jsonl")


def stored_regions(store: Store) -> Mapping[str, Facts]:
    """Ledger lines of all regions that are stored, also by elements of job arrays.

    Raises
    ------
    StoreCorrupt : a line other than the last of a ledger is damaged.
    """
    found = []
    # The store's own ledger last: while this is read, another process may merge the others into
    # it and then remove them.
    for place in (*_element_files(store), store.private / LEDGER):
        with suppress(_Gone):
            found.append(_read_if_there(place).done)
    # Only looked at, so it need not be a map that can be changed.
    return ChainMap(*found) if len(found) > 1 else found[0] if found else {}  # type: ignore[arg-type]


def begin_element(store: Store, share: Share, fingerprint: dict[str, Any]) -> Ledger:
    """A new ledger for one process of an element."""
    name = f"ledger.{share.name}.{secrets.token_hex(4)}.jsonl"
    return Ledger.open(store.private / name, fingerprint)


def merge_elements(store: Store, ledger: Ledger) -> int:
    """Take the lines of all elements over into the ledger of the store; returns how many.

    For a process that holds the store alone.
    """
    merged = 0
    for place in _element_files(store):
        merged += ledger.absorb(Ledger.read(place))
        place.remove()
    return merged


@dataclass(frozen=True)
class ElementProgress:
    """How far one element of a job array is [regions]."""

    share: Share
    done: int
    regions: int


def array_progress(store: Store) -> list[ElementProgress]:
    """Every element of the job arrays that have left ledgers in a store; none once merged."""
    names = (_NAME.fullmatch(place.name) for place in _element_files(store))
    sizes = sorted({int(name[2]) for name in names if name})
    stored, regions = stored_regions(store), store.regions()
    return [
        ElementProgress(share, sum(r.name in stored for r in mine), len(mine))
        for share in (Share(element + 1, size) for size in sizes for element in range(size))
        for mine in [list(share.of(regions))]
    ]


def _element_files(store: Store) -> list[Location]:
    names = ((place.name, place) for place in store.private.children())
    return [place for name, place in sorted(names) if _NAME.fullmatch(name)]


class _Gone(Exception):
    """A ledger is not there, or not there any more."""


def _read_if_there(place: Location) -> Ledger:
    try:
        return Ledger.read(place)
    except StoreError as error:
        if place.exists():
            raise
        raise _Gone from error
