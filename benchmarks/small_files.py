"""One spectrum per file: what the driver and the workers spend on many small FITS files.

    python benchmarks/small_files.py [--files 2000 20000] [--pixels 1000] [--workers 2]
                                     [--json FILE]

Every file is a table of one row of arrays, as ESO has one for each spectrum. Of each size: seconds
in all, CPU seconds of the driver until the first part is begun and in all, and for comparison what
the driver would spend if it stamped every file itself, as it did (listing and content hashes, in
the same run). Files are written once and are in the page cache; on a shared disk opening a file
costs more, and the difference grows.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from lib.origin import commit, hardware, keep, now

from distcnn.clusters import open_cluster
from distcnn.config import IngestConfig, LocalConfig
from distcnn.events import StageStarted
from distcnn.ingest import build_survey
from distcnn.ingest.matching import content_hash
from distcnn.ingest.selection import ArchiveTree

_ID = 123_456_789_012_345


def write_files(folder: Path, files: int, pixels: int) -> None:
    """Files that differ in their star alone, 1,000 to a folder."""
    rng = np.random.default_rng(0)
    columns = [
        fits.Column("ID", "K", array=[_ID]),
        fits.Column("WAVE", f"{pixels}D", array=[500 + 0.01 * np.arange(pixels)]),
        fits.Column("FLUX", f"{pixels}E", array=[1 + 0.02 * rng.standard_normal(pixels)]),
        fits.Column("ERR", f"{pixels}E", array=[np.full(pixels, 0.02)]),
    ]
    template = folder / "template.fits"
    fits.BinTableHDU.from_columns(columns).writeto(template)
    content = template.read_bytes()
    template.unlink()
    mark = _ID.to_bytes(8, "big")
    assert content.count(mark) == 1
    for number in range(files):
        below = folder / f"{number // 1000:03d}"
        below.mkdir(exist_ok=True)
        star = content.replace(mark, (number + 1).to_bytes(8, "big"))
        (below / f"spec-{number:06d}.fits").write_bytes(star)


def settings(pixels: int) -> IngestConfig:
    """Spectra alone, on the grid of the files."""
    columns = {"source_id": "ID", "wavelength": "WAVE", "flux": "FLUX", "flux_error": "ERR"}
    return IngestConfig.model_validate(
        {
            "survey": "small files",
            "release": "1",
            "spectra": {"reader": "table", "files": "spec-*.fits", "columns": columns},
            "source": None,
            "source_required": False,
            "xp": None,
            "labels": None,
            "grid": {"start": 500.0, "step": 0.01, "size": pixels},
        }
    )


def stamped_by_the_driver(archive: Path) -> float:
    """CPU seconds of listing the files and hashing their contents, one after the other."""
    begun = time.process_time()
    for path in ArchiveTree(archive).files:
        content_hash(path)
    return time.process_time() - begun


def measure(folder: Path, files: int, pixels: int, workers: int) -> dict[str, float]:
    """Seconds of one ingest."""
    archive = folder / f"archive{files}"
    archive.mkdir()
    write_files(archive, files, pixels)
    first: list[float] = []

    def listener(event: object) -> None:
        if isinstance(event, StageStarted) and not first:
            first.append(time.process_time())

    spent = sum(os.times()[:4])
    with open_cluster(LocalConfig(workers=workers)) as executor:
        wall, driver = time.monotonic(), time.process_time()
        summary = build_survey(
            archive,
            folder / f"{files}.zarr",
            settings(pixels),
            executor=executor,
            listener=listener,
        )
        total, spent = time.monotonic() - wall, time.process_time() - driver
    assert summary.stars == files
    return {
        "files": files,
        "seconds": round(total, 2),
        "files_per_second": round(files / total, 1),
        "driver_before_first_part": round(first[0] - driver, 3),
        "driver_in_all": round(spent, 3),
        "cpu_ms_per_file": round(1e3 * (sum(os.times()[:4]) - spent) / files, 2),
        "stamping_in_the_driver": round(stamped_by_the_driver(archive), 3),
    }


def main() -> None:
    """Measure each size, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--pixels", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), n, given.pixels, given.workers) for n in given.files]
    for row in rows:
        print("  ".join(f"{name} {value:g}" for name, value in row.items()))
    about = {"hardware": hardware(), "commit": commit(), "date": now()}
    most = rows[-1]
    result = {"benchmark": "small files", "pixels": given.pixels, "rows": rows, **about}
    result["driver_ms_per_file"] = 1e3 * most["driver_in_all"] / most["files"]
    result["driver_over_stamping"] = (
        most["driver_before_first_part"] / most["stamping_in_the_driver"]
    )
    result["cpu_ms_per_file"] = most["cpu_ms_per_file"]
    result["files"] = most["files"]
    keep("small_files", result, given.json)


if __name__ == "__main__":
    main()
