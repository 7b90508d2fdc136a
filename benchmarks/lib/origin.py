"""Origin: on what, with which code and when a benchmark was run, and where its result is kept."""

import json
import math
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distcnn import __version__

RESULTS = Path(__file__).parents[1] / "results"


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
    root = Path(__file__).parents[2]
    words = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def now() -> str:
    """Time of a result, which tells the newer of two."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def made_with() -> dict[str, str]:
    """What every result says of its origin."""
    return {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "distcnn": __version__,
    }


def plain(value: Any) -> Any:
    """The value as JSON can hold it: what is not finite is null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def place(kind: str, *words: str) -> Path:
    """Where the result of a kind of benchmark on this hardware is kept."""
    parts = kind, re.sub(r"\W+", "-", hardware()).strip("-"), *filter(None, words)
    return RESULTS / f"{'-'.join(parts)}.json"


def keep(kind: str, result: dict[str, Any], path: Path | None = None) -> Path:
    """Write a result, named for hardware and commit unless a path is given."""
    path = path or place(kind, result["commit"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def keep_figure(name: str, svg: str) -> None:
    """Write a figure beside the results."""
    (RESULTS / name).write_text(svg, encoding="utf-8")
