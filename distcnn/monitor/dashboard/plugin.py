"""What runs at the scheduler: it keeps the last snapshots of runs, and shows them.

A client registers it at run time, so that any scheduler will do: one that this package starts
here or elsewhere, or one that runs already. It adds the page ``/distcnn`` to the Dask dashboard
and, where prometheus_client is installed there, metrics to ``/metrics``. It holds the snapshots
of the last few runs and nothing else, so its memory does not grow; a page that is opened late,
or after the end of a run, shows them as well.

Uses of Dask that its releases do not promise, each tested in
``tests/monitor/test_monitor_dashboard.py``: ``handlers`` and ``http_application`` of a scheduler,
``BokehApplication``, and the list of pages in its menu.
"""

import os
import platform
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from distcnn import __version__
from distcnn.monitor.run_state import Snapshot

MAX_RUNS = 5
PAGE = "distcnn"
NO_DASHBOARD = "the scheduler has no dashboard"
NAME = f"distcnn-{__version__}"


class RunsPlugin(SchedulerPlugin):
    """Takes snapshots of runs from their clients (``distcnn_update``)."""

    idempotent = True

    def __init__(self) -> None:
        self.runs: OrderedDict[str, Snapshot] = OrderedDict()
        self.received: dict[str, float] = {}
        self.scheduler: Any = None
        self.trouble = ""

    async def start(self, scheduler: Any) -> None:
        """Called by the scheduler once it has the plugin."""
        self.scheduler = scheduler
        scheduler.handlers["distcnn_hello"] = self.hello
        scheduler.handlers["distcnn_update"] = self.update
        scheduler.handlers["distcnn_holders"] = self.holders
        self.trouble = _add_page(scheduler, self)
        _add_metrics(self)

    def hello(self) -> Snapshot:
        """Where the page is, as the scheduler sees it; ``trouble`` says why there is none."""
        server = self.scheduler.http_server
        return {
            "host": platform.node(),
            "address": server.address,
            "port": server.port,
            "pod": "KUBERNETES_SERVICE_HOST" in os.environ,
            "trouble": self.trouble,
        }

    def update(self, snapshot: Snapshot) -> Snapshot:
        """The newest snapshot of a run; the answer says that it has come."""
        run = snapshot["run"]
        self.runs[run] = snapshot
        self.runs.move_to_end(run)
        self.received[run] = time()
        while len(self.runs) > MAX_RUNS:
            self.received.pop(self.runs.popitem(last=False)[0])
        return {"run": run}

    def holders(self, keys: list[str]) -> dict[str, Snapshot]:
        """Which worker has each of these tasks, and for how long it has not been heard [s]."""
        found: dict[str, Snapshot] = {}
        for key in keys:
            task = self.scheduler.tasks.get(key)
            worker = None if task is None else task.processing_on
            if worker is not None:
                found[key] = {
                    "worker": str(worker.name),
                    "host": worker.host,
                    "address": worker.address,
                    "unheard": round(max(0.0, time() - worker.last_seen), 1),
                }
        return found

    def latest(self) -> Snapshot | None:
        """The run that was heard of last."""
        return next(reversed(self.runs.values()), None)

    def silence(self, run: str) -> float:
        """Seconds without progress, counted on while the driver says nothing."""
        snapshot = self.runs[run]
        if snapshot["status"] not in {"running", "stalled"}:
            return 0.0
        return float(snapshot["silence"]) + time() - self.received[run]

    async def close(self) -> None:
        """The scheduler ends."""
        from distcnn.monitor.dashboard import metrics

        metrics.forget(self)


def _add_page(scheduler: Any, plugin: RunsPlugin) -> str:
    """Add the page to the running server; returns why it cannot be, or nothing."""
    try:
        from bokeh.server.tornado import BokehTornado
        from distributed.dashboard.core import BokehApplication
        from tornado.ioloop import IOLoop

        from distcnn.monitor.dashboard.page import make_page
    except ImportError as error:
        return f"bokeh cannot be used at the scheduler ({error})"
    others = [a for a in scheduler.http_application.applications if isinstance(a, BokehTornado)]
    if not others:
        return NO_DASHBOARD
    build: Callable[..., Any] = BokehApplication
    prefix = others[0].prefix

    def page(scheduler: Any, extra: dict[str, Any], document: Any) -> None:
        make_page(plugin, document)

    app = build({f"/{PAGE}": page}, scheduler, prefix=prefix)
    scheduler.http_application.add_application(app)
    app.initialize(IOLoop.current())
    app.start()
    _add_to_menu(scheduler)
    return ""


def _add_to_menu(scheduler: Any) -> None:
    # A link on Dask's own pages is a courtesy: the page does not depend on it.
    with suppress(Exception):
        from distributed.dashboard.scheduler import template_variables

        pages = template_variables(scheduler)["pages"]
        if PAGE not in pages:
            pages.insert(0, PAGE)


def _add_metrics(plugin: RunsPlugin) -> None:
    try:
        from distcnn.monitor.dashboard import metrics
    except ImportError:  # prometheus_client is an extra
        return
    metrics.watch(plugin)
