"""Prometheus metrics: of runs at the scheduler, of regions at each worker, on Dask's ``/metrics``.

Dask serves whatever is in prometheus_client's registry of the process. There is one collector
per process: it asks the plugins that live there when somebody scrapes, and costs nothing else.
``TABLE`` and ``WORKER_TABLE`` are all the names there are; alert rules and dashboards in
``deploy/monitoring`` are tested against them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from distcnn.monitor.run_state import WorkerTotals
from distcnn.survey import RegionResult

if TYPE_CHECKING:
    from distcnn.monitor.dashboard.plugin import RunsPlugin

PREFIX = "distcnn_"
Values = Iterable[tuple[tuple[str, ...], float]]
"""Values of a metric with the values of its labels, beside that of ``run``."""


@dataclass(frozen=True)
class Row:
    """A metric. ``labels``: beside ``run``; a counter's name gets ``_total`` behind it."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name as it is scraped."""
        return f"{PREFIX}{self.name}" + ("_total" if self.kind == "counter" else "")

    def family(self, first: tuple[str, ...]) -> Any:
        """A new, empty metric; ``first``: labels before those of the row."""
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return make(PREFIX + self.name, self.text, labels=(*first, *self.labels))


TABLE = (
    Row("run_info", "gauge", "A run: 1, with what is known of it", ("stage", "output")),
    Row("run_active", "gauge", "1 while the run has work to do, 0 once it has ended"),
    Row("stars", "gauge", "Stars, or other units, of the stage in all"),
    Row("stars_done", "counter", "Stars, or other units, that this run has finished"),
    Row("stars_left", "gauge", "Stars, or other units, still to do"),
    Row("stars_per_second", "gauge", "Speed of late"),
    Row("seconds_left", "gauge", "Probable time to the end; absent while there is no telling"),
    Row("regions_done", "counter", "Regions stored"),
    Row("region_failures", "counter", "Attempts at regions that failed"),
    Row("quarantined_stars", "counter", "Stars that could not be computed"),
    Row("flagged_stars", "counter", "Stars with a flag", ("flag",)),
    Row("step_seconds", "counter", "Time of all workers by step of a region", ("step",)),
    Row("novel_ratio", "gauge", "Share of the stars of late whose spectrum is novel"),
    Row("disagree_ratio", "gauge", "Share of the stars of late on which members disagree"),
    Row("member_disagreement", "gauge", "Member scatter over quoted error, mean of late"),
    Row("workers_seen", "gauge", "Worker processes that have stored a region"),
    Row("workers_expected", "gauge", "Workers that the run was started with"),
    Row("workers_alive", "gauge", "Workers that the scheduler has now"),
    Row("seconds_since_progress", "gauge", "Time since a region, an epoch or a unit was finished"),
    Row("stalled", "gauge", "1 while the run has made no progress for longer than it may"),
    Row("output_free_bytes", "gauge", "Free disk where the result is written, from the driver"),
)
"""Metrics of a run, at the scheduler; each has the label ``run``."""

WORKER_TABLE = (
    Row("worker_regions", "counter", "Regions that this worker process has stored"),
    Row("worker_stars", "counter", "Stars of them"),
    Row("worker_step_seconds", "counter", "Time by step of a region", ("step",)),
    Row("worker_engine_info", "gauge", "1, with the engine of the last region", ("engine",)),
    Row("worker_peak_memory_bytes", "gauge", "Peak resident memory"),
    Row("worker_last_region_timestamp_seconds", "gauge", "When the last region was stored"),
)
"""Metrics of a worker process, at the worker."""


