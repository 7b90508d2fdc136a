"""The settings of the test archive, and reading it with independent tools (pandas and json)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from distcnn.config import DefectConfig, SimulateConfig

STARS, SEED = 400, 7
CONFIG = SimulateConfig(
    stars_per_file=150,
    trouble=DefectConfig(cosmic=0.05, negative_parallax=0.02, hot=0.05, duplicate=0.02),
)


def table(folder: Path, stem: str) -> pd.DataFrame:
    files = sorted(folder.glob(f"{stem}_*.csv.gz"))
    parts = [pd.read_csv(file, comment="#", na_values="null") for file in files]
    return pd.concat(parts, ignore_index=True)


def arrays(column: pd.Series) -> np.ndarray:
    return np.array([json.loads(text) for text in column], dtype=np.float64)


def truth(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "truth.parquet").set_index("source_id")
