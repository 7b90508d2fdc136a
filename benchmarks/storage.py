"""What the survey store costs: precision, labels, and speed against plain files.

    python benchmarks/storage.py FOLDER [--stars 4096] [--package PATH] [--rate-stars 32768]
                                        [--repeats 5] [--seed 21] [--json FILE]

Simulates an archive and ingests it twice, through the whole path: once as always (flux int16,
flux_error float16), once with float32 for both. What stands in FOLDER is not made again. Without
``--package`` a small one is trained on the former. Written to
``benchmarks/results/storage-HARDWARE-COMMIT.json``:

    flux          largest and rms difference of the stored flux from float32, over the bound that
                  the store states (``largest_error``) and over the pixels' own errors; pixels
                  that only one of the two has
    flux_error    largest relative difference of float16 from float32, over 2^-11
    labels.NAME   both surveys are predicted by the package with one engine; difference of the
                  labels in units of label_error: rms, bias, largest. ``rms``, ``bias``: the worst
    flags         stars whose flags are not the same
    rates         writing and reading ``--rate-stars`` stars (those of the archive, repeated), all
                  variables, in turns shard by shard with plain files of the same values as they
                  are in memory: MB of these values and stars per second of wall time, stars per
                  second of CPU time, medians of the passes; ``store_over_plain``, the ratio of
                  the speeds; ``write_forced`` waits for the disk. Reads find a warm page cache.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from accuracy import SURVEY
from lib.origin import commit, hardware, keep
from lib.survey_of import layout_for

from distcnn import pipeline
from distcnn.config import Config, load_config
from distcnn.events import silent
from distcnn.executor import SerialExecutor
from distcnn.inference import predict
from distcnn.model import Package
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Region, Store, bytes_below, create_store, files_below

EXACT = {"flux_error": replace(SURVEY_VARIABLES["flux_error"], dtype="float32")}
LIMIT = 0.01
"""Of a label's error: what the encoding may do to it, rms."""
Arrays = dict[str, np.ndarray[Any, Any]]


def config_of(*sets: str) -> Config:
    """Settings of the accuracy benchmark, in this process, with an engine that all have."""
    usual = ["cluster.backend=serial", "predict.engine=eager", "simulate.labelled_fraction=0.9"]
    return load_config(None, [*usual, *SURVEY, *sets])


def make_surveys(folder: Path, stars: int, seed: int) -> tuple[Store, Store]:
    """The same stars as always, and with float32 in the place of what is quantised."""
    archive = folder / "archive"
    pipeline.simulate_archive(archive, stars, seed, config_of(), silent)
    pipeline.ingest_archive(archive, folder / "stored.zarr", config_of(), silent)
    exact = config_of("ingest.store.flux_encoding=float32")
    with mock.patch.dict(SURVEY_VARIABLES, EXACT):
        pipeline.ingest_archive(archive, folder / "exact.zarr", exact, silent)
    names = ("stored.zarr", "exact.zarr")
    stored, found = (Store.open(folder / name, "survey") for name in names)
    return stored, found


def make_package(folder: Path) -> Path:
    """A small package; its labels must be worth comparing, so it is trained for some epochs."""
    path = folder / "package"
    sets = ["train.members=2", "train.epochs=12", "train.batch=128"]
    pipeline.train_package(folder / "stored.zarr", path, config_of(*sets), silent)
    return path


def whole(store: Store, *names: str) -> Arrays:
    """Variables of all stars."""
    return store.read(Region(0, store.stars), names)


