"""Distillation: what a student costs against its ensemble, and how much faster it is.

    python benchmarks/distillation.py FOLDER [--package hybrid] [--student student]
                                      [--against PACKAGE] [--conf FILE] [--set KEY=VALUE]
                                      [--seconds S] [--json FILE]

FOLDER is one of ``accuracy.py``: a survey, its archive with the truth, and a package that was
trained on it. The student is made if it is not there. Stars are the undamaged ones of
the test split, which neither ensemble nor student has seen, against the truth. Speed is stars per
second of process CPU time of one thread, ensemble and student in turn, engine by engine;
``--against`` names a larger ensemble of the same inputs whose speed counts instead. Written to
``benchmarks/results/distillation-HARDWARE-COMMIT.json``:

    price.BIN          rows per label: see ``training.price``; BIN is S/N
    speed.ENGINE       stars/s of ensemble and student by predict.batch; ratio: with the default
    ratio              the best of the student over the best of the ensemble
    with_quality       the same with everything that ``predict`` does but reading and writing
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lib.judge import BINS, inside
from lib.origin import commit, hardware, keep

from distcnn import pipeline
from distcnn.config import load_config
from distcnn.errors import DistcnnError
from distcnn.inference.engines import Candidate, EngineChoice, EngineRefused
from distcnn.inference.engines.cache import cache_folder
from distcnn.inference.worker.package_cache import TORCH_EAGER
from distcnn.inference.worker.predictor import Predictor
from distcnn.model import Ensemble, Package, star_inputs
from distcnn.model.devices import worker_threads
from distcnn.monitor import console_display
from distcnn.quality import Quality
from distcnn.survey import Region, Store
from distcnn.training import Split
from distcnn.training.data.labelled import read_labelled
from distcnn.training.distillation.agreement import ScoredPredictions, student_agreement

ENGINES = ("eager", "joint", "openvino")
STARS = 4096
BATCHES = (1024, 256)
"""Values of ``predict.batch``, the first one the default."""
CPU = torch.device("cpu")


def judge(student: Package, teacher: Package, survey: Store, truth: Path) -> dict[str, Any]:
    """The price against the truth, by S/N."""
    split = student.manifest.training_split
    stars = read_labelled(survey, student.spec, split, Split.TEST)
    table = pd.read_parquet(truth).set_index("source_id").loc[stars.source_id]
    stars = stars.take(np.flatnonzero(table["trouble"].to_numpy() == ""))
    known = table[table["trouble"] == ""][list(student.labels)].to_numpy()
    both = []
    for package in (student, teacher):
        found = Ensemble(package).predict(stars.inputs)._asdict()
        both.append(ScoredPredictions.of(package, stars.for_quality() | found))
    rows = {}
    for name, edges in BINS.items():
        kept = inside(stars.inputs["snr"][:, 0], edges)
        some = [ScoredPredictions(*(array[kept] for array in vars(each).values())) for each in both]
        rows[name] = student_agreement(
            *some, known[kept], np.zeros_like(known[kept]), student.labels
        )
    return rows


class Runner:
    """A package on a block of a survey."""

    def __init__(self, package: Package, survey: Store) -> None:
        self.package = package
        names = [n for n in (*package.spec.variables, "flux_error") if n in survey.variables]
        rows = Region(0, min(survey.stars, STARS))
        self.wide, self.stored = survey.read(rows, names), survey.read_stored(rows, names)
        self.quantised = survey.quantised
        self.bands = [str(band) for band in survey.coordinate("band")]
        self.stars = len(self.wide["snr"])

    def run(self, engine: str, batch: int, *, quality: bool) -> Callable[[], object]:
        """What is timed: labels alone, or also errors and flags."""
        layers = Candidate(engine).build(self.package, CPU, cache_folder() / "engines")
        judge_of = Quality.from_arrays(self.package.quality_arrays)
        ensemble = Ensemble(self.package, layers)
        predictor = Predictor(self.package.spec, ensemble, judge_of, EngineChoice(TORCH_EAGER, ()))
        inputs = star_inputs(self.wide, self.package.spec, self.bands)
        if quality:
            return lambda: predictor.predict(self.stored, self.bands, batch, self.quantised)
        return lambda: ensemble.predict(inputs, batch)


def race(runs: dict[str, Callable[[], object]], stars: int, seconds: float) -> dict[str, float]:
    """Stars per second of CPU time; in turn, so that neighbours disturb all alike."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            begun = time.process_time()
            run()
            spent[name].append(time.process_time() - begun)
    # The least disturbed round counts: what neighbours leave in the caches hurts all the others.
    return {name: stars / min(values) for name, values in spent.items()}


