"""Rows per second of the RVS reader against astropy's ECSV reader, on the same file, in one run.

    python benchmarks/ingest.py [--rows 400] [--repeats 3] [--file RvsMeanSpectrum_...csv.gz]
                                [--json FILE]

Both unpack the file, parse every row and end with flux and flux_error as float arrays. The
readers take turns, so that a busy machine slows both. CPU time of one process.
"""

import argparse
import gzip
import json
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy.table import Table

from distcnn.config import FilesConfig, GridConfig
from distcnn.ingest.readers import ReadRequest, make_reader

PIXELS = 2401
COLUMNS = {
    "source_id": "int64",
    "solution_id": "int64",
    "ra": "float64",
    "dec": "float64",
    "flux": "string",
    "flux_error": "string",
    "combined_transits": "int16",
    "combined_ccds": "int16",
    "deblended_ccds": "int16",
}


def write_file(path: Path, rows: int) -> None:
    """A file in the archive's layout: real columns, 2401 pixels, missing pixels at the edges."""
    rng = np.random.default_rng(0)
    lines = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"]
    for name, kind in COLUMNS.items():
        subtype = ", subtype: 'float32[null]'" if kind == "string" else ""
        lines.append(f"# - {{name: {name}, datatype: {kind}{subtype}}}")
    lines.append(",".join(COLUMNS))
    for row in range(rows):
        flux = (1 + 0.03 * rng.standard_normal(PIXELS)).astype(np.float32)
        error = (0.03 + 0.002 * rng.standard_normal(PIXELS)).astype(np.float32)
        flux[: row % 5] = error[: row % 5] = np.nan
        arrays = ",".join(
            '"[' + ",".join("NaN" if np.isnan(v) else str(v) for v in values) + ']"'
            for values in (flux, error)
        )
        lines.append(f"{row + 1},5950420259779346465,{row}.5,-{row % 90}.25,{arrays},12,34,0")
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", 6))


def with_astropy(path: Path) -> np.ndarray:
    """Flux as astropy's ECSV reader gives it."""
    table = Table.read(path, format="ascii.ecsv")
    return np.stack(list(table["flux"])).astype(np.float32)


def with_distcnn(path: Path, keep: bool = False) -> np.ndarray:
    """Flux as our reader gives it; the last block of it unless all is to be kept."""
    request = ReadRequest("spectra", GridConfig(start=846.0, step=0.01, size=PIXELS))
    reader = make_reader(FilesConfig(reader="gaia_rvs", files="*"), request)
    blocks = reader.blocks(path, rows=64)
    if keep:
        return np.concatenate([block.columns["flux"] for block in blocks])
    for block in blocks:
        flux = block.columns["flux"]
    return flux


def measure(read: Callable[[Path], np.ndarray], path: Path) -> tuple[float, np.ndarray]:
    """CPU seconds, and the flux."""
    begun = time.process_time()
    flux = read(path)
    return time.process_time() - begun, flux


def main() -> None:
    """Measure, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.file or Path(folder) / "RvsMeanSpectrum_000000-003111.csv.gz"
        if given.file is None:
            write_file(path, given.rows)
        seconds: dict[str, list[float]] = {"astropy": [], "distcnn": []}
        for _ in range(given.repeats):
            one, theirs = measure(with_astropy, path)
            other, _ = measure(with_distcnn, path)
            seconds["astropy"].append(one)
            seconds["distcnn"].append(other)
        np.testing.assert_array_equal(theirs, with_distcnn(path, keep=True))
        rows = len(theirs)
    speed = {name: rows / min(values) for name, values in seconds.items()}
    ratio = float(np.median(np.divide(seconds["astropy"], seconds["distcnn"])))
    for name, value in speed.items():
        print(f"{name:8} {value:8.0f} rows per CPU second")
    print(f"ratio    {ratio:8.1f} (median of {given.repeats} pairs; at least 5 is asked for)")
    if given.json:
        result = {
            "benchmark": "ingest",
            "rows": rows,
            "rows_per_cpu_second": speed,
            "ratio": ratio,
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "astropy": version("astropy"),
        }
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
