"""Checking a machine before work: versions, cores, memory, disk, a storage round trip."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil

from distcnn import __version__
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Layout, Store, create_store

PACKAGES = ("torch", "numpy", "zarr", "xarray", "dask", "distributed", "astropy", "pyarrow")


def examine(folder: Path | None = None) -> str:
    """Readable text on this machine; ``folder`` is where the storage round trip is made."""
    return "\n".join([*_software(), *_hardware(), *_storage(folder or Path(tempfile.gettempdir()))])


def _software() -> Iterator[str]:
    yield f"distcnn {__version__} on Python {platform.python_version()} ({sys.executable})"
    for name in PACKAGES:
        yield f"  {name:12s} {_version(name)}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "MISSING: pip install distcnn brings it"


def _hardware() -> Iterator[str]:
    # Here, because every command imports this package, and elements of job arrays need no Dask.
    from dask.system import CPU_COUNT

    memory = psutil.virtual_memory()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    yield f"cores: {os.cpu_count()} ({int(CPU_COUNT)} usable), load {load}"
    yield f"memory: {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB available"
    yield f"vector units: {', '.join(_vector_units()) or 'unknown'}"
    yield f"GPU: {_gpu()}"


def _vector_units() -> list[str]:
    file = Path("/proc/cpuinfo")
    flags = set(file.read_text().split()) if file.is_file() else set()
    return [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "no NVIDIA driver found; everything runs on the CPU"
    return "NVIDIA driver found"


def _storage(folder: Path) -> Iterator[str]:
    free = shutil.disk_usage(folder).free
    yield f"disk: {free / 1e9:.1f} GB free at {folder}"
    with tempfile.TemporaryDirectory(dir=folder, prefix="distcnn-doctor-") as scratch:
        yield f"storage: {_round_trip(Path(scratch) / 'store.zarr')}"


def _round_trip(path: Path) -> str:
    """Write and read a small store; what comes back must be what went in."""
    names = ("source_id", "snr")
    layout = Layout(
        kind="survey",
        sizes={"star": 1000},
        chunk_stars=100,
        shard_stars=500,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={},
        attrs={},
    )
    store = create_store(path, layout)
    rows = np.arange(500)
    written = {
        region: store.write(region, {"source_id": rows + region.start, "snr": rows.astype("f4")})
        for region in store.regions()
    }
    right = all(Store.open(path).digest(region) == value for region, value in written.items())
    return "round trip right" if right else "WRONG: what was read is not what was written"
