"""An executor that dies on purpose, and views of a survey that was made."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distcnn.executor import TaskResult
from distcnn.survey import Region, Store


class DyingExecutor:
    """Runs tasks here until so many are done, then dies as a killed process would."""

    workers = 1

    def __init__(self, survives: int) -> None:
        self.survives = survives
        self.done = 0

    def __call__(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[TaskResult[Any, Any]]:
        for task in tasks:
            if self.done == self.survives:
                raise KeyboardInterrupt
            self.done += 1
            yield TaskResult(task, function(task))


def contents(path: Path) -> dict[str, np.ndarray]:
    """All that a survey holds."""
    store = Store.open(path, "survey")
    return store.read(Region(0, store.stars))


def quarantine(path: Path) -> pd.DataFrame:
    """The rows that a survey has quarantined."""
    return pd.read_parquet(Store.open(path).private.local_path / "quarantine.parquet")
