"""What runs in the process that watches over a worker: tells Kubernetes of kills for memory.

The kernel kills the largest process of a container, which is the worker; the process that watches
over it would start another one, and Kubernetes would never know. Ending with it lets Kubernetes
write ``OOMKilled`` into the pod's state, where this backend, ``kubectl get pods`` and every monitor
read it, and start the container again.
"""

import os
from pathlib import Path
from typing import Any

from tornado.ioloop import PeriodicCallback

COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""Where the kernel counts, in cgroups of version 2 and 1."""
PERIOD_MS = 50
KILLED = 137
"""Exit code of what was killed."""


def dask_setup(nanny: Any) -> None:
    """Look after the counter as long as the nanny lives."""
    before = count_kills()

    def look() -> None:
        if count_kills() > before:
            os._exit(KILLED)

    nanny.memory_watch = PeriodicCallback(look, PERIOD_MS)
    nanny.memory_watch.start()


def count_kills() -> int:
    """How often the kernel has killed a process here for memory; 0 if it cannot say."""
    for path in COUNTERS:
        if path.exists():
            words = path.read_text(encoding="ascii").split()
            counts = dict(zip(words[::2], words[1::2], strict=False))
            return int(counts.get("oom_kill", 0))
    return 0
