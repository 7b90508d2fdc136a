"""What this machine leaves to a process: limits of a container, a job or a shell count too."""

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
NAMES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Files of a control group that hold its limit and its use of memory: version 2, version 1."""


def free_memory() -> int:
    """What this process and those below it can have at once [bytes].

    ``psutil`` knows the whole machine only, of which a container has a part.
    """
    free = [int(psutil.virtual_memory().available), *_free_in_groups()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        free.append(soft - psutil.Process().memory_info().vms)
    return max(0, min(free))


def _free_in_groups() -> Iterator[int]:
    """Room in every control group with a limit, from that of this process to the outermost."""
    for group in _groups():
        for limit, used in NAMES:
            with suppress(OSError, ValueError):  # "max": no limit
                room = int((group / limit).read_text()) - int((group / used).read_text())
                yield room + _reclaimable(group)


def _groups() -> Iterator[Path]:
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, kinds, place = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            root = CGROUPS / "memory" if kinds else CGROUPS
            # Within a container the path is often that outside; its own group is the root then.
            inner = root / place.strip("/")
            yield from (one for one in (inner, *inner.parents) if one.is_relative_to(root))


def _reclaimable(group: Path) -> int:
    """Copies of files, which the system gives up for programs."""
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in {"inactive_file", "total_inactive_file"}:
                return int(value)
    return 0
