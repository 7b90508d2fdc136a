"""First star: how long a new process takes to its first labels."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def first_star(folder: Path, engine: str) -> dict[str, float]:
    """Seconds from the start of a new process to the first labels, cold and warm."""
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from distcnn.inference.worker.region import PredictionRun, try_engines, probe\n"
        "from distcnn.inference.predict import package_key\n"
        "from distcnn.inference.worker.compute import RegionTask\n"
        "from distcnn.config import PredictConfig; from distcnn.model import Package\n"
        "from distcnn.survey import Region\n"
        "f = Path(sys.argv[1]); config = PredictConfig(engine=sys.argv[2])\n"
        "key = package_key(Package.load(f / 'package'), config)\n"
        "run = PredictionRun(str(f / 'survey.zarr'), '', key, config.batch)\n"
        "task = RegionTask(Region(0, config.batch)); found = try_engines(run, task)\n"
        "from dataclasses import replace\n"
        "key = replace(key, chosen=str(found.choice.candidate))\n"
        "probe(replace(run, package=key), task)\n"
    )
    seconds = {}
    cache = folder / "first_star_cache"
    shutil.rmtree(cache, ignore_errors=True)
    for name in ("cold", "warm"):
        begun = time.perf_counter()
        words = [sys.executable, "-W", "ignore", "-c", code, str(folder), engine]
        subprocess.run(words, check=True, env={**os.environ, "DISTCNN_CACHE": str(cache)})
        seconds[name] = round(time.perf_counter() - begun, 2)
    shutil.rmtree(cache, ignore_errors=True)
    return seconds
