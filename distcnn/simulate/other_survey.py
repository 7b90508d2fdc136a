"""The catalogue of another survey of the same simulated stars, on a scale of its own.

What an external catalogue is to real labels: it has offsets and errors, and no network learned
from it. Groups of stars whose true composition is alike stand for star clusters.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from distcnn.files import atomic_write
from distcnn.schema import DEFAULT_LABELS

SHARE = 0.3
"""Of the stars, those that the other survey has observed."""
ERRORS = dict(zip(DEFAULT_LABELS, (80.0, 0.12, 0.07, 0.05, 0.07), strict=True))
OFFSETS = dict(zip(DEFAULT_LABELS, (40.0, 0.05, 0.03, 0.01, 0.03), strict=True))
"""Standard errors and offsets of its labels: teff in K, the others in dex."""
CELL_DEX, GROUPS = 0.02, 8
"""Stars of a group have [M/H] and [alpha/M] in the same cell of this width; the fullest count."""
COLUMNS = {"source_id": "source_id", "cluster": "cluster"} | {
    column: column for name in DEFAULT_LABELS for column in (name, f"{name}_error")
}


def write_other_survey(truth: Path, path: Path, seed: int) -> int:
    """Write the catalogue of stars of ``truth.parquet`` as CSV; returns their number."""
    table = pd.read_parquet(truth)
    rng = np.random.default_rng([seed, 7])
    seen = table[rng.random(len(table)) < SHARE].reset_index(drop=True)
    columns = {"source_id": seen["source_id"], "cluster": _groups(seen)}
    for name in DEFAULT_LABELS:
        noise = ERRORS[name] * rng.standard_normal(len(seen))
        columns[name] = seen[name] + OFFSETS[name] + noise
        columns[f"{name}_error"] = np.full(len(seen), ERRORS[name])
    with atomic_write(path) as draft:
        pd.DataFrame(columns).to_csv(draft, index=False)
    return len(seen)


def _groups(stars: pd.DataFrame) -> np.ndarray:
    """Name of each star's group; empty for most."""
    cells = [np.round(stars[name] / CELL_DEX).astype(int) for name in ("mh", "alpham")]
    names = np.array([f"group {one:+d} {other:+d}" for one, other in zip(*cells, strict=True)])
    found, counts = np.unique(names, return_counts=True)
    fullest = found[np.argsort(-counts, kind="stable")[:GROUPS]]
    return np.where(np.isin(names, fullest), names, "")
