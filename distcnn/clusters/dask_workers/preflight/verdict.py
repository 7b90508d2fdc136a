"""Verdict: what of the facts is a problem, what is worth a word."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from distcnn.clusters.dask_workers.preflight.report import Report, count_of
from distcnn.clusters.dask_workers.preflight.tokens import BESIDE
from distcnn.clusters.dask_workers.settings import dask_variable
from distcnn.clusters.places import Places
from distcnn.config import ClusterConfig
from distcnn.formatting import format_bytes

PACKAGES = ("distcnn", "torch", "numpy", "zarr", "dask", "distributed")
"""Whose versions have to be the same on the client and every worker."""
SPOKEN = ("dask", "distributed")
"""Whose versions a scheduler has to share."""
ENOUGH_DISK_BYTES = 100_000_000
"""Less than this on a worker's disk for temporary files is worth a word."""


def judge(
    report: Report,
    scheduler: Mapping[str, Any],
    config: ClusterConfig,
    places: Places,
    settings: Mapping[str, object],
) -> None:
    """Fill in the problems and warnings of a report."""
    _judge_versions(report, scheduler)
    _judge_places(report)
    _judge_settings(report, scheduler, settings)
    _judge_resources(report, config, places)


def _judge_versions(report: Report, scheduler: Mapping[str, Any]) -> None:
    here, total = report.here, len(report.workers)
    found = Counter[tuple[str, ...]]()
    for facts in report.workers.values():
        found[tuple(differences(facts, here, PACKAGES))] += 1
    for unlike, count in found.items():
        if unlike:
            report.problems.append(versions_problem(f"{count} of {total} workers", unlike, here))
    unlike = tuple(differences(scheduler, here, SPOKEN))
    if unlike:
        report.problems.append(versions_problem("the scheduler", unlike, here))


def differences(
    facts: Mapping[str, Any], here: Mapping[str, Any], names: Sequence[str]
) -> Iterator[str]:
    """``zarr 3.0.1`` and the like, of what differs from here (see ``examine.identity``)."""
    if minor_version(facts["python"]) != minor_version(here["python"]):
        yield f"python {facts['python']}"
    for name in names:
        version, ours = facts["versions"][name], here["versions"][name]
        if version is None:
            yield f"no {name}"
        elif public_version(version) != public_version(ours or ""):
            yield f"{name} {version}"
        elif name == "distcnn" and facts["code"] != here["code"]:
            yield f"distcnn {version} with other code"


def versions_problem(
    who: str, unlike: Sequence[str], here: Mapping[str, Any]
) -> tuple[str, str, str]:
    """Problem, what was expected, and cure, for ``who`` that is ``unlike`` in these."""
    names = [text.removeprefix("no ").split()[0] for text in unlike]
    ours = {**here["versions"], "python": here["python"]}
    wanted = [f"'{name}=={public_version(ours[name])}'" for name in names if name != "python"]
    cure = f"Install there what is here: pip install {' '.join(wanted)}." if wanted else ""
    if "python" in names:
        cure = f"Run Python {minor_version(here['python'])} there. {cure}".strip()
    have = "has" if who.startswith(("1 ", "the ", "a ")) else "have"
    expected = ", ".join(f"{name} {ours[name]}" for name in names)
    return f"{who} {have} {', '.join(unlike)}", expected, cure


def _judge_places(report: Report) -> None:
    total = len(report.workers)
    found: dict[tuple[str, str], list[str]] = {}
    for facts in report.workers.values():
        for what, error in facts["unseen"].items():
            found.setdefault((what, error), []).append(facts["host"])
    for (what, error), hosts in found.items():
        problem = f"{len(hosts)} of {total} workers (on {_some(hosts)}) cannot use the {what}"
        if what == BESIDE:
            problem = f"{len(hosts)} of {total} workers (on {_some(hosts)}) cannot work {what}"
        report.problems.append(
            (
                f"{problem} ({error})",
                "places that every worker sees under the same path and may write to",
                "Put survey, package and output on a file system that all share, or on S3.",
            )
        )


def _judge_settings(
    report: Report, scheduler: Mapping[str, Any], wanted: Mapping[str, object]
) -> None:
    wrong = {key: value for key, value in wanted.items() if scheduler["settings"][key] != value}
    if wrong:
        there = ", ".join(f"{key} {scheduler['settings'][key]}" for key in wrong)
        lines = "; ".join(f"export {dask_variable(key)}={value}" for key, value in wrong.items())
        report.problems.append(
            (
                f"the scheduler runs with {there}",
                ", ".join(f"{key} {value}" for key, value in wrong.items()),
                f"Start it again after: {lines} (or, with a scheduler that is not yours, "
                "--set cluster.accept_settings=true: a worker that dies may then take more "
                "tasks along).",
            )
        )


def _judge_resources(report: Report, config: ClusterConfig, places: Places) -> None:
    facts = list(report.workers.values())
    small = [one for one in facts if one["memory_limit"] and one["memory_limit"] < places.memory]
    if small:
        least = format_bytes(min(one["memory_limit"] for one in small))
        report.problems.append(
            (
                f"{len(small)} of {len(facts)} workers get {least} of memory",
                f"{format_bytes(places.memory)}, which one may need",
                "Start them with more memory.",
            )
        )
    report.warnings += _remarks(facts, config, places)


def _remarks(
    facts: Sequence[Mapping[str, Any]], config: ClusterConfig, places: Places
) -> Iterator[str]:
    total = len(facts)
    checks: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        f"were not told by OMP_NUM_THREADS to use {count_of(config.threads, 'thread')}": (
            lambda one: one["threads"] != str(config.threads)
        ),
        "take several tasks at a time: start them with --nthreads 1": (
            lambda one: one["nthreads"] > 1
        ),
        "have less than 100 MB free for temporary files": (
            lambda one: one["disk_free"] is not None and one["disk_free"] < ENOUGH_DISK_BYTES
        ),
        "were started without --preload distcnn.clusters.preload": (
            lambda one: not one["preloaded"]
        ),
    }
    for text, is_so in checks.items():
        count = sum(map(is_so, facts))
        if count:
            yield f"{count} of {total} workers {text}"
    hosts = Counter(one["host"] for one in facts)
    for host, workers in hosts.items():
        free = min((o["memory_free"] or 0 for o in facts if o["host"] == host), default=0)
        if free and free < workers * places.memory:
            yield (
                f"{host} has {format_bytes(free)} of memory free, and its "
                f"{count_of(workers, 'worker')} may need {format_bytes(workers * places.memory)}"
            )
    if len({bool(one["gpus"]) for one in facts}) > 1:
        yield "Some workers have a GPU and some have none"


def _some(hosts: Sequence[str]) -> str:
    names = sorted(set(hosts))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def public_version(version: str) -> str:
    """A version without its local tag: the same torch is built for CPUs and for GPUs."""
    return version.partition("+")[0]


def minor_version(python: str) -> str:
    """``3.11`` of ``3.11.7``: code and numbers are those of every Python with the same."""
    return ".".join(python.split(".")[:2])
