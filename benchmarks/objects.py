"""Object store against disk: ``predict`` from store to store, and the ledger per region.

    python benchmarks/objects.py FOLDER s3://bucket/prefix [--stars N] [--regions N]

Both runs are of the same survey, one after the other and again in turn; ratios of one run count.
Credentials and endpoint come from the environment. Without an address Swift is started here
(Debian's packages, root), on loopback: a store without a network between, but with Swift's own
cost, which shares the cores with the work.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from distcnn import pipeline  # noqa: E402
from distcnn.config import load_config  # noqa: E402
from distcnn.location import Location  # noqa: E402
from distcnn.survey import Ledger, Store  # noqa: E402
from tests.clusters.machines.swift_store import SwiftStore, why_not  # noqa: E402
from tests.inference.small import make_package, make_survey  # noqa: E402

FACTS = {"digest": "0" * 64, "stars": 8192, "seconds": {"read": 0.1, "infer": 1.0, "write": 0.2}}


def predict(folder: str, where: str, out: str, workers: int) -> float:
    """Seconds of a whole ``predict`` with the products in a folder or below an address."""
    cluster = ["cluster.backend=local", f"cluster.workers={workers}"]
    sets = cluster if workers else ["cluster.backend=serial"]
    config = load_config(None, [*sets, "predict.engine=eager", "predict.precision=float32"])
    begin = time.perf_counter()
    pipeline.predict_survey(f"{folder}/package", f"{where}/survey.zarr", f"{where}/{out}", config)
    return time.perf_counter() - begin


def ledger(place: Location, regions: int) -> dict[str, float]:
    """Microseconds of the driver per region, objects left, and seconds to read it again."""
    book = Ledger.open(place, {"a": 1})
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(regions):
        book.record(f"{number * 8192:012d}-{number * 8192 + 8192:012d}", **FACTS)
    noted = time.perf_counter() - wall
    book.flush()
    whole, cpu = time.perf_counter() - wall, time.process_time() - cpu
    begin = time.perf_counter()
    assert len(Ledger.read(place).done) == regions
    found = {
        "us_per_region": noted / regions * 1e6,
        "cpu_us_per_region": cpu / regions * 1e6,
        "seconds_until_stored": whole,
        "seconds_to_read": time.perf_counter() - begin,
    }
    below = getattr(place, "objects_below", None)
    return found | ({"objects": sum(1 for _ in below())} if below else {})


def measure(folder: Path, place: Location, stars: int, regions: int, workers: int) -> dict:
    """Everything, as it is printed."""
    survey = make_survey(folder / "survey.zarr", stars=stars)
    make_package(folder / "package", survey, members=12)
    for name, _ in _files(folder / "survey.zarr"):
        (place / "survey.zarr" / name).write_file(folder / "survey.zarr" / name)
    seconds: dict[str, list[float]] = {"disk": [], "objects": []}
    for turn in range(2):
        for kind, where in (("disk", str(folder)), ("objects", str(place))):
            seconds[kind].append(predict(str(folder), where, f"run{turn}.zarr", workers))
    same = all(
        Store.open(folder / "run0.zarr").digest(r) == Store.open(place / "run0.zarr").digest(r)
        for r in Store.open(folder / "run0.zarr").regions()
    )
    return {
        "stars": stars,
        "predict_seconds": seconds,
        "predict_ratio": min(seconds["objects"]) / min(seconds["disk"]),
        "same_values": same,
        "ledger_regions": regions,
        "ledger_disk": ledger(Location.parse(folder / "ledger.jsonl"), regions),
        "ledger_objects": ledger(place / "ledger.jsonl", regions),
        "load": os.getloadavg()[0],
    }


def _files(folder: Path) -> list[tuple[str, Path]]:
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*"))
    return [(name, path) for name, path in found if path.is_file()]


def main() -> None:
    """Read the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("address", nargs="?")
    parser.add_argument("--stars", type=int, default=4096)
    parser.add_argument("--regions", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="0 = in this process")
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    server = None
    try:
        if args.address is None:
            if reason := why_not():
                sys.exit(reason)
            (args.folder / "swift").mkdir()
            server = SwiftStore(args.folder / "swift").start()
            server.make_bucket("bench")
            os.environ.update(server.environment)
        place = Location.parse(args.address or "s3://bench/run")
        found = measure(args.folder, place, args.stars, args.regions, args.workers)
        print(json.dumps(found, indent=1))
        place.remove()
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
