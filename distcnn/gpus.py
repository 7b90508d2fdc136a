"""GPUs: how many this process may use, told without waking one and without torch."""

import os
from importlib import metadata
from pathlib import Path


def count_gpus(nodes: Path = Path("/dev")) -> int:
    """GPUs that this process may use, by their device files; none is initialised.

    ``CUDA_VISIBLE_DEVICES`` counts where it is set, as CUDA itself would read it.
    """
    there = sum(path.name.removeprefix("nvidia").isdigit() for path in nodes.glob("nvidia*"))
    there = there or int((nodes / "dxg").exists())  # Linux inside Windows
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [name.strip() for name in visible.split(",")]
    # CUDA stops reading at the first name that is none.
    valid = next((i for i, name in enumerate(named) if name in {"", "-1"}), len(named))
    return min(there, valid)


def usable_gpus() -> int:
    """The same, none where torch was built for CPUs alone; torch is not loaded to tell."""
    try:
        return 0 if metadata.version("torch").endswith("+cpu") else count_gpus()
    except metadata.PackageNotFoundError:
        return 0
