"""Map of the Galaxy: memory and processor time by the number of stars.

    python benchmarks/galaxy.py PREDICTIONS FOLDER [--stars 500000,5000000] [--keep] [--json FILE]

PREDICTIONS, of a simulated survey, are repeated in FOLDER until there are so many stars, each time
with other errors of their labels and parallaxes and a few degrees away, so that no two are alike;
``distcnn map galaxy`` then maps them in a process of its own, without a cluster. Kept are the
most memory that process held, what it held before the first star, its processor seconds, and the
size of what it wrote. The stores are removed again unless ``--keep`` is given.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lib.origin import commit, hardware, keep, now

from distcnn import pipeline
from distcnn.config import load_config
from distcnn.schema import PREDICTION_VARIABLES, SURVEY_VARIABLES, Variable
from distcnn.survey import Coordinate, Layout, Region, Store, create_store

PREDICTED = (
    *("source_id", "ra", "dec", "snr", "flags", "status", "label", "label_error"),
    *("label_debiased", "label_debiased_error", "label_correlation"),
)
MEASURED = ("source_id", "parallax", "parallax_error", "photometry")
CHUNK_STARS, SHARD_STARS = 16_384, 65_536
JITTER_DEG = 3.0
"""Standard deviation of how far a repeated star is from where the first one is."""
WHOLE_RELEASE = 250_000_000


def larger(kind: str, like: Store, names: tuple[str, ...], path: Path, stars: int) -> Store:
    """An empty store of so many stars with these variables of a smaller one."""
    known: dict[str, Variable] = {**SURVEY_VARIABLES, **PREDICTION_VARIABLES}
    if kind == "survey":
        known = dict(SURVEY_VARIABLES)
    dims = {dim for name in names for dim in known[name].dims}
    own = {"complete", "format", "kind", "coordinates", "counts", "archive"}
    return create_store(
        path,
        Layout(
            kind=kind,
            sizes={dim: size for dim, size in like.sizes.items() if dim in dims} | {"star": stars},
            chunk_stars=CHUNK_STARS,
            shard_stars=SHARD_STARS,
            variables=tuple(known[name] for name in names),
            coordinates={
                name: Coordinate(name, like.coordinate(name), like.coordinate_attrs(name))
                for name in like.coordinates
                if name in dims
            },
            attrs={name: value for name, value in like.attrs.items() if name not in own},
        ),
    )


def make_stores(predictions: Path, folder: Path, stars: int) -> None:
    """``predictions.zarr`` and ``survey.zarr`` of so many stars."""
    small = Store.open(predictions, "predictions")
    seen = Store.open(small.location.resolve(small.attrs["survey"]["path"]), "survey")
    every = Region(0, small.stars)
    label, beside = small.read(every, PREDICTED), seen.read(every, MEASURED)
    rng = np.random.default_rng(stars)
    out = larger("predictions", small, PREDICTED, folder / "predictions.zarr", stars)
    source = larger("survey", seen, MEASURED, folder / "survey.zarr", stars)
    for region in out.regions():
        rows = rng.integers(0, small.stars, region.size)
        rows_of = {name: values[rows] for name, values in label.items()}
        measured = {name: values[rows] for name, values in beside.items()}
        for name in ("label", "label_debiased"):
            noise = rng.standard_normal(rows_of[name].shape, dtype=np.float32)
            rows_of[name] += 0.5 * noise * rows_of[f"{name}_error"]
        noise = rng.standard_normal(region.size, dtype=np.float32)
        measured["parallax"] += noise * measured["parallax_error"]
        rows_of["ra"] = (rows_of["ra"] + rng.normal(0.0, JITTER_DEG, region.size)) % 360
        rows_of["dec"] = np.clip(
            rows_of["dec"] + rng.normal(0.0, JITTER_DEG, region.size), -90.0, 90.0
        )
        rows_of["source_id"] = measured["source_id"] = np.arange(region.start, region.stop) + 1
        out.write(region, rows_of)
        source.write(region, measured)
    for store in (out, source):
        store.annotate({"complete": True})


def map_stars(folder: Path) -> None:
    """In a process of its own: map, and print what it took."""
    before = peak()
    wall, cpu = time.perf_counter(), time.process_time()
    config = load_config(None, ["cluster.backend=serial", "maps.galaxy.zero_point=-0.03"])
    record = pipeline.map_galaxy(folder / "predictions.zarr", folder / "map", config)
    taken = {
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "memory_before_bytes": before,
        "memory_bytes": peak(),
        "used": record.facts["used"],
    }
    print(json.dumps(taken))


def peak() -> int:
    """Most memory that this process has held [bytes]."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(predictions: Path, folder: Path, stars: int, *, kept: bool) -> dict[str, Any]:
    """Make the stores, map them, remove them."""
    folder.mkdir(parents=True)
    make_stores(predictions, folder, stars)
    command = [sys.executable, "-W", "ignore", __file__, "--map", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken = json.loads(done.stdout.splitlines()[-1])
    files = (path for path in (folder / "map").rglob("*") if path.is_file())
    taken |= {
        "stars": stars,
        "cpu_us_per_star": round(1e6 * taken["cpu_s"] / stars, 1),
        "written_bytes": sum(path.stat().st_size for path in files),
    }
    if not kept:
        shutil.rmtree(folder / "predictions.zarr")
        shutil.rmtree(folder / "survey.zarr")
        shutil.rmtree(folder / "map" / "stars")
    return dict(sorted(taken.items()))


def main() -> None:
    """Measure every size, print, store."""
    if sys.argv[1] == "--map":
        map_stars(Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", default="500000,5000000")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    before = os.getloadavg()[0]
    rows = []
    for stars in map(int, options.stars.split(",")):
        place = options.folder / str(stars)
        rows.append(measure(options.predictions, place, stars, kept=options.keep))
        print(json.dumps(rows[-1]), flush=True)
    first, last = rows[0], rows[-1]
    more = (last["cpu_s"] - first["cpu_s"]) / max(last["stars"] - first["stars"], 1)
    result = {
        "date": now(),
        "commit": commit(),
        "hardware": hardware(),
        "load": [before, os.getloadavg()[0]],
        "sizes": rows,
        "core_hours_of_release": round(more * WHOLE_RELEASE / 3600, 1),
        "release": WHOLE_RELEASE,
    }
    print(keep("galaxy", result, options.json))


if __name__ == "__main__":
    main()
