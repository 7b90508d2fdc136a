"""Origin: on what, with which code and when a benchmark was run."""

import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch


def hardware() -> str:
    """Name of the GPU if there is one, else of the processor and what it can do."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    name = found[1] if found else platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def commit() -> str:
    """Commit of the code, with a plus if files were changed since; empty outside a checkout."""
    root = Path(__file__).parents[1]
    words = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def now() -> str:
    """Time of a result, which tells the newer of two."""
    return datetime.now(UTC).isoformat(timespec="seconds")
