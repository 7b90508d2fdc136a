"""A run that is stopped from outside: opens two workers and works until it dies.

client_run.py FOLDER            workers touch files there; their numbers are printed
client_run.py FOLDER deaf       as before, and every exception that stops it is swallowed
client_run.py FOLDER CONF.yaml  as the first, on the cluster of that file
"""

import os
import sys
from pathlib import Path

from distcnn import stopping
from distcnn.clusters import open_cluster
from distcnn.config import ClusterConfig, load_config


def touch(path: str) -> int:
    Path(path).write_text(str(os.getpid()))
    return os.getpid()


def numbered(folder: str):
    number = 0
    while True:
        yield f"{folder}/{number % 4}"
        number += 1


def work(folder: str, config: ClusterConfig) -> None:
    with open_cluster(config) as executor:
        seen = set()
        for result in executor(touch, numbered(folder)):
            if result.unwrap() not in seen:
                seen.add(result.unwrap())
                print(result.unwrap(), flush=True)


class Swallowing:
    """Python drops what is raised in ``__del__``, and Dask's futures have one."""

    def __del__(self) -> None:
        while not stopping.requested():
            pass
        for _ in range(100_000):  # the exception is raised in here
            pass


if __name__ == "__main__":
    stopping.install()
    with stopping.ending_in_order():
        if sys.argv[2:] == ["deaf"]:
            print("deaf", flush=True)
            Swallowing()
        local = ClusterConfig(workers=2, dashboard=None)
        named = [load_config(path).cluster for path in sys.argv[2:] if path.endswith(".yaml")]
        work(sys.argv[1], named[0] if named else local)
