"""Sensitivity: how long ``distcnn check sensitivity`` takes for a survey, by threads.

    python benchmarks/sensitivity.py PACKAGE SURVEY [--stars N] [--threads 1,2] [--json FILE]

Gradients of every label of the package, all members, by the flux of every pixel, averaged by
stellar type, reading included; a survey of fewer stars is gone through again until N (100,000) are
done. Seconds of the wall clock and of the processor: on a busy machine the latter tell. Written to
``benchmarks/results/sensitivity-HARDWARE-COMMIT.json``:

    sensitivity.THREADS.wall_s, cpu_s, stars_per_s   of all N stars
    sensitivity.THREADS.stars_per_cpu_s
    seconds_of_28_members   by the processor, of 100,000 stars and the published number of members
    contrast                of labels with lines of their own
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lib.origin import commit, hardware, keep, now

from distcnn.checks import CheckInputs
from distcnn.checks.sensitivity.answer import wavelengths_nm
from distcnn.checks.sensitivity.gradients import BATCH_STARS, mean_gradients
from distcnn.checks.sensitivity.own_lines import own_line_rows
from distcnn.config import ChecksConfig
from distcnn.model import Batch, Package
from distcnn.survey import Store

PUBLISHED_MEMBERS, STARS = 28, 100_000


def batches(inputs: CheckInputs, stars: int) -> Iterator[Batch]:
    """Batches of so many stars, those of the survey as often as it takes."""
    done = 0
    for _ in itertools.count():
        for batch in inputs.batches(inputs.table, BATCH_STARS):
            yield batch
            done += len(batch["snr"])
            if done >= stars:
                return


def measure(inputs: CheckInputs, stars: int, threads: int) -> dict[str, Any]:
    """One run with so many threads of torch."""
    torch.set_num_threads(threads)
    package = inputs.package
    wall, cpu = time.perf_counter(), time.process_time()
    found = mean_gradients(
        package.networks(), package.labels, batches(inputs, stars), package.stacking()
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done = int(found.stars[0])
    rows = own_line_rows(found, *wavelengths_nm(inputs.survey))
    whole = [row for row in rows if row["type"] == "all stars" and row["lines"]]
    return {
        "stars": done,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "stars_per_s": round(done / wall),
        "stars_per_cpu_s": round(done / cpu),
        "contrast": {str(row["label"]): round(float(row["contrast"]), 2) for row in whole},
    }


def main() -> None:
    """Measure with each number of threads, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package")
    parser.add_argument("survey")
    parser.add_argument("--stars", type=int, default=STARS)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    package, survey = Package.load(options.package), Store.open(options.survey, "survey")
    inputs = CheckInputs(package, survey, ChecksConfig(sensitivity_stars=options.stars))
    runs = {n: measure(inputs, options.stars, int(n)) for n in options.threads.split(",")}
    contrast = [run.pop("contrast") for run in runs.values()]
    rate = max(run["stars_per_cpu_s"] for run in runs.values())
    result = {
        "date": now(),
        "hardware": hardware(),
        "commit": commit(),
        "members": package.size,
        "labels": list(package.labels),
        "pixels": package.spec.pixels,
        "sensitivity": runs,
        "seconds_of_28_members": round(STARS / rate * PUBLISHED_MEMBERS / package.size),
        "contrast": contrast[0],
    }
    print(keep("sensitivity", result, options.json))


if __name__ == "__main__":
    main()
