"""Memory of training on a survey larger than it: peak per rank and of the driver.

    python benchmarks/memory.py [--stars N] [--ranks R] [--pixels P] [--memory BYTES] [--json FILE]

Writes a labelled survey of random spectra as ingest stores them (flux as int16, its error as
float16) into a temporary folder, trains one member for one epoch by R ranks of one Dask worker
each, which stream their stars, and prints the largest resident memory that the system saw.
"""

import argparse
import json
import os
import re
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from lib.origin import commit, hardware

from distcnn.clusters import open_cluster
from distcnn.config import ClusterConfig, DistributeConfig, NetworkConfig, TrainConfig, parse_bytes
from distcnn.events import Event, Notice
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, Quantised, create_store
from distcnn.training.ddp.launch import train_together
from distcnn.training.loop.member import MemberTask
from distcnn.training.train import TrainRun

LABELS = ("teff", "logg", "mh")
SHARD, CHUNK = 16384, 512


def write_survey(path: Path, stars: int, pixels: int) -> None:
    """A complete, labelled survey; every shard has the same spectra in another order."""
    rng = np.random.default_rng(0)
    names = ("source_id", "flux", "flux_error", "snr", "label", "label_error")
    layout = Layout(
        kind="survey",
        sizes={"star": stars, "pixel": pixels, "label": len(LABELS)},
        chunk_stars=CHUNK,
        shard_stars=SHARD,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={
            "label": Coordinate("label", np.array(LABELS)),
            "wavelength": Coordinate("pixel", np.linspace(846, 870, pixels)),
        },
        attrs={"survey": "random", "release": "none", "inputs": "none", "complete": True},
        quantised={"flux": Quantised(1e-4, 1.0)},
    )
    store = create_store(path, layout)
    snr = rng.uniform(15, 100, SHARD).astype(np.float32)
    flux = 1 + rng.standard_normal((SHARD, pixels), np.float32) / snr[:, None]
    label = rng.normal([5000, 2.5, -0.3], [600, 1, 0.4], (SHARD, 3)).astype(np.float32)
    for region in store.regions():
        order = rng.permutation(SHARD)[: region.size]
        store.write(
            region,
            {
                "source_id": np.arange(region.start, region.stop) * 1_000_003 + 1,
                "flux": flux[order],
                "flux_error": np.repeat(1 / snr[order, None], pixels, 1),
                "snr": snr[order],
                "label": label[order],
                "label_error": np.full((region.size, 3), 0.05, np.float32),
            },
        )


def main() -> None:
    """Write, train, print and store the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=1_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--pixels", type=int, default=800)
    parser.add_argument("--memory", default="1500 MB", help="train.distribute.memory")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = TrainConfig(
        members=1,
        epochs=1,
        batch=options.batch,
        network=NetworkConfig(width=16, hidden=32),
        distribute=DistributeConfig(
            strategy="data", ranks=options.ranks, memory=parse_bytes(options.memory), timeout=600
        ),
    )
    peaks: dict[str, int] = {}

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            print(event.text, flush=True)

    with tempfile.TemporaryDirectory(prefix="distcnn-memory-") as name:
        folder = Path(name)
        clock = time.perf_counter()
        write_survey(folder / "survey.zarr", options.stars, options.pixels)
        print(f"survey written in {time.perf_counter() - clock:.0f} s", flush=True)
        work = TrainRun.of(folder / "survey.zarr", folder / "package", config)
        plan = work.plan(workers=options.ranks, gang=True)
        print(plan, flush=True)
        clock = time.perf_counter()
        (task,) = work.tasks(plan)
        with open_cluster(ClusterConfig(workers=options.ranks, dashboard=None)) as executor:
            train_together(task, executor, listen)
        seconds = time.perf_counter() - clock
        peaks = peaks_of(task)
    result = {
        "stars": options.stars,
        "train": plan.workload.stars["train"],
        "pixels": options.pixels,
        "ranks": options.ranks,
        "lanes": plan.sharding.virtual_ranks,
        "streamed": plan.sharding.buffer > 0,
        "distribute_memory": config.distribute.memory,
        "peak_bytes": peaks,
        "driver_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "train_seconds": round(seconds, 1),
        "load": os.getloadavg()[0],
        "commit": commit(),
        "hardware": hardware(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")


def peaks_of(task: MemberTask) -> dict[str, int]:
    """What the ranks wrote into their logs as they ended."""
    found = {}
    for log in sorted(task.folder.glob("attempt_*/rank_*.log")):
        match = re.search(r"ends, with at most (\d+) MB", log.read_text())
        if match:
            found[log.stem] = int(match.group(1)) * 10**6
    return found


if __name__ == "__main__":
    main()
