"""A training that is killed from outside: two local workers, one rank each."""

import sys
from pathlib import Path

from rank_runs import small

from distcnn.clusters import open_cluster
from distcnn.config import ClusterConfig, QualityConfig
from distcnn.training import train_package

if __name__ == "__main__":
    with open_cluster(ClusterConfig(workers=2, dashboard=None)) as executor:
        train_package(
            Path(sys.argv[1]),
            Path(sys.argv[2]),
            small(),
            QualityConfig(novelty_components=4),
            executor=executor,
        )
