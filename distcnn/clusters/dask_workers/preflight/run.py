"""Preflight: every worker is looked at before any work, and what cannot go well is refused.

Compared are the versions of what decides results and of what must speak to each other, on the
client, the scheduler and every worker; whether each worker sees the same survey and package, and
reads and writes beside the output; threads, devices, memory and disk. What is asked of a process
is sent as text (see ``examine``), so that one without distcnn answers too.
"""

import inspect
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from distcnn.clusters.dask_workers.gang import RERUN
from distcnn.clusters.dask_workers.preflight import examine as examination
from distcnn.clusters.dask_workers.preflight.examine import examine
from distcnn.clusters.dask_workers.preflight.report import Report
from distcnn.clusters.dask_workers.preflight.tokens import BESIDE, exchanged_beside, probe_of
from distcnn.clusters.dask_workers.preflight.verdict import PACKAGES, judge
from distcnn.clusters.places import Findings, Places
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError
from distcnn.events import Listener, Notice


def preflight(
    client: Any,
    config: ClusterConfig,
    places: Places,
    listener: Listener,
    settings: Mapping[str, object] | None = None,
) -> Findings:
    """Look at the scheduler and at all workers; tells a table.

    Parameters
    ----------
    settings : of Dask, that the scheduler must have (one that we have not started).

    Raises
    ------
    ClusterError : they are not fit, or one does not answer; says which, why, and the cure.
    """
    report = examine_cluster(client, config, places, settings or {})
    listener(Notice(str(report)))
    for warning in report.warnings:
        listener(Notice(warning, "warning"))
    report.check()
    gpus = [facts["gpus"] for facts in report.workers.values()]
    same = {key: report.here[key] for key in ("python", "versions", "code")}  # see identity
    return Findings(None if None in gpus else min(gpus, default=0), same)


def examine_cluster(
    client: Any, config: ClusterConfig, places: Places, settings: Mapping[str, object]
) -> Report:
    """What preflight finds, without judging by an error."""
    request: dict[str, Any] = {"packages": PACKAGES, "settings": tuple(settings)}
    here = examine(request)
    reads = [{"what": what, **probe_of(place)} for what, place in places.reads.items()]
    with exchanged_beside(places.output) as token:
        asked = {**request, "reads": reads, "modules": places.modules, **token.request}
        workers = _ask_workers(client, asked, config.patience)
        unread = token.unread({a: f["token"] for a, f in workers.items() if f["token"]})
    for address in unread:
        workers[address]["unseen"][BESIDE] = "what it writes there is not seen here"
    _add_what_dask_knows(client, workers)
    scheduler = _ask_scheduler(client, request)
    seen = (*places.reads, BESIDE)
    report = Report(workers, here, places=seen)
    judge(report, scheduler, config, places, settings)
    return report


def _text_of(request: Mapping[str, Any]) -> str:
    """An expression that runs ``examine`` in a process that may know nothing of distcnn."""
    source = inspect.getsource(examination)
    call = f"space['examine']({dict(request)!r})"
    return f"(lambda space: (exec({source!r}, space), {call})[1])({{'__name__': 'examine'}})"


def _ask_workers(
    client: Any, request: Mapping[str, Any], patience: float
) -> dict[str, dict[str, Any]]:
    answers: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(client.run(eval, _text_of(request), on_error="return"))
        except Exception as error:  # told where someone waits
            answers.put(error)

    # In a thread: a frozen worker never answers, and Dask waits for it without an end.
    Thread(target=ask, name="ask workers", daemon=True).start()
    found = _patiently(answers, patience)
    if isinstance(found, Exception):
        raise ClusterError(f"the workers do not answer ({found})", cure=RERUN) from found
    failed = {address: facts for address, facts in found.items() if not isinstance(facts, dict)}
    # One that has gone meanwhile is replaced by its backend, or not; it is not asked again.
    gone = failed.keys() - client.nthreads().keys() if failed else set()
    failed = {address: error for address, error in failed.items() if address not in gone}
    if failed:
        address, error = next(iter(failed.items()))
        raise ClusterError(
            f"{len(failed)} of {len(found)} workers do not answer, among them {address} "
            f"({type(error).__name__}: {error})",
            cure=RERUN,
        )
    return {address: facts for address, facts in found.items() if address not in gone}


def _patiently(answers: "SimpleQueue[Any]", patience: float) -> Any:
    deadline = monotonic() + patience
    while True:
        try:
            return answers.get(timeout=0.5)  # short, so that Ctrl-C is heard
        except Empty:
            if monotonic() > deadline:
                raise ClusterError(
                    f"a worker has not answered for {patience:g} s", cure=RERUN
                ) from None


def _ask_scheduler(client: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(client.run_on_scheduler(eval, _text_of(request)))
    except Exception as error:
        raise ClusterError(f"the scheduler does not answer ({error})", cure=RERUN) from error


def _add_what_dask_knows(client: Any, workers: dict[str, dict[str, Any]]) -> None:
    known = client.scheduler_info(n_workers=-1)["workers"]
    for address, facts in workers.items():
        about = known.get(address, {})
        facts["memory_limit"] = about.get("memory_limit") or None
        facts["nthreads"] = about.get("nthreads", 1)
