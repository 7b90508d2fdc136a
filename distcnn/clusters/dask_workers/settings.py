"""Settings of Dask that every backend shares, and why they differ from Dask's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def thread_variables(threads: int) -> dict[str, str]:
    """What tells the libraries of a worker how many threads to start."""
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    return {f"{library}_NUM_THREADS": str(threads) for library in libraries}


# Dask's own default hands every freed array back to the system at once; a network that takes
# it again in the next batch then spends a third of its time on page faults.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 1 << 28, "MALLOC_MMAP_THRESHOLD_": 1 << 28}


START_METHOD = "distributed.worker.multiprocessing-method"
"""How workers on this machine come from the process that starts them."""


def worker_environment(threads: int) -> dict[str, Any]:
    """Variables that a worker has to have before its process starts."""
    return {
        **KEEP_MEMORY,
        **thread_variables(threads),
        # Before a worker is told to be silent it reports connections that break.
        "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "critical",
    }


# Every worker, nanny and scheduler looks at itself all the time, and each look wakes a core that
# computes: by Dask's own values a sample of all stacks every 10 ms, a tick of every event loop
# every 20 ms, network and disks twice a second. On two busy cores that took 5 % of them; with
# these values 1.5 %. Memory is looked at ten times a second as before. What is lost is the
# page of profiles on Dask's dashboard.
SELDOM_LOOKS: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "200 ms",
    "distributed.admin.system-monitor.interval": "2 s",
}


def dask_settings(scratch: Path, threads: int = 1) -> dict[str, Any]:
    """Values for ``dask.config.set``; workers inherit them."""
    return {
        "temporary-directory": str(scratch),
        "distributed.nanny.pre-spawn-environ": worker_environment(threads),
        "distributed.worker.preload": ["distcnn.clusters.preload"],
        # A task waits at the scheduler until a worker is free: none is stuck behind a long
        # one, and a dying worker takes along only the task that it was running.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.work-stealing": False,
        # Attempts are counted by the executor, which sees every death at once.
        "distributed.scheduler.allowed-failures": 0,
        # Nannies restart dead workers; Dask would dismiss one that dies twice within this time.
        "distributed.deploy.lost-worker-timeout": "30 days",
        # A frozen worker shows no other sign.
        "distributed.scheduler.worker-ttl": "60 s",
        # Results are small: spilling them would only hide that a worker is too full, and a
        # full disk stalls without an error.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": 0.85,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.retry.count": 3,
        **SELDOM_LOOKS,
        **_DEFAULTS,
    }


def dask_variable(key: str) -> str:
    """The environment variable from which Dask reads a key; its value is a Python literal."""
    return "DASK_" + key.replace(".", "__").replace("-", "_").upper()


_DEFAULTS: dict[str, Any] = {
    # Dask's own values: the user may have others, in ~/.config/dask or in DASK_ variables, for
    # clusters elsewhere, with which workers on this machine do not start or do not live.
    "distributed.admin.event-loop": "tornado",
    "distributed.client.security-loader": None,
    "distributed.comm.default-scheme": "tcp",
    "distributed.comm.require-encryption": False,
    "distributed.comm.timeouts.connect": "30 s",
    "distributed.comm.timeouts.tcp": "30 s",
    "distributed.dashboard.link": "{scheme}://{host}:{port}/status",
    "distributed.nanny.environ": {},
    "distributed.nanny.preload": [],
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.no-workers-timeout": None,
    "distributed.scheduler.preload": [],
    "distributed.worker.daemon": True,
    "distributed.worker.lifetime.duration": None,
    "distributed.worker.lifetime.restart": False,
    START_METHOD: "spawn",
    "distributed.worker.resources": {},
}


@contextmanager
def keeping_environment() -> Iterator[None]:
    """Whatever happens to the variables of this process within, they are as before afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
