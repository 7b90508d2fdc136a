"""What Dask runs in every worker process as it starts."""

import signal


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the client: it reaches the whole process group, but only the client
    knows how to stop in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
