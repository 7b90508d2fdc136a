"""A run that is killed from outside: opens two workers and works until it dies."""

import os
import sys
from pathlib import Path

from distcnn.clusters import open_cluster
from distcnn.config import ClusterConfig


def touch(path: str) -> int:
    Path(path).write_text(str(os.getpid()))
    return os.getpid()


def numbered(folder: str):
    number = 0
    while True:
        yield f"{folder}/{number % 4}"
        number += 1


if __name__ == "__main__":
    with open_cluster(ClusterConfig(workers=2, dashboard=None)) as executor:
        seen = set()
        for result in executor(touch, numbered(sys.argv[1])):
            if result.unwrap() not in seen:
                seen.add(result.unwrap())
                print(result.unwrap(), flush=True)
