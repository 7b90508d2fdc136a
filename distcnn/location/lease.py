"""Lease: who may write a product in an object store, where no lock ends with its process.

Everyone who wants it writes an object of their own, then lists all of them: whoever finds
another that was renewed lately takes their own away and is refused. So two that come at the same
moment may both be refused, and never both succeed. Ages are differences between times that the
store itself has noted, so clocks of machines do not matter.
"""

import random
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from distcnn.errors import LockHeld, PlaceError
from distcnn.files import Lock, is_gone, this_holder
from distcnn.location.faults import faults_of

if TYPE_CHECKING:
    from distcnn.location.objects import ObjectLocation

LEASE_SECONDS = 30.0
"""A lease that was not renewed for so long counts for nothing."""
RENEWAL_SECONDS = 10.0

SHARED = "shared"
_WAITS = (0.2, 0.4, 0.8)
_TOGETHER_SECONDS = 2.0
"""Stores tell times in whole seconds: two leases of about the same time may be of two that
refuse each other."""


_HELD: "set[ObjectLocation]" = set()
"""Leases that this process has now."""


class _HeldSinceNow(Exception):
    def __init__(self, error: LockHeld) -> None:
        super().__init__()
        self.error = error


class Lease(Lock):
    """Held from ``acquire`` to ``release``; renewed meanwhile by a thread."""

    def __init__(self, mine: "ObjectLocation") -> None:
        self._mine = mine
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def acquire(cls, place: "ObjectLocation", *, shared: bool = False) -> "Lease":
        """Take the lease ``place``; tries again for a second where somebody else does too.

        Parameters
        ----------
        shared : others may have it too, if they share it.

        Raises
        ------
        LockHeld : somebody else has it; says who, and how long an abandoned one counts.
        PlaceError : the store cannot be used.
        """
        kind = SHARED if shared else "alone"
        for wait in (*_WAITS, None):
            lease = cls(place / f"{kind}-{secrets.token_hex(8)}")
            _HELD.add(lease._mine)
            try:
                lease._write()
                _refuse_others(place, lease._mine.name)
            except _HeldSinceNow as held:
                lease._withdraw()
                if wait is None:
                    raise held.error from None
                time.sleep(wait * random.random())  # noqa: S311 - parts two that came together
                continue
            except BaseException:
                lease._withdraw()
                raise
            lease._thread.start()
            return lease
        raise AssertionError("the last try has no wait")

    def release(self) -> None:
        """Let others have it."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=RENEWAL_SECONDS)
        self._withdraw()

    def remove(self) -> None:
        """As ``release``: there is no file to leave."""
        self.release()

    def _withdraw(self) -> None:
        _HELD.discard(self._mine)
        # If the store is gone, the lease ends by itself.
        with suppress(PlaceError):
            self._mine.remove()

    def _write(self) -> None:
        self._mine.write_bytes(this_holder().encode())

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL_SECONDS):
            # The work itself will tell if the store cannot be reached.
            with suppress(PlaceError):
                self._write()
                if self._ended.is_set():  # released while it was being written
                    self._mine.remove()


def _refuse_others(place: "ObjectLocation", mine: str) -> None:
    renewed = _renewals(place)
    now = renewed.pop(mine, max(renewed.values(), default=0.0))
    for name, at in renewed.items():
        if name.startswith(SHARED) and mine.startswith(SHARED):
            continue
        try:
            holder = (place / name).read_bytes().decode(errors="replace")
        except FileNotFoundError:  # released just now
            continue
        left = LEASE_SECONDS - (now - at)
        if left <= 0 or _is_over(holder, place / name):
            (place / name).remove()
            continue
        error = LockHeld(
            f"{place} is held by {holder}",
            cure=f"Wait for its end; if it runs no more, in {left:.0f} s it counts no more. Only "
            "one command may write a product in an object store.",
        )
        raise _HeldSinceNow(error) if now - at < _TOGETHER_SECONDS else error


def _renewals(place: "ObjectLocation") -> dict[str, float]:
    """When each lease was written last, in seconds of the store's clock."""
    import obstore

    with faults_of(str(place)):
        entries = obstore.list(place.client_below()).collect()
    return {entry["path"]: entry["last_modified"].timestamp() for entry in entries}


def _is_over(holder: str, lease: "ObjectLocation") -> bool:
    """Whether it was of a process of this machine that is gone, or that has no such lease now:
    one that was released while the store could not be reached.
    """
    return lease not in _HELD if holder == this_holder() else is_gone(holder)
