"""One night of 4MOST: 40,000 files in the survey's layout to a catalogue of 24 labels.

    python benchmarks/one_night.py FOLDER [--stars 40000] [--training 3000] [--workers 2]
                                   [--epochs N] [--members N] [--json FILE] [--keep]

Trains on labelled files with the configuration ``fourmost_lr_24``, then takes the night from files
to catalogue with the same configuration, which finds no labels there: seconds of ingest, predict
and export, and how far the labels are from what was put in. A file has 570 kB: 40,000 take 23 GB.
CPU seconds are those of this process and of the workers that have ended with the step: unlike
seconds they tell the cost on a busy machine, too.
"""

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from lib.fourmost_files import LABELS, Stars, write_files
from lib.origin import commit, hardware, keep, now

import distcnn
from distcnn.config import Config, load_config

SECONDS: dict[str, float] = {}
CPU_SECONDS: dict[str, float] = {}
_COLUMNS = (
    "teff",
    "logg",
    "feh",
    *(name.removesuffix("_FE").lower() + "fe" for name in LABELS[3:]),
)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Notes the seconds of the block."""
    begun, spent = time.monotonic(), _cpu()
    yield
    SECONDS[name] = round(time.monotonic() - begun, 1)
    CPU_SECONDS[name] = round(_cpu() - spent, 1)
    print(f"{name}: {SECONDS[name]} s, {CPU_SECONDS[name]} s of CPU", flush=True)


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def write(folder: Path, stars: Stars, labelled: bool) -> None:
    """Files of stars, by two processes."""
    half = len(stars.uid) // 2
    with ProcessPoolExecutor(2) as pool:
        halves = [slice(0, half), slice(half, None)]
        jobs = [pool.submit(_write_half, folder, stars, part, labelled) for part in halves]
        for job in jobs:
            job.result()


def _write_half(folder: Path, stars: Stars, part: slice, labelled: bool) -> None:
    some = Stars(stars.uid[part], stars.label[part], stars.velocity[part], stars.snr[part])
    own = folder / f"half{part.start}"
    own.mkdir(parents=True)
    write_files(own, some, seed=1 + part.start, labelled=labelled)


def judge(catalogue: Path, stars: Stars) -> dict[str, dict[str, float]]:
    """Scatter of each label [1.48 MAD], of the population, and stars within the error."""
    table = fits.getdata(catalogue, 1)  # astropy's Table warns of each unit of dex
    place = {uid: number for number, uid in enumerate(stars.uid)}
    rows = np.array([place[str(name).strip()] for name in table["name"]])
    found: dict[str, dict[str, float]] = {}
    for column, name in enumerate(_COLUMNS):
        truth = stars.label[rows, column]
        off = np.asarray(table[name], float) - truth
        within = np.abs(off) <= np.asarray(table[f"{name}_error"], float)
        found[name] = {
            "scatter": float(1.4826 * np.median(np.abs(off - np.median(off)))),
            "population": float(truth.std()),
            "within_error": float(within.mean()),
        }
    velocity = np.asarray(table["velocity"], float) - stars.velocity[rows]
    assert np.abs(velocity).max() < 1e-3
    return found


def configuration(given: Any) -> Config:
    """The preset with the sizes asked for."""
    asked = {"members": given.members, "epochs": given.epochs}
    sets = [f"train.{name}={value}" for name, value in asked.items() if value is not None]
    serial = given.workers == 0
    sets += ["cluster.backend=serial" if serial else f"cluster.workers={given.workers}"]
    return load_config("fourmost_lr_24", sets)


def main() -> None:
    """Write, train, take the night through, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=40_000)
    parser.add_argument("--training", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, help="others than the preset's")
    parser.add_argument("--members", type=int, help="others than the preset's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the files of the night")
    given = parser.parse_args()
    folder, config = given.folder, configuration(given)
    package = folder / "package"
    if not package.exists():
        with timed("write the training files"):
            write(folder / "training", Stars.draw(given.training, 1, "T"), True)
        with timed("ingest the training files"):
            distcnn.ingest_archive(folder / "training", folder / "training.zarr", config)
        with timed("train"):
            distcnn.train_package(folder / "training.zarr", package, config)
    night = Stars.draw(given.stars, 2, "N")
    with timed("write the night"):
        write(folder / "night", night, False)
    with timed("ingest"):
        distcnn.ingest_archive(folder / "night", folder / "night.zarr", config)
    with timed("predict"):
        distcnn.predict_survey(package, folder / "night.zarr", folder / "night_p.zarr", config)
    with timed("export"):
        distcnn.export_catalogue(folder / "night_p.zarr", folder / "night.fits")
    total = sum(SECONDS[name] for name in ("ingest", "predict", "export"))
    labels = judge(folder / "night.fits", night)
    print(f"{given.stars} spectra in {total:.0f} s, {given.stars / total:.0f} a second")
    for name, row in labels.items():
        print(
            f"{name:6} {row['scatter']:8.3f} of {row['population']:8.3f}, "
            f"{row['within_error']:.2f} within the error"
        )
    about = {"hardware": hardware(), "commit": commit(), "date": now()}
    print(f"{1e3 * CPU_SECONDS['ingest'] / given.stars:.2f} ms of CPU to ingest a file")
    result = {"benchmark": "one night", "stars": given.stars, "seconds": SECONDS, "total": total}
    result |= {"cpu_seconds": CPU_SECONDS, "workers": given.workers}
    result["cpu_ms_per_file"] = {
        name: 1e3 * CPU_SECONDS[name] / given.stars for name in ("ingest", "predict", "export")
    }
    keep("one_night", {**result, "labels": labels, **about}, given.json)
    if not given.keep:
        shutil.rmtree(folder / "night")


if __name__ == "__main__":
    main()
