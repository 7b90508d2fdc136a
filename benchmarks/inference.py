"""Inference speed, end to end: from a survey store to a committed prediction store.

    python benchmarks/inference.py FOLDER [--stars N] [--pixels P] [--members M]
                                          [--seconds S] [--workers 1,2] [--engine NAME]
                                          [--keras PYTHON] [--short [--check]] [--json FILE]

FOLDER keeps the survey and the package between runs. The survey is a simulated one, repeated
until it has N stars; the package is trained on it for two epochs, since speed does not depend on
how good weights are. Unit: stars per second with the whole ensemble. Counted runs last at least
``--seconds`` and 24,576 stars each; star counts, digests and parity are checked in the same run.
Written to ``benchmarks/results/inference-HARDWARE-COMMIT.json``:

    engine_to_naive           the engine over the plain loop, per CPU second of one core: what
                              ``--check`` compares, because neighbours disturb it least
    ratio_to_naive            our stars/s on all cores over those of the plain loop on all cores
    stars_per_second          end to end with the most workers, wall time, median of the runs
    runs.NAME                 every run: workers, seconds of all repeats, stars/s, and
        whole_seconds         the same runs, with workers begun before and ended after
        cold_seconds          of the run before them, with files read from the disk and no choice
                              of engine remembered; only with the most workers, else null
        compute_share         seconds in network, errors and flags over seconds in the task
        computing_alone       stars/s of as many workers that do only that, with stars in memory,
                              median of what was measured after each run
        end_to_end_to_computing   stars/s end to end over those
        memory                largest resident size of a worker [bytes]
    naive                     the plain loop: eager float32, member by member, torch's own threads
    naive_per_core            the same with one thread, by process CPU time
    keras, ratio_to_keras     with ``--keras``: the same members as Keras models on all cores,
                              and ours over them (see keras_predict.py); else null
    ceilings, binding         what this machine can do, measured in the same run, and what binds
    engine, parity, trials    what was used and why
    first_star                seconds from a new process to the first labels: cold, then warm
"""

import argparse
import json
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from lib.ceilings import ceilings, demand
from lib.first_star import first_star
from lib.keras_predict import has_keras, measure_keras
from lib.naive import Naive, measure_naive
from lib.origin import commit, hardware, keep, now, place
from lib.survey_of import FEW, make_survey

from distcnn import pipeline
from distcnn.clusters import import_ahead, open_cluster
from distcnn.config import Config, PredictConfig, load_config
from distcnn.events import silent
from distcnn.inference import predict, verify
from distcnn.inference.predict import package_key
from distcnn.inference.worker.package_cache import get_cached
from distcnn.model import Package
from distcnn.model.devices import worker_threads
from distcnn.pipeline.predictions import WORKER_MODULES, modules_of
from distcnn.pipeline.running import places_of
from distcnn.survey import Ledger, Region, Store

FEWEST = 24_576
"""Stars of a counted run."""
FALL = 0.3
"""Part of the recorded ratio that a change may not cost."""
IN_MEMORY = 8192
"""Stars that are computed again and again where only computing is measured."""
FLOP_BATCH = 256
"""Stars of the batch whose operations are counted."""
STEADY = 60
"""Seconds that suffice for a loop that does the same all the time; five times that for the one
that everything is compared with."""
BETWEEN = 10
"""Seconds of computing alone after each run: neighbours slow down both alike."""


def config_of(options: argparse.Namespace, workers: int = 0) -> Config:
    """Defaults, but for what was asked."""
    cluster = (
        ["cluster.backend=serial"]
        if workers == 0
        else ["cluster.backend=local", f"cluster.workers={workers}"]
    )
    return load_config(None, [f"predict.engine={options.engine}", *cluster])


def make_package(folder: Path, members: int) -> Package:
    """A package of so many members, trained for two epochs on the stars that are repeated."""
    path = folder / "package"
    if not (path / "manifest.json").exists():
        # Networks alone, as the plain loop has: after two epochs regressions would carry labels,
        # and the gate would judge engines by errors that are none of these networks.
        sets = [f"train.members={members}", "train.epochs=2", "train.batch=128"]
        sets.append("train.stacking.methods=[]")
        config = load_config(None, [*sets, "cluster.backend=serial"])
        pipeline.train_package(folder / FEW, path, config, silent)
    return Package.load(path)


