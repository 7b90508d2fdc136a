"""Imported first by the fork server: it and its workers leave the process group of the client.

A terminal sends Ctrl-C, a hang-up and a ``SIGTERM`` of ``kill -- -GROUP`` to every process of the
group, but only the client knows how to stop in order. A worker that dies by it alone would be
started again by Dask in the middle of the stop. When the client is killed they end by themselves:
a pipe to it closes.

A worker that is forked as the client stops finds nothing of what the client had made for it. It
ends without a word: its traceback would stand below the line that says that the run was stopped.
"""

import os
import sys
from types import TracebackType

NOBODY_WAITS = (EOFError, ConnectionError)
"""What a worker meets where the client has closed its end of a pipe."""


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell why a forked worker could not begin, unless nobody waits for it any more."""
    if not (isinstance(error, NOBODY_WAITS) or _lacks_a_semaphore(error)):
        sys.__excepthook__(kind, error, trace)


def _lacks_a_semaphore(error: BaseException) -> bool:
    """The client removes those of a worker's queues when it gives the worker up."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = "" if last is None else last.tb_frame.f_code.co_filename
    return isinstance(error, FileNotFoundError) and place.endswith("multiprocessing/synchronize.py")


if any("multiprocessing.forkserver" in word for word in sys.orig_argv):  # nowhere else
    os.setpgrp()
    sys.excepthook = _tell