class _Collector:
    """What this process knows when it is asked."""

    def __init__(self) -> None:
        self.plugins: WeakSet[RunsPlugin] = WeakSet()
        self.worker: WorkerTotals | None = None
        self.registered = False

    def collect(self) -> Iterator[Metric]:
        plugins = list(self.plugins)
        if plugins:
            yield from _of_runs(plugins)
        if self.worker is not None:
            yield from _of_worker(self.worker)

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the names are ours alone."""
        return []


_COLLECTOR = _Collector()


def watch(plugin: "RunsPlugin") -> None:
    """Export the runs of a scheduler of this process."""
    _register()
    _COLLECTOR.plugins.add(plugin)


def forget(plugin: "RunsPlugin") -> None:
    """Its scheduler ends."""
    _COLLECTOR.plugins.discard(plugin)


def count_regions() -> WorkerTotals:
    """Export what this worker process does; the caller adds its regions to the totals."""
    _register()
    if _COLLECTOR.worker is None:
        _COLLECTOR.worker = WorkerTotals()
    return _COLLECTOR.worker


def count(totals: WorkerTotals, value: object) -> None:
    """The value of a task that has ended here; anything but regions is nothing to count."""
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, RegionResult):
            totals.add(one, time())


def _register() -> None:
    if not _COLLECTOR.registered:
        REGISTRY.register(_COLLECTOR)
        _COLLECTOR.registered = True


def _of_runs(plugins: list["RunsPlugin"]) -> Iterator[Metric]:
    found = [(name, _values(plugin, name)) for plugin in plugins for name in list(plugin.runs)]
    for row in TABLE:
        family = row.family(("run",))
        for run, values in found:
            for labels, value in values[row.name]:
                family.add_metric((run, *labels), value)
        yield family


def _values(plugin: "RunsPlugin", run: str) -> Mapping[str, Values]:
    one = plugin.runs[run]
    rates, active = one["rates"], one["status"] in {"running", "stalled", "starting"}
    single = {
        "run_active": float(active),
        "stars": one["total"],
        "stars_done": one["done"],
        "stars_left": one["left"],
        "stars_per_second": one["speed"] if active else 0.0,
        "seconds_left": one["seconds_left"] if active else None,
        "regions_done": one["regions"],
        "region_failures": one["failed_attempts"],
        "quarantined_stars": one["quarantined"],
        "novel_ratio": rates["novel"],
        "disagree_ratio": rates["disagree"],
        "member_disagreement": rates["disagreement"],
        "workers_seen": one["worker_count"],
        "workers_expected": one.get("workers_expected"),
        "workers_alive": len(plugin.scheduler.workers),
        "seconds_since_progress": plugin.silence(run),
        "stalled": float(bool(one.get("stalled")) and active),
        "output_free_bytes": one.get("free_bytes"),
    }
    values: dict[str, Values] = {
        name: [] if value is None else [((), float(value))] for name, value in single.items()
    }
    values["run_info"] = [((one["stage"], str(one.get("output", ""))), 1.0)]
    values["flagged_stars"] = _by_name(one["flags"])
    values["step_seconds"] = _by_step(one["seconds"])
    return values


def _by_name(counts: Mapping[str, float]) -> Values:
    return [((name,), float(value)) for name, value in counts.items()]


def _by_step(seconds: Mapping[str, float]) -> Values:
    return _by_name({step: value for step, value in seconds.items() if step != "total"})


def _of_worker(totals: WorkerTotals) -> Iterator[Metric]:
    values: dict[str, Values] = {
        "worker_regions": [((), float(totals.regions))],
        "worker_stars": [((), float(totals.stars))],
        "worker_step_seconds": _by_step(totals.seconds),
        "worker_engine_info": [((totals.engine,), 1.0)] if totals.engine else [],
        "worker_peak_memory_bytes": [((), float(totals.memory))],
        "worker_last_region_timestamp_seconds": [((), totals.last_time)],
    }
    for row in WORKER_TABLE:
        family = row.family(())
        for labels, value in values[row.name]:
            family.add_metric(labels, value)
        yield family


def snapshot_names() -> frozenset[str]:
    """Every name that is exported, as a scrape shows it."""
    return frozenset(row.exported for row in (*TABLE, *WORKER_TABLE))
