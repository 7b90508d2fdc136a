"""The process of ``multiprocessing`` that removes the semaphores of killed workers."""

import signal
import sys
from multiprocessing import resource_tracker

QUIET_TRACKER = "ignore:resource_tracker:UserWarning"


def start_tracker() -> None:
    """Start the process that removes the semaphores of killed workers, and that warns of them.

    Killing them is our way, so it gets an option not to. Where it started later, in the thread
    that blocks a signal, it would let the signal through again.
    """
    # It ignores the other signals itself; this one comes as a terminal is closed.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    sys.warnoptions.append(QUIET_TRACKER)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(QUIET_TRACKER)
        if signal.SIGHUP not in blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