def measure_speed(
    student: Package, ensemble: Package, survey: Store, seconds: float, *, quality: bool = False
) -> dict[str, dict[str, float]]:
    """Per engine: stars/s of both and the ratio."""
    runners = {"ensemble": Runner(ensemble, survey), "student": Runner(student, survey)}
    found: dict[str, dict[str, float]] = {}
    with worker_threads():
        for engine in ENGINES:
            try:
                runs = {
                    f"{name}_{batch}": runner.run(engine, batch, quality=quality)
                    for name, runner in runners.items()
                    for batch in BATCHES
                }
            except (EngineRefused, ImportError) as error:
                print(f"{engine}: {error}")
                continue
            speeds = race(runs, runners["student"].stars, seconds)
            ratio = speeds[f"student_{BATCHES[0]}"] / speeds[f"ensemble_{BATCHES[0]}"]
            found[engine] = speeds | {"ratio": ratio}
    return found


def best_ratio(speeds: dict[str, dict[str, float]]) -> float:
    """Each by the engine and in the batches that suit it best."""
    student, ensemble = (
        max(row[f"{name}_{batch}"] for row in speeds.values() for batch in BATCHES)
        for name in ("student", "ensemble")
    )
    return student / ensemble


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--package", default="hybrid", help="name in FOLDER")
    parser.add_argument("--student", default="student", help="name in FOLDER")
    parser.add_argument("--against", type=Path, help="an ensemble whose speed is compared")
    parser.add_argument("--conf", type=Path)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=30, help="per engine")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Distil, judge, race."""
    folder = options.folder
    places = folder / options.package, folder / options.student, folder / "survey.zarr"
    config = load_config(options.conf, ["cluster.backend=serial", *options.sets])
    begun = time.process_time()
    pipeline.distil_package(*places, config, console_display())
    spent = time.process_time() - begun
    teacher, student = (Package.load(path) for path in places[:2])
    survey = Store.open(places[2], "survey")
    fast = Package.load(options.against) if options.against else teacher
    speed = measure_speed(student, fast, survey, options.seconds)
    whole = measure_speed(student, fast, survey, options.seconds / 3, quality=True)
    return {
        "hardware": hardware(),
        "commit": commit(),
        "torch": str(torch.__version__),
        "teacher": {"digest": teacher.digest, "members": teacher.size},
        "student": {"digest": student.digest, **student.manifest.to_json()["distilled"]},
        "arithmetic": student.manifest.members[0].arithmetic or None,
        "cpu_seconds_of_this_run": round(spent, 1),
        "price": judge(student, teacher, survey, folder / "archive" / "truth.parquet"),
        "against_members": fast.size,
        "speed": speed,
        "ratio": round(best_ratio(speed), 2),
        "with_quality": whole | {"ratio": round(best_ratio(whole), 2)},
    }


def tell(result: dict[str, Any]) -> None:
    """The numbers in words."""
    for name, price in result["price"].items():
        print(f"\nS/N {name}: {price['stars']:,} test stars against the truth")
        for row in price["labels"]:
            print(
                f"  {row['label']:7s} std {row['std_teacher']:.4g} -> {row['std']:.4g}"
                f" ({100 * (row['ratio'] - 1):+.1f} %)  apart {row['apart']:.3f}"
                f"  68 %: {row['within_68_teacher']:.3f} -> {row['within_68']:.3f}"
                f"  95 %: {row['within_95_teacher']:.3f} -> {row['within_95']:.3f}"
                f"  scatter {row['scatter_correlation']:.2f}"
            )
    for title, speeds in (("labels", result["speed"]), ("with quality", result["with_quality"])):
        print(f"\n{title}: {result['against_members']} members and student, stars/s of CPU time")
        print("            predict.batch 1024, 256 of the ensemble, then of the student")
        for engine, row in speeds.items():
            if engine != "ratio":
                numbers = " ".join(f"{v:9,.0f}" for name, v in row.items() if name != "ratio")
                print(f"  {engine:9s} {numbers}  ratio {row['ratio']:.1f}")
    print(f"best against best: {result['ratio']}; with quality {result['with_quality']['ratio']}")


def main() -> None:
    """Measure, print and store."""
    options = parse()
    result = run(options)
    tell(result)
    print(f"\n{keep('distillation', result, options.json)}")


if __name__ == "__main__":
    try:
        main()
    except DistcnnError as error:
        sys.exit(f"distillation: {error}")