def compare_flux(stored: Store, exact: Store) -> dict[str, Any]:
    """Stored flux and error against the unquantised ones, pixel by pixel."""
    ours, theirs = (whole(s, "flux", "flux_error", "source_id") for s in (stored, exact))
    if not np.array_equal(ours["source_id"], theirs["source_id"]):
        raise SystemExit("the two surveys hold other stars; remove them and run again")
    quantised = stored.quantisation("flux")
    assert quantised is not None
    bound = quantised.step / 2
    both = np.isfinite(ours["flux"]) & np.isfinite(theirs["flux"])
    gap = np.abs(ours["flux"].astype(float) - theirs["flux"])[both]
    sigma = theirs["flux_error"][both].astype(float)
    relative = np.abs(ours["flux_error"][both] - sigma) / sigma
    return {
        "flux": {
            "bound": bound,
            "largest_over_bound": round(float(gap.max() / bound), 5),
            "float32_over_bound": round(float(np.spacing(np.float32(2))) / bound, 5),
            "rms_over_bound": round(float(np.sqrt(np.mean(gap**2)) / bound), 4),
            "rms_over_pixel_error": round(float(np.sqrt(np.mean((gap / sigma) ** 2))), 5),
            "largest_over_pixel_error": round(float((gap / sigma).max()), 4),
            "pixels": int(both.sum()),
            "only_stored": int((np.isfinite(ours["flux"]) & ~both).sum()),
            "only_float32": int((np.isfinite(theirs["flux"]) & ~both).sum()),
        },
        "flux_error": {"largest_over_2^-11": round(float(relative.max() * 2**11), 4)},
    }


def compare_labels(folder: Path, package: Path) -> dict[str, Any]:
    """Predict both surveys, and compare label by label."""
    rows = []
    for name in ("stored", "exact"):
        at = folder / f"predictions-{name}.zarr"
        shutil.rmtree(at, ignore_errors=True)
        survey = folder / f"{name}.zarr"
        predict(package, survey, at, config_of().predict, executor=SerialExecutor())
        store = Store.open(at, "predictions")
        rows.append(whole(store, "label", "label_error", "flags"))
    ours, theirs = rows
    units = (ours["label"].astype(float) - theirs["label"]) / theirs["label_error"]
    good = np.isfinite(units).all(axis=1)
    labels = {
        name: {
            "rms": round(float(np.sqrt(np.mean(column**2))), 6),
            "bias": round(float(column.mean()), 6),
            "largest": round(float(np.abs(column).max()), 5),
        }
        for name, column in zip(store.attrs["labels"], units[good].T, strict=True)
    }
    found: dict[str, Any] = {
        "labels": labels,
        "label_stars": int(good.sum()),
        "rms": max(label["rms"] for label in labels.values()),
        "bias": max(abs(label["bias"]) for label in labels.values()),
        "limit": LIMIT,
        "flags": int((ours["flags"] != theirs["flags"]).sum()),
    }
    return found


class Both:
    """The same values as a store and as plain files: one file per shard and variable."""

    def __init__(self, folder: Path, few: Store, stars: int) -> None:
        self.path, self.plain = folder / "rates.zarr", folder / "rates.plain"
        self.values, self.few, self.stars = whole(few, *few.variables), few, stars
        self.begin()

    def begin(self) -> None:
        """Nothing is written."""
        self.clear()
        self.store = create_store(self.path, layout_for(self.few, self.stars))

    def clear(self) -> None:
        for path in (self.path, self.plain):
            shutil.rmtree(path, ignore_errors=True)

    def shards(self) -> Iterator[tuple[Region, Arrays]]:
        """Regions and their values, the few stars again and again."""
        for region in self.store.regions():
            rows = np.arange(region.start, region.stop) % self.few.stars
            yield region, {name: values[rows] for name, values in self.values.items()}

    def write_store(self, region: Region, arrays: Arrays) -> None:
        self.store.write(region, arrays)

    def force_store(self, region: Region, arrays: Arrays) -> None:
        force(self.path)

    def read_store(self, region: Region, arrays: Arrays) -> None:
        self.store.read(region)

    def write_plain(self, region: Region, arrays: Arrays) -> None:
        folder = self.plain / region.name
        folder.mkdir(parents=True)
        for name, values in arrays.items():
            (folder / name).write_bytes(values.data.cast("B"))

    def force_plain(self, region: Region, arrays: Arrays) -> None:
        force(self.plain / region.name)

    def read_plain(self, region: Region, arrays: Arrays) -> None:
        for name, values in arrays.items():
            np.fromfile(self.plain / region.name / name, values.dtype)


