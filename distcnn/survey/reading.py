"""Reading: arrays of a store through the fastest decoder that is installed.

Zarr's own pipeline spends most of its time between chunks, in Python; that of ``zarrs`` (extra
``distcnn[zarrs]``) decodes whole reads in compiled code, three times as fast on small chunks.
Values and checksums are the same. Nothing is ever written through it.
"""

import importlib.util
import os
from functools import cache
from typing import Any

import zarr
from zarr import AsyncArray

PIPELINE = "zarrs.ZarrsCodecPipeline"


@cache
def decoder() -> str:
    """What decodes here: ``zarrs`` where it is installed, else ``zarr``."""
    return "zarrs" if importlib.util.find_spec("zarrs") else "zarr"


def reader(array: "zarr.Array[Any]") -> "zarr.Array[Any]":
    """The same array for reading only."""
    if decoder() == "zarr":
        return array
    with zarr.config.set({"codec_pipeline.path": PIPELINE, "threading.max_workers": _threads()}):
        held = array.async_array
        return zarr.Array(AsyncArray(held.metadata, held.store_path, config=held.config))


def _threads() -> int | None:
    # Clusters tell a worker by this variable how many threads are its share; None = all cores.
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() and int(text) else None
