"""The simulator: its speed, what its spectra can tell, and what photometry cannot.

    python benchmarks/simulate.py [--stars 10000] [--workers 2] [--json FILE]

Prints stars per second (wall clock and CPU), the Cramer-Rao bound on the labels of three stars
from their spectra alone, and the residuals of a regression on magnitudes and parallax alone
against the spread of the labels.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config import SimulateConfig
from distcnn.executor import TaskResult
from distcnn.simulate import jacobian, write_archive
from distcnn.simulate.galaxy.sky import split_sky
from distcnn.simulate.galaxy.stars import draw_stars

STARS = {
    "giant": (4800.0, 2.5, -0.2, 0.05, -0.2),
    "dwarf": (5700.0, 4.4, 0.0, 0.02, 0.0),
    "metal-poor giant": (4500.0, 1.8, -1.2, 0.2, -1.2),
}
LABELS = ("teff", "logg", "mh", "alpham")


class PoolFlow:
    """Items in ``workers`` fresh processes."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, function: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            running = {pool.submit(function, item): item for item in items}
            for future in as_completed(running):
                yield TaskResult(running[future], future.result())


def speed(stars: int, workers: int) -> dict[str, float]:
    """Stars per second of a whole archive, text files and compression included."""
    with tempfile.TemporaryDirectory() as folder:
        wall = time.perf_counter()
        config = SimulateConfig(stars_per_file=500)
        write_archive(Path(folder) / "archive", stars, 1, config, executor=PoolFlow(workers))
        wall = time.perf_counter() - wall
        size = sum(file.stat().st_size for file in (Path(folder) / "archive").iterdir())
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(part.ru_utime + part.ru_stime for part in used)
    return {
        "stars": stars,
        "workers": workers,
        "stars_per_second": stars / wall,
        "stars_per_cpu_second": stars / cpu,
        "bytes_per_star": size / stars,
        "peak_worker_megabytes": used[1].ru_maxrss / 1024,
    }


def bounds(snr: float) -> dict[str, dict[str, float]]:
    """Cramer-Rao bounds from native pixels; iron moves with the other metals."""
    result = {}
    native = np.round(np.arange(0, 2400, 2.453)).astype(int)
    for name, star in STARS.items():
        slopes = jacobian(star)[0]
        slopes = np.stack([slopes[0], slopes[1], slopes[2] + slopes[4], slopes[3]])[:, native]
        sigma = np.sqrt(np.diag(np.linalg.inv(slopes @ slopes.T * snr**2)))
        result[name] = dict(zip(LABELS, sigma.tolist(), strict=True))
    return result


def photometry_alone(stars: int) -> dict[str, dict[str, float]]:
    """Held-out residuals (std) of gradient boosting on magnitudes and parallax."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # not needed by the workers

    drawn = draw_stars(np.random.default_rng(1), split_sky(stars, stars)[0], SimulateConfig())
    good = np.isfinite(drawn.parallax) & (drawn.labels.teff < 7500)
    mag = {band: values[good] for band, values in drawn.magnitude.items()}
    parallax = drawn.parallax[good]
    absolute = mag["g"] + 5 * np.log10(np.maximum(parallax, 1e-3)) - 10
    colours = (mag["bp"] - mag["g"], mag["g"] - mag["rp"])
    inputs = np.stack([*colours, absolute, mag["g"], parallax], axis=1)
    half, result = len(parallax) // 2, {}
    for name in LABELS:
        label = getattr(drawn.labels, name)[good]
        model = HistGradientBoostingRegressor(max_iter=200, random_state=0)
        left = model.fit(inputs[:half], label[:half]).predict(inputs[half:]) - label[half:]
        result[name] = {"spread": float(label[half:].std()), "residual": float(left.std())}
    return result


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--stars", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    facts: dict[str, Any] = {"speed": speed(options.stars, options.workers)}
    print(*(f"{name}: {value:,.0f}" for name, value in facts["speed"].items()), sep="\n")
    for snr in (20.0, 100.0):
        facts[f"bound_snr_{snr:.0f}"] = bounds(snr)
        for name, sigma in facts[f"bound_snr_{snr:.0f}"].items():
            text = "  ".join(f"{label} {value:.3g}" for label, value in sigma.items())
            print(f"bound at S/N {snr:.0f}, {name}: {text}")
    facts["photometry_alone"] = photometry_alone(12_000)
    for name, row in facts["photometry_alone"].items():
        print(f"photometry alone, {name}: {row['residual']:.3g} of a spread of {row['spread']:.3g}")
    if options.json:
        options.json.write_text(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
