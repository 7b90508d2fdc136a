"""Map of spectra: what ``distcnn map tsne`` takes for as many stars as are given, and its plan.

    python benchmarks/tsne.py PACKAGE SURVEY FOLDER [--training SURVEY] [--fitted 50000]
                              [--planned 900000] [--json FILE]

The stars of SURVEY and the training stars (of ``--training``, if they are of another survey) on one
map in FOLDER, in this process with one thread. Kept are its seconds, of the processor and of the
wall clock, beside those of the plan that ``--dry-run`` prints for as many; the most memory the
process held; and the plan for ``--planned`` stars, in core seconds.
"""

import argparse
import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.origin import commit, hardware, keep, now

from distcnn import pipeline
from distcnn.config import load_config
from distcnn.maps.tsne.plan import TsnePlan
from distcnn.monitor import console_display


def planned(plan: TsnePlan) -> dict[str, Any]:
    """What a plan says, on one core."""
    return {
        "stars": plan.stars,
        "fitted": plan.fitted,
        "fit_core_s": round(plan.fit_core_seconds),
        "place_core_s": round(plan.place_core_seconds),
        "memory_bytes": plan.memory,
    }


def main() -> None:
    """Plan, map, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("survey", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--training", type=Path)
    parser.add_argument("--fitted", type=int, default=50_000)
    parser.add_argument("--planned", type=int, default=900_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # One core, so that the library takes one thread.
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    config = load_config("demo", [f"maps.tsne.fitted_stars={options.fitted}"])
    given = options.package, options.survey
    plan = pipeline.plan_tsne(*given, config, training=options.training)
    before, wall, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
    record = pipeline.map_tsne(
        *given, options.folder, config, console_display(), training=options.training
    )
    result = {
        "date": now(),
        "commit": commit(),
        "hardware": hardware(),
        "load": [before, os.getloadavg()[0]],
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "plan": planned(plan),
        "plan_of_many": planned(replace(plan, stars=options.planned)),
        "facts": dict(record.facts),
    }
    print(json.dumps(result, indent=1))
    print(keep("tsne", result, options.json))


if __name__ == "__main__":
    main()
