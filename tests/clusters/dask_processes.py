"""Schedulers and workers of Dask by their own commands, as a user starts them."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
from conformance.cluster_checks import wait_until

from distcnn.clusters.dask_workers.settings import thread_variables
from tests.conftest import end_family

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
    **thread_variables(1),
}


@contextmanager
def running(*arguments, folder, prefix=(), first_on_path=None):
    """A process of Dask, in ``folder``; gone at exit with its children.

    ``prefix`` stands before the command; Python looks into ``first_on_path`` before all else.
    """
    path = [str(first_on_path)] if first_on_path else []
    with (folder / "log").open("ab") as log:
        started = psutil.Popen(
            [*prefix, sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            cwd=folder,
            env={
                **os.environ,
                **SETTINGS,
                "PYTHONPATH": ":".join([*path, f"{ROOT}", f"{ROOT / 'tests'}"]),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield started
    finally:
        end_family(started)


def worker(address, folder, name, *more):
    return running(
        *("dask_worker", address, "--nthreads", "1", "--name", name, "--no-dashboard"),
        *("--host", "127.0.0.1", "--preload", "distcnn.clusters.preload", *more),
        folder=folder,
    )


@contextmanager
def scheduler(folder, *more):
    """The address of a scheduler that writes where it is into ``folder``."""
    command = (
        *("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--no-show", "--scheduler-file", "where.json", *more),
    )
    with running(*command, folder=folder):
        wait_until((folder / "where.json").exists)
        wait_until(lambda: (folder / "where.json").read_text().rstrip().endswith("}"))
        yield json.loads((folder / "where.json").read_text())["address"]
