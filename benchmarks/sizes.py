"""Sizes of ``hybrid``: accuracy against speed, so that the default is chosen and not guessed.

    python benchmarks/sizes.py SURVEY FOLDER [--sizes 32x128,16x128] [--members M] [--json FILE]

A size is width x hidden (channels of the last convolution, neurons of the dense layers). A package
of each is trained in FOLDER with the default settings, unless it is there. Accuracy is told from
the calibration split, which no member has seen; the test split is not touched, since here
something is chosen. Speed is that of the fastest engine that reproduces the package, one process
and one thread, by CPU time. Written to ``benchmarks/results/sizes-HARDWARE-COMMIT.json``:

    sizes.NAME.scatter      standard deviation over that of the first size: geometric mean over
                            labels and S/N bins; scatter_of has each label over all stars
    sizes.NAME.validation   mean over the members of the best validation loss
    sizes.NAME.mflop        of one member and star
    sizes.NAME.stars_x_members_per_s, engine
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.ceilings import demand
from lib.origin import commit, hardware, keep, now

from distcnn import pipeline
from distcnn.config import load_config
from distcnn.events import silent
from distcnn.inference.engines import select_engine
from distcnn.model import Package

BATCH = 1024


def package_of(options: argparse.Namespace, size: str) -> Package:
    """The package of a size, trained if it is not there."""
    path = options.folder / size
    if not (path / "manifest.json").exists():
        width, hidden = size.split("x")
        sets = [f"train.network.width={width}", f"train.network.hidden={hidden}"]
        config = load_config(None, [*sets, f"train.members={options.members}"])
        pipeline.train_package(options.survey, path, config, silent)
    return Package.load(path)


def scatter(package: Package) -> dict[tuple[str, str], float]:
    """Standard deviation per label and S/N bin on the calibration split, all members."""
    rows = package.manifest.to_json()["ensemble_size"]
    most = max(row["members"] for row in rows)
    return {(r["label"], r["snr"]): r["std"] for r in rows if r["members"] == most}


def speed(package: Package) -> dict[str, Any]:
    """The fastest engine on the package's fixtures, repeated to a batch."""
    torch.set_num_threads(1)
    fixtures = package.fixtures()[0]
    stars = fixtures.take(np.arange(BATCH) % len(fixtures))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DISTCNN_CACHE"] = cache  # a choice remembered was timed at another moment
        choice = select_engine(package, stars)[1]
    network = package.networks()[0]
    with torch.no_grad():
        scaled = network.inputs(stars.tensors())
        flop = demand(lambda: network.layers(scaled))["flop"]
    found = choice.chosen.stars_per_second or 0.0
    return {
        "mflop": round(flop / BATCH / 1e6, 4),
        "engine": str(choice.candidate),
        "stars_x_members_per_s": round(found * package.size),
    }


def measure(package: Package, first: Package) -> dict[str, Any]:
    """One size beside the first."""
    mine, other = scatter(package), scatter(first)
    ratios = {key: mine[key] / other[key] for key in other}
    validation = [curve["validation"] for curve in package.curves]
    return {
        "package": package.digest,
        "members": package.size,
        "scatter": round(float(np.exp(np.mean(np.log(list(ratios.values()))))), 4),
        "scatter_of": {label: round(ratios[label, "all"], 4) for label in package.labels},
        "validation": round(statistics.fmean(validation), 4),
        **speed(package),
    }


def main() -> None:
    """Train what is missing, measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="32x128,16x128,32x64,16x64")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    packages = {size: package_of(options, size) for size in options.sizes.split(",")}
    first = next(iter(packages.values()))
    result = {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "sizes": {size: measure(package, first) for size, package in packages.items()},
    }
    print(json.dumps(result, indent=1))
    keep("sizes", result, options.json)


if __name__ == "__main__":
    main()
