"""Cache: where things are kept that can be made again, and what they depend on here."""

import os
import platform
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch


def cache_folder() -> Path:
    """``DISTCNN_CACHE``, or ``distcnn`` in the user's cache folder; it may not exist yet."""
    named = os.environ.get("DISTCNN_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "distcnn"
    except RuntimeError:  # a container's user may have neither a home nor a name
        return Path(os.devnull, "distcnn")  # nothing is kept, as with a home that is read-only


@lru_cache
def host_facts() -> dict[str, Any]:
    """Host, processor and torch: what decides, beside the engines, which of them is fastest."""
    return {
        "host": socket.gethostname(),
        "processor": _processor(),
        "torch": str(torch.__version__),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    found = [line for line in lines if line.startswith(("model name", "flags"))]
    return "\n".join(found[:2]) or platform.processor()
