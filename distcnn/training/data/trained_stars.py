"""Stars that a network from elsewhere was trained on, and whether any of them is taken for new."""

from pathlib import Path

import numpy as np
import pandas as pd

from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.errors import ConfigError, TrainingError
from distcnn.model import InputSpec
from distcnn.survey import Region, Store
from distcnn.survey.split import Split
from distcnn.training.data.labelled import find_rows


def refuse_trained_stars(store: Store, spec: InputSpec, split: SplitConfig, table: Path) -> None:
    """See that no star of the table is in a part of the split that judges or calibrates.

    Raises
    ------
    ConfigError : the table cannot be read, or has neither ``source_id`` nor ``name``.
    TrainingError : such a star is there; says how many.
    """
    judging = [part for part in Split if part != Split.TRAIN]
    rows = find_rows(store, spec, split, *judging)
    column, known = _read(table, store)
    found = np.isin(_identities(store, column)[rows], known)
    if found.any():
        raise TrainingError(
            f"{int(found.sum())} of {len(rows)} labelled stars of {store.location.name} that the "
            f"errors would be fitted on are in {table.name}: the network was trained on them",
            expected="stars that are new to it",
            cure="Leave the stars of that table out of the label table, and ingest again.",
        )


def _read(table: Path, store: Store) -> tuple[str, Array]:
    try:
        parquet = table.suffix.lower() in (".parquet", ".pq")
        # Texts, because a float cannot hold a source_id.
        frame = pd.read_parquet(table) if parquet else pd.read_csv(table, dtype=str)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"imported.trained_on = {table} cannot be read ({error})",
            expected="a CSV or Parquet table",
        ) from None
    usable = [name for name in ("name", "source_id") if name in frame]
    usable = [name for name in usable if name != "name" or name in store.variables]
    if not usable:
        raise ConfigError(
            f"{table} has the columns {', '.join(map(str, frame.columns))}",
            expected="source_id, or name where the survey has names",
        )
    return usable[0], frame[usable[0]].astype(str).str.strip().to_numpy(str)


def _identities(store: Store, column: str) -> Array:
    """That column of every star as text [N]."""
    values = store.read(Region(0, store.stars), [column])[column]
    if column == "name":
        texts = np.ascontiguousarray(values).view(f"S{values.shape[1]}")[:, 0]
        return np.char.decode(texts, "utf-8", "replace")
    return values.astype(str)