def force(folder: Path) -> None:
    """Ask the disk for every file below."""
    for file in files_below(folder):
        with Path(file.path).open("rb") as stream:
            os.fsync(stream.fileno())


Spent = dict[str, tuple[float, float]]


def one_pass(both: Both) -> Spent:
    """Seconds of wall and of CPU time per way; the ways take turns shard by shard."""
    both.begin()
    spent: Spent = {}
    for region, arrays in both.shards():
        for kind in ("store", "plain"):
            for way in ("write", "force", "read"):
                name, work = f"{kind}.{way}", getattr(both, f"{way}_{kind}")
                wall, cpu = time.perf_counter(), time.process_time()
                work(region, arrays)
                before = spent.get(name, (0.0, 0.0))
                now = (time.perf_counter() - wall, time.process_time() - cpu)
                spent[name] = (before[0] + now[0], before[1] + now[1])
    for kind in ("store", "plain"):
        wall = spent[f"{kind}.write"][0] + spent[f"{kind}.force"][0]
        cpu = spent[f"{kind}.write"][1] + spent[f"{kind}.force"][1]
        spent[f"{kind}.write_forced"] = (wall, cpu)
    return spent


def measure_rates(folder: Path, few: Store, stars: int, repeats: int) -> dict[str, Any]:
    """Store and plain files; medians of the passes."""
    both = Both(folder, few, stars)
    passes = [one_pass(both) for _ in range(repeats)]
    raw = sum(values.nbytes for _, arrays in both.shards() for values in arrays.values())
    sizes = {name: int(bytes_below(both.path / name)) for name in few.variables}
    per_star = {name: v.nbytes / few.stars for name, v in both.values.items()}
    both.clear()
    found: dict[str, Any] = {
        "stars": stars,
        "passes": repeats,
        "raw_bytes_per_star": round(raw / stars, 1),
        "stored_bytes_per_star": round(sum(sizes.values()) / stars, 1),
        "compression": round(raw / sum(sizes.values()), 2),
        "compression_of": {n: round(per_star[n] * stars / size, 2) for n, size in sizes.items()},
    }
    for way in ("write", "write_forced", "read"):
        found[way] = {
            kind: rate(passes, f"{kind}.{way}", raw, stars) for kind in ("store", "plain")
        }
        ratios = [one[f"plain.{way}"][0] / one[f"store.{way}"][0] for one in passes]
        found[way]["store_over_plain"] = round(statistics.median(ratios), 3)
    return found


def rate(passes: list[Spent], name: str, raw: int, stars: int) -> dict[str, float]:
    """Per second of wall time and of CPU time."""
    wall, cpu = (statistics.median(one[name][n] for one in passes) for n in (0, 1))
    return {
        "MB_per_s": round(raw / wall / 1e6, 1),
        "stars_per_s": round(stars / wall),
        "stars_per_cpu_s": round(stars / cpu),
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=4096)
    parser.add_argument("--package", type=Path, help="one that fits this survey; else trained")
    parser.add_argument("--rate-stars", type=int, default=32_768)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    stored, exact = make_surveys(folder, options.stars, options.seed)
    package = options.package or make_package(folder)
    result = {
        "hardware": hardware(),
        "commit": commit(),
        "stars": stored.stars,
        "pixels": stored.sizes["pixel"],
        "package": Package.load(package).digest,
        "members": Package.load(package).size,
        **compare_flux(stored, exact),
        **compare_labels(folder, package),
        "rates": measure_rates(folder, stored, options.rate_stars, options.repeats),
        "load": [load, os.getloadavg()[0]],
    }
    print(json.dumps(result, indent=1))
    keep("storage", result, options.json)
    if max(result["rms"], result["bias"]) >= LIMIT:
        raise SystemExit(f"the encoding moves labels by {result['rms']} of their errors")


if __name__ == "__main__":
    main()
