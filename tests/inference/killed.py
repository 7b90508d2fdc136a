"""Runs that are killed on purpose: scripts of test_inference_kill, each in a process of its own.

killed.py again FOLDER SEED     one process, killed at one disk operation after another
killed.py array FOLDER SEED     as again, but every life is one of the three elements of an array
killed.py client FOLDER         two workers; the client is killed after the second region
killed.py worker FOLDER         two workers; one is killed in the middle of storing a region
killed.py run FOLDER WORKERS    nobody is killed
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import zarr.storage._local as local_store

from distcnn.clusters import open_cluster
from distcnn.config import ClusterConfig
from distcnn.events import RegionStored
from distcnn.inference.worker.compute import RegionTask
from distcnn.survey import shard_files
from distcnn.survey.ledger.lines import FileLines
from tests.inference.small import go, go_share

# A life ends at the latest after so many disk operations: making the store takes about 60,
# storing a region 16.
BEFORE_STORE, AFTER = 100, 30


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """Counts disk operations of this process, and dies in the middle of the last one."""

    def __init__(self, operations):
        self.left = operations

    def __enter__(self):
        def append(file, lines):
            self.torn_append(file, lines)

        self.put, self.append = local_store._put, FileLines.append
        self.put_shard = shard_files.put
        local_store._put, FileLines.append = self.torn_put, append
        shard_files.put = self.torn_put_shard
        return self

    def __exit__(self, *error):
        local_store._put, FileLines.append = self.put, self.append
        shard_files.put = self.put_shard

    def last(self):
        self.left -= 1
        return self.left == 0

    def torn_put(self, path, value, exclusive=False):
        if self.last():
            self.tear(path, bytes(value.as_buffer_like()))
        return self.put(path, value, exclusive)

    def torn_put_shard(self, path, data):
        if self.last():
            self.tear(path, data)
        self.put_shard(path, data)

    def tear(self, path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".torn.partial").write_bytes(data[: len(data) // 2])
        die()

    def torn_append(self, file, lines):
        if self.last():
            with file.path.open("ab") as stream:
                stream.write(lines[: len(lines) // 2])
            die()
        self.append(file, lines)


def again(folder, seed):
    """Live, die, live again, until the work is done; prints how many lives that took."""
    print(live(folder, np.random.default_rng(int(seed)), partial(go, folder)))


def array(folder, seed):
    """Three elements, one after the other, each until its share is done."""
    rng = np.random.default_rng(int(seed))
    elements = [partial(go_share, folder, f"{element}/3") for element in (2, 1, 3)]
    print(sum(live(folder, rng, element) for element in elements))


def live(folder, rng, work):
    """How many lives it takes until the work is done."""
    lives = 0
    while True:
        lives += 1
        begun = (folder / "predictions.zarr").exists()
        operations = int(rng.integers(1, AFTER if begun else BEFORE_STORE))
        child = os.fork()
        if child == 0:
            with Mortal(operations):
                work()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return lives
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.exit(f"life {lives} ended with status {status}")


def client(folder):
    """Die with two workers at work; the parent of this process finds their numbers in a file."""
    stored = []

    def listen(event):
        if isinstance(event, RegionStored):
            stored.append(event)
        if len(stored) == 2:
            workers = [child.pid for child in psutil.Process().children(recursive=True)]
            (folder / "workers.json").write_text(json.dumps(workers))
            die()

    with open_cluster(ClusterConfig(workers=2, dashboard=None)) as executor:
        go(folder, executor=executor, listener=listen)


class Haunted:
    """A executor whose workers do ``function`` in a haunted way."""

    def __init__(self, executor, haunt):
        self.executor, self.haunt, self.workers = executor, haunt, executor.workers

    def __call__(self, function, tasks):
        return self.executor(partial(self.haunt, function), tasks)


def die_once(marker, function, task):
    """Do the work; die in the middle of the fifth file of region 2, the first time."""
    if isinstance(task, RegionTask) and task.region.start == 64 and not marker.exists():
        marker.touch()
        with Mortal(5):
            return function(task)
    return function(task)


def worker(folder):
    with open_cluster(ClusterConfig(workers=2, dashboard=None)) as executor:
        print(go(folder, executor=Haunted(executor, partial(die_once, folder / "marker"))).failed)


def run(folder, workers):
    with open_cluster(ClusterConfig(workers=int(workers), dashboard=None)) as executor:
        print(go(folder, executor=executor).resumed)


if __name__ == "__main__":
    what = {"again": again, "array": array, "client": client, "worker": worker, "run": run}[
        sys.argv[1]
    ]
    what(Path(sys.argv[2]), *sys.argv[3:])
