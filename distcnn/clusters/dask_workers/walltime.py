"""Walltime: a worker whose job is going to end takes no task that would not end before.

A batch system kills a job at the end of its time. What a worker computes then is lost and is
computed again elsewhere: right, but for nothing. So a worker that is told when its job ends stops
taking tasks in time, ends those it has, waits until their results were fetched, and closes; its
job ends early, and the next one takes its place.
"""

import asyncio
import os
import time
from contextlib import suppress
from typing import Any

from distributed import Status

END_VARIABLE = "DISTCNN_WORKER_END"
"""Environment of a worker: when its job ends [seconds since 1970]; none = never."""
MARGIN_VARIABLE = "DISTCNN_WORKER_MARGIN"
"""Environment of a worker: time before that in which nothing runs [s]."""
LONGEST_FACTOR = 2.0
"""A task may take so many times as long as the longest so far."""
FETCH_S = 10.0
"""Time in which a client fetches the last results."""
POLL_S = 0.25
REASON = "the time of its job is over"


class _Longest:
    """Of the tasks of this process [s]."""

    seconds = 0.0


def note_duration(seconds: float) -> None:
    """A task of this worker took so long."""
    _Longest.seconds = max(_Longest.seconds, seconds)


def leaves_at() -> float:
    """When a worker takes its last task, as things are now [seconds since 1970]."""
    margin = float(os.environ.get(MARGIN_VARIABLE, "60"))
    return float(os.environ[END_VARIABLE]) - margin - LONGEST_FACTOR * _Longest.seconds


async def leave_in_time(worker: Any) -> None:
    """Wait for the time, then end the worker in order; its nanny does not start another."""
    while time.time() < leaves_at():
        await asyncio.sleep(POLL_S)
    worker.status = Status.closing_gracefully  # the scheduler gives it nothing more
    while worker.state.executing or worker.state.long_running:
        await asyncio.sleep(POLL_S)
    for _ in range(int(FETCH_S / POLL_S)):
        if not worker.data:
            break
        await asyncio.sleep(POLL_S)
    # What it was given and has not begun goes elsewhere, and does not count as having killed it.
    with suppress(OSError):
        await worker.scheduler.retire_workers(
            workers=[worker.address], close_workers=False, remove=True, stimulus_id=REASON
        )
    await worker.close(nanny=True, reason=REASON)
