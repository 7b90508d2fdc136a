"""What stands for another survey has its own errors and scale, and groups of like stars."""

from pathlib import Path

import numpy as np
import pandas as pd

from distcnn.schema import DEFAULT_LABELS
from distcnn.simulate.other_survey import COLUMNS, ERRORS, OFFSETS, SHARE, write_other_survey


def written(tmp_path: Path, stars: int = 20_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    truth = pd.DataFrame({"source_id": np.arange(stars) + 1})
    for name in DEFAULT_LABELS:
        truth[name] = rng.normal(5000, 500, stars) if name == "teff" else rng.normal(0, 0.1, stars)
    truth.to_parquet(tmp_path / "truth.parquet")
    assert write_other_survey(tmp_path / "truth.parquet", tmp_path / "other.csv", 3) > 0
    other = pd.read_csv(tmp_path / "other.csv", keep_default_na=False)
    return truth.set_index("source_id").loc[other["source_id"]].reset_index(), other


def test_it_has_some_of_the_stars_with_its_own_offsets_and_errors(tmp_path: Path) -> None:
    truth, other = written(tmp_path)
    assert len(other) / 20_000 - SHARE < 0.02
    assert set(COLUMNS) == set(other.columns)
    for name in DEFAULT_LABELS:
        difference = other[name] - truth[name]
        sampling = ERRORS[name] / np.sqrt(len(other))
        assert abs(difference.mean() - OFFSETS[name]) < 4 * sampling
        assert abs(difference.std() / ERRORS[name] - 1) < 0.05


def test_members_of_a_group_are_alike(tmp_path: Path) -> None:
    truth, other = written(tmp_path)
    groups = truth[["mh", "alpham"]].groupby(other["cluster"].to_numpy())
    spread = groups.agg(np.ptp).drop(index="")
    assert len(spread) == 8
    assert (spread <= 0.0201).all(axis=None)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path)
    first = (tmp_path / "other.csv").read_bytes()
    written(tmp_path)
    assert (tmp_path / "other.csv").read_bytes() == first
