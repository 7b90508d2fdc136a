"""Two hosts against one, with as many workers: what the network between them costs.

    python benchmarks/hosts.py FOLDER [--stars N] [--members M] [--workers W] [--runs R]
                                      [--engine NAME] [--json FILE]

Hosts are network namespaces of this machine with an ssh server each (root, iproute2 and
openssh-server are needed), so both layouts have the same cores, memory and disk: what differs is
that half of the workers are behind another link. FOLDER keeps survey and package between runs; the
engine is named, since a race may end otherwise on every run. The layouts take turns. Written to
``benchmarks/results/hosts-HARDWARE-COMMIT.json``:

    two_to_one                median seconds of ``predict`` on two hosts over those on one; null
                              where neighbours had more than half of the cores
    cpu_two_to_one            the same of CPU seconds of all processes: neighbours disturb it less
    two_to_one_with_start     as two_to_one, of seconds from the command to the last byte
    binding                   the step on which the workers of two hosts spend most of their time,
                              and its share of it
    network_bytes_per_star    to and from two hosts, median; files are not among them, since all see
                              the same disk
    layouts.N                 N hosts, every run: workers on each, seconds (of ``predict``),
                              start_seconds (ssh, agents, workers, until all are there), cpu_seconds
                              of the workers and of the driver, busy: CPU seconds over seconds and
                              cores, network_bytes_per_star, memory [bytes] of all on the hosts,
                              spent: seconds of all workers by step
    identical                 whether every run gave the digests of this process alone
    tls                       whether everything between the hosts was encrypted
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from inference import make_package
from lib.origin import commit, hardware, keep, now
from lib.survey_of import make_survey

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "clusters"), str(ROOT / "tests")]

from machines.ssh_hosts import Hosts, hosts_in  # noqa: E402 - where the tests have it

from distcnn.clusters import open_cluster  # noqa: E402
from distcnn.clusters.ssh import SshConfig  # noqa: E402
from distcnn.config import PredictConfig  # noqa: E402
from distcnn.executor import SerialExecutor  # noqa: E402
from distcnn.inference import predict  # noqa: E402
from distcnn.survey import Ledger  # noqa: E402

OURS = 0.5
"""Part of the cores' time that must have been ours for a wall time to mean anything. Where others
want the cores Linux shares them out by sessions, of which two hosts are two."""


def cluster_of(hosts: Hosts, count: int, workers: int) -> SshConfig:
    """So many hosts that share the workers."""
    each = workers // count
    return SshConfig(
        backend="ssh",
        hosts=tuple(f"{hosts.address(n)} workers={each}" for n in range(1, count + 1)),
        key=hosts.key,
        known_hosts=hosts.known_hosts,
        setup=(f"export PYTHONPATH={ROOT} DISTCNN_CACHE={os.environ['DISTCNN_CACHE']}",),
        scratch=str(hosts.folder),
        dashboard=None,
    )


def predict_with(options: argparse.Namespace, executor: Any) -> dict[str, dict[str, Any]]:
    """Predict the whole survey into a new store; what the ledger says of every region."""
    path = options.folder / "predictions.zarr"
    shutil.rmtree(path, ignore_errors=True)
    config = PredictConfig(engine=options.engine, precision="float32")
    places = options.folder / "package", options.folder / "survey.zarr", path
    done = predict(*places, config, executor=executor)
    if (done.stars, done.failed) != (options.stars, 0):
        raise SystemExit(f"{done.stars} stars, {done.failed} failed: not what was asked")
    return dict(Ledger.read(path / ".distcnn" / "ledger.jsonl").done)


def digests(regions: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Of every region."""
    return {name: facts["digest"] for name, facts in regions.items()}


def run_once(options: argparse.Namespace, hosts: Hosts, count: int) -> dict[str, Any]:
    """One run on so many hosts."""
    begun = time.perf_counter()
    with hosts.inside(0), open_cluster(cluster_of(hosts, count, options.workers)) as executor:
        started, cpu = time.perf_counter(), time.process_time()
        before, bytes_before = usage(hosts, count), traffic(hosts, count)
        regions = predict_with(options, executor)
        seconds = time.perf_counter() - started
        after, bytes_after = usage(hosts, count), traffic(hosts, count)
        driver = time.process_time() - cpu
        encrypted = executor.client.scheduler.address.startswith("tls://")
    there = after["cpu"] - before["cpu"]
    every = [facts["seconds"] for facts in regions.values()]
    return {
        "seconds": round(seconds, 2),
        "start_seconds": round(started - begun, 2),
        "cpu_seconds": {"workers": round(there, 2), "driver": round(driver, 2)},
        "busy": round((there + driver) / seconds / len(os.sched_getaffinity(0)), 3),
        "network_bytes_per_star": round((bytes_after - bytes_before) / options.stars, 2),
        "memory": after["memory"],
        "load": os.getloadavg()[0],
        "tls": encrypted,
        "spent": {step: round(sum(one[step] for one in every), 2) for step in every[0]},
        "digests": digests(regions),
    }


