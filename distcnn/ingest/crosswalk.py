"""Crosswalk: from the identifiers of a label table to those of the spectra, by a third table.

Gaia publishes one for each release (dr2_neighbourhood, dr3_neighbourhood): every source of the
old release with those of the new one around it. Of several the nearest is taken, of equally near
ones the most alike in brightness; where that decides nothing the star gets no labels, and the
row is quarantined with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distcnn.arrays import Array, find_sorted
from distcnn.config import CrosswalkConfig
from distcnn.ingest.readers import Block, Reader, Rejected
from distcnn.ingest.readers.values.crosswalk import BRIGHTNESS, DISTANCE, LABEL_ID
from distcnn.ingest.star_tables import CollectedLabels, best_of_each, passes
from distcnn.schema import Reason

_BLOCK_ROWS = 65536


@dataclass(frozen=True)
class Crosswalk:
    """The star of each identifier of a label table that has one, sorted by the former."""

    label_id: Array
    source_id: Array
    rejected: tuple[Rejected, ...]
    """Identifiers for which the rule decides nothing, and rows that cannot be read."""
    several: int
    """Identifiers with several stars, of which the rule chose one."""
    undecided: int
    """Identifiers with several stars, of which the rule could not choose one."""


def read_crosswalk(
    reader: Reader, files: Sequence[Path], config: CrosswalkConfig, ids: Array
) -> Crosswalk:
    """Read a crosswalk for the identifiers ``ids`` (sorted) of a label table.

    Raises
    ------
    FileBroken, ColumnMissing : a file cannot be used; stars would lose their labels silently.
    """
    names = ("source_id", LABEL_ID, "label_name", "name", DISTANCE, BRIGHTNESS)
    parts: list[dict[str, Array]] = []
    rejected: list[Rejected] = []
    for number, path in enumerate(files):
        for block in reader.blocks(path, rows=_BLOCK_ROWS, ids=ids):
            rejected += block.rejected
            passing = block.take(passes(block, config.cuts))
            part = {name: passing.columns[name] for name in names}
            parts.append(part | {"row": passing.rows, "file": np.full(len(passing), number)})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _resolve(joined, files, rejected)


def _resolve(rows: dict[str, Array], files: Sequence[Path], rejected: list[Rejected]) -> Crosswalk:
    """The nearest star of each identifier, then that most alike in brightness."""
    distance = np.nan_to_num(rows[DISTANCE], nan=np.inf)
    brightness = np.nan_to_num(np.abs(rows[BRIGHTNESS]), nan=np.inf)
    order = np.lexsort((rows["source_id"], brightness, distance, rows[LABEL_ID]))
    label, star = rows[LABEL_ID][order], rows["source_id"][order]
    distance, brightness = distance[order], brightness[order]
    same = (label[1:] == label[:-1]) & (star[1:] == star[:-1])
    once = np.concatenate([[True], ~same]) if len(order) else np.zeros(0, bool)
    order, label, star = order[once], label[once], star[once]
    distance, brightness = distance[once], brightness[once]
    first = np.diff(label, prepend=-1) != 0
    starts = np.flatnonzero(first)
    counts = np.diff(np.append(starts, len(label)))
    several = starts[counts > 1]
    tied = (distance[several + 1] == distance[several]) & (
        brightness[several + 1] == brightness[several]
    )
    for at in several[tied].tolist():
        rejected.append(_undecided(rows, order[at], order[at + 1], files))
    chosen = np.setdiff1d(starts, several[tied])
    decided = int((~tied).sum())
    return Crosswalk(label[chosen], star[chosen], tuple(rejected), decided, int(tied.sum()))


def _undecided(rows: dict[str, Array], one: int, other: int, files: Sequence[Path]) -> Rejected:
    names = [_named(rows, at, "source_id", "name") for at in (one, other)]
    label = _named(rows, one, LABEL_ID, "label_name")
    detail = f"{label} leads to {names[0]} and {names[1]}, as near and as alike in brightness"
    star, row = int(rows["source_id"][one]), int(rows["row"][one])
    return Rejected(str(files[int(rows["file"][one])]), row, star, Reason.AMBIGUOUS, detail)


def _named(rows: dict[str, Array], at: int, number: str, name: str) -> str:
    text: bytes = rows[name][at]
    return text.decode("utf-8", "replace") or str(rows[number][at])


def led_across(labels: CollectedLabels, crosswalk: Crosswalk) -> CollectedLabels:
    """The labels under the identifiers of the spectra; of a star that comes twice the best S/N."""
    table, velocities = labels.table, labels.velocities
    place, found = find_sorted(crosswalk.label_id, table.source_id)
    columns = {name: values[found] for name, values in vars(table).items()}
    columns["source_id"] = crosswalk.source_id[place[found]]
    moved = None
    if velocities is not None:
        place, found = find_sorted(crosswalk.label_id, velocities.source_id)
        block = {name: values[found] for name, values in vars(velocities).items()}
        block["source_id"] = crosswalk.source_id[place[found]]
        moved = velocities.of([Block(np.flatnonzero(found), block)])
    return replace(labels, table=best_of_each(columns), velocities=moved)


def in_words(labels: CollectedLabels, crosswalk: Crosswalk) -> str:
    """What became of the identifiers of a label table, as a sentence."""
    ids, met = labels.table.source_id, len(crosswalk.label_id) + crosswalk.undecided
    text = f"{met} of {len(ids)} stars of the label table are in the crosswalk"
    text += f"; of {crosswalk.several} with several counterparts the nearest was taken"
    if crosswalk.undecided:
        text += f"; {crosswalk.undecided} have several as near, and get no labels"
    return f"{text}."
