"""Cost of the driver of ``distcnn predict``, up to a million regions.

    python benchmarks/scaling.py FOLDER [--regions 10000,100000,1000000]
                                        [--dask-regions 10000] [--workers 1,2]
                                        [--fsync-regions 10000] [--json FILE]

FOLDER keeps a small package and, per number of regions, a survey that is an empty shell: its
metadata and its ledger are those of a real one, its spectra were never written. ``predict`` runs
on it as always (plan, fingerprint, prediction store, loop over regions, ledger, dead letters,
totals, and lines of progress into a text), but what workers do with a region is an idle
function that gives plausible facts at once. So all that is measured is the driver. Every run is
a process of its own. Written to ``benchmarks/results/scaling-HARDWARE-COMMIT.json``:

    runs.KIND-REGIONS        serial: regions "computed" in the driver's own process; dask-W: by
                             W local workers, with the scheduler in the driver's process;
                             fsync: serial, with the disk asked for every line. Of each:
        us_per_region        wall time of the loop over regions [microseconds]
        cpu_us_per_region    CPU time of the driver's process for it, which neighbours disturb less
        loop_slices          us_per_region of ten equal parts of the loop: flat or not
        memory_slices        resident memory at their ends, beyond that at the begin [bytes]
        seconds              of everything: plan, loop, totals
        start_bytes          resident memory before ``predict``: Python, torch, the package
        peak_bytes           largest resident memory of the driver
        bytes_per_region     what ``predict`` added to the start, over the number of regions
        ledger_bytes         size of the ledger
        worker_peak_bytes    largest resident memory that a worker told (dask)
    resumes.REGIONS          the same command on the finished store: seconds, peak_bytes
    fsync_us                 one line of a ledger forced to this disk, alone
    per_region_ratio         cpu_us_per_region with the most regions over that with the fewest
    bytes_per_region         growth of the peak from the fewest to the most regions, per region

Other runs than ``fsync`` do not force lines to disk: what that costs is a property of the disk,
it is the same for every line, and a million of them take an hour here.
"""

import argparse
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from lib.origin import commit, hardware, keep
from lib.survey_of import FEW, make_few, make_shell

from distcnn import pipeline
from distcnn.clusters import open_cluster
from distcnn.config import load_config
from distcnn.events import Event, RegionStored, StageStarted, silent
from distcnn.inference import predict
from distcnn.inference.engines import Candidate, EngineChoice
from distcnn.inference.worker.compute import RegionTask
from distcnn.inference.worker.region import EngineSelection, PredictionRun, WorkerFunctions
from distcnn.model import Package
from distcnn.monitor.console.log_lines import LogLines
from distcnn.survey import Ledger, RegionResult

STARS, PIXELS = 600, 800  # of the package
SHARD = 8  # stars of a region: the driver does not care
SLICES = 10
SETS = ["predict.engine=eager", "cluster.dashboard=null"]


def idle_engines(run: PredictionRun, task: RegionTask) -> EngineSelection:
    """What ``try_engines`` returns, without a trial."""
    return EngineSelection(EngineChoice(Candidate("eager"), ()), "nowhere")


def idle_prepare(run: PredictionRun, task: RegionTask) -> None:
    """What ``prepare_worker`` does, without a package."""