def usage(hosts: Hosts, count: int) -> dict[str, float]:
    """CPU seconds and resident bytes of all that runs on the hosts."""
    found = [one for n in range(1, count + 1) for one in hosts.processes(n)]
    times = [one.cpu_times() for one in found]
    return {
        "cpu": sum(t.user + t.system for t in times),
        "memory": sum(one.memory_info().rss for one in found if psutil.pid_exists(one.pid)),
    }


def traffic(hosts: Hosts, count: int) -> int:
    """Bytes that have gone over the links of the hosts, both ways."""
    total = 0
    for number in range(1, count + 1):
        with hosts.inside(number):
            total += sum(psutil.net_io_counters(pernic=True, nowrap=False)["eth0"][:2])
    return total


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, the layouts in turn."""
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["DISTCNN_CACHE"] = str(options.folder / "cache")
    make_survey(options.folder, options.stars, options.pixels, options.different)
    package = make_package(options.folder, options.members)
    alone = digests(predict_with(options, SerialExecutor()))
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder, hosts_in(Path(folder), 2) as hosts:
        for _ in range(options.runs):
            for count, done in runs.items():
                done.append(run_once(options, hosts, count))
    identical = all(run.pop("digests") == alone for done in runs.values() for run in done)
    tls = all(run.pop("tls") for done in runs.values() for run in done)
    return {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "torch": str(torch.__version__),
        "cores": len(os.sched_getaffinity(0)),
        "stars": options.stars,
        "members": package.size,
        "engine": options.engine,
        "workers": options.workers,
        "load": [runs[1][0]["load"], runs[2][-1]["load"]],
        "two_to_one": timed(runs, lambda run: run["seconds"]),
        "cpu_two_to_one": ratio(runs, lambda run: sum(run["cpu_seconds"].values())),
        "two_to_one_with_start": timed(runs, lambda run: run["seconds"] + run["start_seconds"]),
        "binding": binding(runs[2]),
        "network_bytes_per_star": statistics.median(
            run["network_bytes_per_star"] for run in runs[2]
        ),
        "layouts": {
            count: {"workers": options.workers // count, "runs": done}
            for count, done in runs.items()
        },
        "identical": identical,
        "tls": tls,
    }


def binding(runs: list[dict[str, Any]]) -> str:
    """``infer, 0.93``."""
    steps = {name for name in runs[0]["spent"] if name != "total"}
    spent = {name: sum(run["spent"][name] for run in runs) for name in steps}
    most = max(spent, key=lambda name: spent[name])
    return f"{most}, {spent[most] / sum(run['spent']['total'] for run in runs):.2f}"


def timed(runs: dict[int, list[dict[str, Any]]], value: Any) -> float | None:
    """A ratio of wall times; None where others had the cores."""
    busy = min(statistics.median(run["busy"] for run in done) for done in runs.values())
    return ratio(runs, value) if busy > OURS else None


def ratio(runs: dict[int, list[dict[str, Any]]], value: Any) -> float:
    """Median over median."""
    one, two = (statistics.median(value(run) for run in runs[count]) for count in (1, 2))
    return round(two / one, 3)


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=65_536)
    parser.add_argument("--pixels", type=int, default=800)
    parser.add_argument("--different", type=int, default=2048, help="stars before they repeat")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--workers", type=int, default=4, help="in all; an even number")
    parser.add_argument("--runs", type=int, default=3, help="of each layout")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.workers % 2:
        parser.error("--workers must be even: two hosts share them")
    options.folder = options.folder.absolute()
    return options


def main() -> None:
    """Measure, print and store."""
    options = parse()
    result = measure(options)
    print(json.dumps(result, indent=1))
    keep("hosts", result, options.json)


if __name__ == "__main__":
    main()
