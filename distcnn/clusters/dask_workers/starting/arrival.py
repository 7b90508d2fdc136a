"""Arrival: wait for the workers of any cluster, tell how many came, and end clearly."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from distributed.client import ClosedClientError

from distcnn.clusters.dask_workers.gang import RERUN
from distcnn.errors import ClusterError, SchedulerLost
from distcnn.events import Listener, Notice, silent
from distcnn.formatting import format_duration

POLL_S = 0.2
"""Time between two looks at the scheduler."""
LOOK_S = 2.0
"""Time between two looks of a backend at what keeps workers from coming."""
QUIET_S = 5.0
"""Shortest time between two words; workers that come sooner need none."""
LONGEST_SILENCE_S = 20.0
"""Longest time without a word while some are missing."""


def nothing_known() -> str:
    """What a backend says of workers that did not come, if it cannot know."""
    return ""


class Arrival:
    """How many of ``expected`` workers have come, told while one waits for them.

    ``note``: what the backend knows of the others (``13 jobs pending``), told along.
    """

    def __init__(
        self, expected: int, listener: Listener = silent, note: Callable[[], str] = nothing_known
    ) -> None:
        self.expected, self.listener, self.note = expected, listener, note
        self.begun = self._last = monotonic()
        self._told: int | None = None

    def __str__(self) -> str:
        return f"of {self.expected} workers, {format_duration(monotonic() - self.begun)}"

    def tell(self, came: int) -> None:
        """A notice (``3 of 16 workers, 40 s``) at changes, not too often and not too seldom."""
        silence = monotonic() - self._last
        if silence > (QUIET_S if came != self._told else LONGEST_SILENCE_S):
            self._notice(came)

    def complete(self, came: int) -> None:
        """The last word, if there was a first one."""
        if self._told is not None:
            self._notice(came)

    def rest_comes_later(self, came: int) -> None:
        """The last word where the work begins with those that are there."""
        self.listener(Notice(f"{came} {self}; the work begins with these, others join it"))

    def _notice(self, came: int) -> None:
        note = self.note() if came < self.expected else ""
        self.listener(Notice(f"{came} {self}" + (f", {note}" if note else "")))
        self._last, self._told = monotonic(), came


def wait_for_workers(
    client: Any,
    count: int,
    *,
    patience: float,
    least: int | None = None,
    listener: Listener = silent,
    why: Callable[[], str] = nothing_known,
    cure: str = RERUN,
    look: Callable[[int], None] | None = None,
) -> int:
    """Wait until ``count`` workers are at the scheduler; returns how many there are.

    Parameters
    ----------
    client : a connected ``distributed.Client``.
    patience : time in which no further worker comes after which the wait ends [s].
    least : so many are enough when it ends, with a warning; None = all of them.
    why : what the backend knows of those that did not come (jobs that wait, states of pods,
        last lines of logs); asked only when the wait ends without them.
    cure : what the user can do about it.
    look : called every ``LOOK_S`` seconds with how many have come; may raise a ``ClusterError``
        that ends a wait in vain.

    Raises
    ------
    ClusterError : fewer than ``least`` have come, or the scheduler does not answer.
    """
    arrival = Arrival(count, listener)
    came, deadline = count_workers(client), monotonic() + patience
    next_look = monotonic() + LOOK_S
    while came < count:
        if look is not None and monotonic() > next_look:
            look(came)
            next_look = monotonic() + LOOK_S
        if monotonic() > deadline:
            _check_enough(came, count if least is None else least, arrival, why(), cure)
            return came
        arrival.tell(came)
        sleep(POLL_S)
        if (now := count_workers(client)) > came:
            deadline = monotonic() + patience
        came = now
    arrival.complete(came)
    return came


def count_workers(client: Any) -> int:
    """How many workers are at the scheduler now.

    Raises
    ------
    SchedulerLost : the scheduler does not answer.
    """
    try:
        return len(client.nthreads())
    except (OSError, TimeoutError, RuntimeError, ClosedClientError) as error:
        raise SchedulerLost(f"the scheduler does not answer ({error})", cure=RERUN) from error


def _check_enough(came: int, least: int, arrival: Arrival, known: str, cure: str) -> None:
    text = f"{came} {arrival}" + (f" ({known})" if known else "")
    if came < least:
        raise ClusterError(text, expected=f"{least} workers", cure=cure)
    arrival.listener(Notice(f"{text}; the work begins with these", "warning"))
