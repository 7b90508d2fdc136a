"""What runs at each Dask worker for the eyes: it counts regions for ``/metrics``."""

from collections.abc import Callable
from functools import partial
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from distcnn import __version__
from distcnn.executor import RESULT_OBSERVERS


class RegionCounter(WorkerPlugin):
    """Exports what the worker process has done; nothing where prometheus_client is missing."""

    idempotent = True
    name = f"distcnn-{__version__}"

    def __init__(self) -> None:
        self._observer: Callable[[object], None] | None = None

    def setup(self, worker: Any) -> None:
        """Called by the worker as it starts, or as the plugin comes."""
        try:
            from distcnn.monitor.dashboard.metrics import count, count_regions
        except ImportError:  # prometheus_client is an extra
            return
        self._observer = partial(count, count_regions())
        RESULT_OBSERVERS.append(self._observer)

    def teardown(self, worker: Any) -> None:
        """Called when another client brings the plugin again, or the worker ends."""
        if self._observer in RESULT_OBSERVERS:
            RESULT_OBSERVERS.remove(self._observer)
