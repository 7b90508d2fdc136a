"""Watch: follow a run from another terminal or another machine, until it ends."""

from collections.abc import Callable, Iterator
from datetime import datetime
from enum import IntEnum
from time import monotonic, sleep

from distcnn.location import Location
from distcnn.monitor.progress import Progress, read_progress

INTERVAL_S = 10.0
"""Time between two looks; longer where reading the ledger takes longer than a tenth of it."""


class WatchCode(IntEnum):
    """How a watch ends, as the exit code of the command."""

    COMPLETE = 0
    QUARANTINED = 3
    AT_WORK = 4
    INTERRUPTED = 5


def code_of(progress: Progress) -> WatchCode:
    """The exit code that says what a prediction store is like."""
    if progress.complete:
        return WatchCode.QUARANTINED if progress.failed else WatchCode.COMPLETE
    return WatchCode.AT_WORK if progress.live else WatchCode.INTERRUPTED


def watch(
    place: Location,
    say: Callable[[str], None],
    *,
    once: bool = False,
    interval: float = INTERVAL_S,
    pause: Callable[[float], None] = sleep,
) -> WatchCode:
    """Tell how far a prediction store is, again and again, until nobody works on it any more.

    Parameters
    ----------
    say : takes one line.
    interval : time between two looks [s].

    Raises
    ------
    StoreError : there is no prediction store.
    """
    first, lines = True, iter(_looks(place, interval, pause))
    while True:
        progress = next(lines)
        code = code_of(progress)
        if first or code is not WatchCode.AT_WORK:
            for line in progress.lines():
                say(line)
        else:
            say(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {progress.line()}")
        if once or code is not WatchCode.AT_WORK:
            return code
        first = False


def _looks(place: Location, interval: float, pause: Callable[[float], None]) -> Iterator[Progress]:
    while True:
        begun = monotonic()
        yield read_progress(place)
        pause(max(interval, 10 * (monotonic() - begun)))