def run_once(options: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Predict the whole survey into a new store."""
    config, path = config_of(options, workers), options.folder / "predictions.zarr"
    shutil.rmtree(path, ignore_errors=True)
    load = os.getloadavg()[0]
    begun = time.perf_counter()
    # As the command does, whose workers come with what they need imported.
    ahead = import_ahead(config.cluster, *WORKER_MODULES)
    with ahead, open_cluster(config.cluster) as executor:
        opened = time.perf_counter()
        places = options.folder / "package", options.folder / "survey.zarr", path
        reads = {"package": places[0], "survey": places[1]}
        executor.preflight(places_of(reads, path, 0, *modules_of(options.engine)), silent)
        done = predict(*places, config.predict, executor=executor)
        seconds = time.perf_counter() - opened
    whole = time.perf_counter() - begun
    if (done.stars, done.failed) != (options.stars, 0):
        raise SystemExit(f"{done.stars} stars, {done.failed} failed: not what was asked")
    facts = Ledger.read(path / ".distcnn" / "ledger.jsonl").done.values()
    spent = {name: sum(f["seconds"][name] for f in facts) for name in next(iter(facts))["seconds"]}
    return {
        "seconds": seconds,
        "whole": whole,
        "load": load,
        "spent": spent,
        "memory": max(f.get("memory", 0) for f in facts),
        "engine": done.engine,
        "parity": done.parity,
    }


def compute_alone(task: tuple[Path, str, float]) -> float:
    """Stars per second where nothing is read or stored: network, errors and flags of stars in
    memory, by the engine named.
    """
    folder, engine, seconds = task
    config = PredictConfig()
    key = package_key(Package.load(folder / "package"), config, engine)
    predictor, survey = get_cached(key), Store.open(folder / "survey.zarr", "survey")
    names = [name for name in predictor.variables if name in survey.variables]
    arrays = survey.read_stored(Region(0, IN_MEMORY), names)
    bands, stars = [str(band) for band in survey.coordinate("band")], 0
    with worker_threads():
        predictor.predict(arrays, bands, config.batch, survey.quantised)
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            predictor.predict(arrays, bands, config.batch, survey.quantised)
            stars += IN_MEMORY
        return stars / (time.perf_counter() - begun)


def measure_compute(options: argparse.Namespace, workers: int, engine: str) -> float:
    """Stars per second of all workers together that compute and do nothing else."""
    task = options.folder, engine, min(options.seconds / 2, BETWEEN)
    with open_cluster(config_of(options, workers).cluster) as executor:
        return sum(
            outcome.unwrap() for outcome in executor(compute_alone, [task] * max(workers, 1))
        )


def measure(options: argparse.Namespace, workers: int, *, warm: bool = True) -> dict[str, Any]:
    """Repeat a run until it has lasted long enough; unless all is ``warm``, one comes before."""
    cold = None
    if not warm:
        _forget(options.folder / "survey.zarr")
        cold = round(run_once(options, workers)["seconds"], 2)
    runs: list[dict[str, Any]] = []
    while not runs or sum(run["seconds"] for run in runs) < options.seconds:
        run = run_once(options, workers)
        runs.append(run | {"alone": measure_compute(options, workers, run["engine"])})
    seconds = [run["seconds"] for run in runs]
    speed = options.stars / statistics.median(seconds)
    alone = statistics.median(run["alone"] for run in runs)
    spent = {name: sum(r["spent"][name] for r in runs) for name in runs[0]["spent"]}
    return {
        "workers": workers,
        "seconds": [round(value, 2) for value in seconds],
        "whole_seconds": [round(run["whole"], 2) for run in runs],
        "cold_seconds": cold,
        "stars_per_second": round(speed),
        "computing_alone": round(alone),
        "computing_alone_each": [round(run["alone"]) for run in runs],
        "end_to_end_to_computing": round(speed / alone, 3),
        "spread": round((max(seconds) - min(seconds)) / statistics.median(seconds), 3),
        "compute_share": round((spent["infer"] + spent["flags"]) / spent["total"], 4),
        "spent": {name: round(value, 2) for name, value in spent.items()},
        "memory": max(run["memory"] for run in runs),
        "load": [run["load"] for run in runs],
        "engine": runs[-1]["engine"],
        "parity": runs[-1]["parity"],
    }


def _forget(folder: Path) -> None:
    """Ask the system to drop a folder's files from memory, so that they are read from the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_ceilings(options: argparse.Namespace, naive: Naive) -> dict[str, Any]:
    """What this machine can do at most, in stars per second where it can be told so."""
    torch.set_num_threads(1)
    found = ceilings(torch.device("cpu"), torch.float32)
    store = Store.open(options.folder / "survey.zarr", "survey")
    package = Package.load(options.folder / "package", verify=False)
    names = [n for n in (*package.spec.variables, "flux_error") if n in store.variables]
    begun, stars = time.process_time(), 0
    while time.process_time() - begun < 3:
        region = store.regions()[stars // store.shard_stars % len(store.regions())]
        stars += len(store.read(region, names)["snr"])
    batch = next(iter(naive.stars.batches(FLOP_BATCH)))
    with torch.no_grad():
        scaled = naive.members[0].inputs(batch)
        flop = demand(lambda: [member.layers(scaled) for member in naive.members])["flop"]
    return {
        **found,
        "decode_stars_per_s": round(stars / (time.process_time() - begun)),
        "flop_per_star": round(flop / FLOP_BATCH),
        "matmul_stars_per_s": round(found["matmul_flop_per_s"] * FLOP_BATCH / flop),
    }


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=262_144)
    parser.add_argument("--pixels", type=int, default=800)
    parser.add_argument("--different", type=int, default=8192, help="stars before they repeat")
    parser.add_argument("--members", type=int, default=28)
    parser.add_argument("--seconds", type=float, default=60, help="least length of a counted run")
    parser.add_argument("--workers", default="0,1,2", help="0 = in this process, without Dask")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--keras", metavar="PYTHON", help="an interpreter that has TensorFlow")
    parser.add_argument("--short", action="store_true", help="a minute in all, figures are rough")
    parser.add_argument(
        "--check", action="store_true", help="fail if the ratio fell 30 %% below the recorded one"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.short:
        options.stars, options.seconds, options.workers = 32_768, 5, "2"
        options.members, options.different = 8, 2048
    if options.stars < FEWEST:
        parser.error(f"--stars must be at least {FEWEST}")
    if options.keras and not has_keras(options.keras):
        parser.error(f"--keras {options.keras}: no interpreter with tensorflow and keras")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    load = os.getloadavg()[0]
    options.folder.mkdir(parents=True, exist_ok=True)
    # A choice of engines remembered from another moment would not be one of this run.
    cache = options.folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["DISTCNN_CACHE"] = str(cache)
    survey = make_survey(options.folder, options.stars, options.pixels, options.different)
    package = make_package(options.folder, options.members)
    naive, cores = Naive(package, survey), len(os.sched_getaffinity(0))
    result: dict[str, Any] = {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "torch": str(torch.__version__),
        "cores": cores,
        "stars": options.stars,
        "members": package.size,
        "pixels": package.spec.pixels,
        "package": package.digest,
        "naive": measure_naive(naive, cores, min(options.seconds, 5 * STEADY)),
        "naive_per_core": measure_naive(naive, 1, min(options.seconds / 2, STEADY)),
        "keras": measure_keras(options.keras, package, naive.stars, min(options.seconds, STEADY))
        if options.keras
        else None,
        "ceilings": measure_ceilings(options, naive),
    }
    asked = sorted(map(int, options.workers.split(",")), reverse=True)
    # The run with the most workers comes first: it reads what nobody has read.
    runs = {str(w): measure(options, w, warm=w != asked[0]) for w in asked}
    checked = verify(options.folder / "predictions.zarr", config_of(options).predict)
    best = runs[max(runs, key=int)]
    store = Store.open(options.folder / "predictions.zarr", "predictions")
    most = result["ceilings"]["matmul_stars_per_s"] * max(best["workers"], 1)
    decode = result["ceilings"]["decode_stars_per_s"] * max(best["workers"], 1)
    speed = best["stars_per_second"]
    return result | {
        "runs": runs,
        "stars_per_second": speed,
        "ratio_to_naive": round(speed / result["naive"]["stars_per_second"], 2),
        "ratio_to_naive_per_core": round(
            speed / max(best["workers"], 1) / result["naive_per_core"]["stars_per_cpu_second"], 2
        ),
        "ratio_to_keras": result["keras"] and round(speed / result["keras"]["stars_per_second"], 2),
        "percent_of_matmul": round(100 * speed / most, 1),
        "percent_of_decode": round(100 * speed / decode, 1),
        "binding": "arithmetic" if speed / most > speed / decode else "decoding",
        "engine_to_naive": _engine_to_naive(store, result["naive_per_core"]),
        "engine": best["engine"],
        "parity": best["parity"],
        "trials": store.attrs["engine"]["trials"],
        "recomputed": checked.recomputed,
        "identical": checked.identical,
        "first_star": {} if options.short else first_star(options.folder, options.engine),
        "load": [load, os.getloadavg()[0]],
    }


def _engine_to_naive(store: Store, naive: dict[str, float]) -> float:
    engine = store.attrs["engine"]
    used = next(t for t in engine["trials"] if t["candidate"] == engine["candidate"])
    return round(float(used["stars_per_second"] / naive["stars_per_cpu_second"]), 2)


def main() -> None:
    """Measure, print and store."""
    options = parse()
    result = run(options)
    print(json.dumps(result, indent=1))
    record = place("inference-short")
    if options.json or not options.check:
        keep("inference", result, options.json or (record if options.short else None))
    if options.check:
        compare(result, record)


def compare(result: dict[str, Any], record: Path) -> None:
    """Say where this run stands beside the recorded one of this hardware.

    Raises
    ------
    SystemExit : the ratio to the plain loop fell by more than ``FALL``.
    """
    now = result["engine_to_naive"]
    print(f"{result['stars_per_second']:,} stars/s; engine {now} times the plain loop", end="; ")
    if not record.exists():
        print(f"nothing recorded for {result['hardware']}")
        return
    before = json.loads(record.read_text())["engine_to_naive"]
    print(f"recorded: {before} times")
    if now < (1 - FALL) * before:
        raise SystemExit(f"slower: {now} times the plain loop, recorded were {before}")


if __name__ == "__main__":
    main()