def idle_region(run: PredictionRun, task: RegionTask) -> RegionResult:
    """What ``predict_region`` returns, of a region in a thousand with a failed star."""
    region, seconds = task.region, {"load": 0.0, "read": 1.2345, "infer": 34.5678, "write": 0.4321}
    star = (region.start, 10**15 + region.start)
    failed = (star,) if region.start // SHARD % 1000 == 7 else ()
    return RegionResult(
        region=region,
        digest=f"{region.start:064x}",
        stars=region.size,
        done=region.size - len(failed),
        failed=len(failed),
        flagged={"LABEL_LIMITS": 1, "NO_PARALLAX": 2, "NOVEL_SPECTRUM": 1},
        reasons={"flux cannot be read": failed} if failed else {},
        batch=run.batch,
        planned_batch=run.batch,
        engine="eager float32",
        parity=1.23e-7,
        seconds={**seconds, "total": sum(seconds.values())},
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


class Watch:
    """A listener: when the loop began and passed each slice; and the lines of progress."""

    def __init__(self, regions: int) -> None:
        self.size, self.count = max(regions // SLICES, 1), 0
        self.marks: list[float] = []
        self.cpu: list[float] = []
        self.memory: list[int] = []
        self.text = StringIO()
        self.lines = LogLines(self.text)

    def __call__(self, event: Event) -> None:
        self.lines(event)
        if isinstance(event, RegionStored):
            self.count += 1
        if isinstance(event, StageStarted) or (
            isinstance(event, RegionStored) and self.count % self.size == 0
        ):
            self.marks.append(time.perf_counter())
            self.cpu.append(time.process_time())
            self.memory.append(resident("VmRSS"))


def resident(name: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process [bytes]."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024


def one(folder: Path, regions: int, workers: int, fsync: bool) -> dict[str, Any]:
    """One call of ``predict``, in this process."""
    if not fsync:
        os.fsync = lambda descriptor: None
    backend = [f"cluster.workers={workers}"] if workers else ["cluster.backend=serial"]
    config, watch = load_config(None, [*SETS, *backend]), Watch(regions)
    survey, predictions = folder / f"shell-{regions}.zarr", folder / "predictions.zarr"
    package = folder / "package"
    Package.load(package)
    with open_cluster(config.cluster) as executor:
        start, begun = resident("VmRSS"), time.perf_counter()
        summary = predict(
            package,
            survey,
            predictions,
            config.predict,
            executor=executor,
            listener=watch,
            functions=WorkerFunctions(
                engines=idle_engines, prepare=idle_prepare, region=idle_region
            ),
        )
        seconds, peak = time.perf_counter() - begun, resident("VmHWM")
    if (summary.regions, summary.stars) != (regions, regions * SHARD):
        raise SystemExit(f"{summary} is not what was asked for")
    ledger = predictions / ".distcnn" / "ledger.jsonl"
    result: dict[str, Any] = {
        "regions": regions,
        "failed": summary.failed,
        "seconds": round(seconds, 2),
        "start_bytes": start,
        "peak_bytes": peak,
        "bytes_per_region": round((peak - start) / regions, 1),
        "ledger_bytes": ledger.stat().st_size,
        "load": os.getloadavg()[0],
    }
    return result | (of_loop(watch, regions, ledger, workers) if watch.marks else {})


def of_loop(watch: Watch, regions: int, ledger: Path, workers: int) -> dict[str, Any]:
    """Times of the loop over regions."""
    marks, cpu = watch.marks, watch.cpu
    slices = [(b - a) / watch.size * 1e6 for a, b in pairwise(marks)]
    found: dict[str, Any] = {
        "us_per_region": round((marks[-1] - marks[0]) / regions * 1e6, 1),
        "cpu_us_per_region": round((cpu[-1] - cpu[0]) / regions * 1e6, 1),
        "loop_slices": [round(value, 1) for value in slices],
        "memory_slices": [value - watch.memory[0] for value in watch.memory],
    }
    if workers:
        found["worker_peak_bytes"] = max(f["memory"] for f in Ledger.read(ledger).done.values())
    return found


def apart(folder: Path, regions: int, workers: int = 0, fsync: bool = False) -> dict[str, Any]:
    """``one`` in a process of its own."""
    words = [sys.executable, "-W", "ignore", __file__, str(folder), "--one", str(regions)]
    words += ["--workers", str(workers), *(["--fsync"] if fsync else [])]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{regions:,} regions, {workers or 'no'} workers: {result}", flush=True)
    return result


def fsync_us(folder: Path, lines: int = 200) -> float:
    """Microseconds of one line that is forced to this disk."""
    path = folder / "fsync.jsonl"
    path.unlink(missing_ok=True)
    ledger, begun = Ledger.open(path, {"by": "benchmark"}), time.perf_counter()
    for number in range(lines):
        ledger.record(f"{number:09d}", "0" * 64)
    spent = time.perf_counter() - begun
    path.unlink()
    return round(spent / lines * 1e6, 1)


def make_package(folder: Path) -> None:
    """A package; how good it is does not matter."""
    make_few(folder, PIXELS, STARS)
    if not (folder / "package" / "manifest.json").exists():
        sets = ["train.members=1", "train.epochs=1", "train.batch=64", "cluster.backend=serial"]
        pipeline.train_package(folder / FEW, folder / "package", load_config(None, sets), silent)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    make_package(folder)
    plans = [("serial", n, 0, False) for n in options.regions]
    plans += [("fsync", n, 0, True) for n in options.fsync_regions]
    plans += [(f"dask-{w}", n, w, False) for n in options.dask_regions for w in options.workers]
    runs, resumes = {}, {}
    for kind, regions, workers, fsync in plans:
        make_shell(folder, regions, SHARD)
        shutil.rmtree(folder / "predictions.zarr", ignore_errors=True)
        runs[f"{kind}-{regions}"] = apart(folder, regions, workers, fsync)
        if kind == "serial":
            resumes[str(regions)] = apart(folder, regions)
    shutil.rmtree(folder / "predictions.zarr", ignore_errors=True)
    few, many = (runs[f"serial-{pick(options.regions)}"] for pick in (min, max))
    more = max(many["regions"] - few["regions"], 1)
    return {
        "hardware": hardware(),
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "per_region_ratio": round(many["cpu_us_per_region"] / few["cpu_us_per_region"], 3),
        "per_region_ratio_wall": round(many["us_per_region"] / few["us_per_region"], 3),
        "bytes_per_region": round((many["peak_bytes"] - few["peak_bytes"]) / more, 1),
        "peak_bytes": many["peak_bytes"],
        "fsync_us": fsync_us(folder),
        "runs": runs,
        "resumes": resumes,
    }


def numbers(text: str) -> list[int]:
    """``10000,100000``; empty for none."""
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--regions", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dask-regions", type=numbers, default=[10_000])
    parser.add_argument("--fsync-regions", type=numbers, default=[10_000])
    parser.add_argument("--workers", type=numbers, default=[1, 2])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fsync", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.folder, options.one, options.workers[0], options.fsync)))
        return
    result = run(options)
    print(json.dumps(result, indent=1))
    keep("scaling", result, options.json)


if __name__ == "__main__":
    main()
