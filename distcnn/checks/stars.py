"""Stars that checks choose from: what a survey and its references say of them, without spectra."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.evaluation.references import read_truth, survey_labels, true_labels
from distcnn.location import Address
from distcnn.survey import Region, Store
from distcnn.survey.split import TEST, assign_split

READ_STARS = 65_536
"""Stars read at a time."""


@dataclass(frozen=True)
class StarTable:
    """Stars [N] of a survey, in its order; L labels as the package has them.

    Attributes
    ----------
    row : row in the survey. ``source_id`` : several rows may be of one star.
    ra, dec : deg. ``snr`` : per pixel; NaN = not known.
    reference, reference_error : [N, L] truth of a simulation, or the survey's labels; NaN = none.
    held_out : bool, used by no part of training.
    defect : what a simulation did to the star; empty where clean or unknown.
    """

    row: Array
    source_id: Array
    ra: Array
    dec: Array
    snr: Array
    reference: Array
    reference_error: Array
    held_out: Array
    defect: Array

    def __len__(self) -> int:
        return len(self.row)

    def take(self, places: Array) -> "StarTable":
        """The stars at ``places``, a mask or positions."""
        return StarTable(**{f.name: getattr(self, f.name)[places] for f in fields(self)})

    def drawn(self, wanted: Array, most: int) -> "StarTable":
        """At most ``most`` of the wanted [N] stars, by a hash of their identifiers."""
        places = np.flatnonzero(wanted)
        if len(places) > most:
            order = np.argsort(hashing.uniform(self.source_id[places]), kind="stable")
            places = np.sort(places[order[:most]])
        return self.take(places)

    @classmethod
    def joined(cls, parts: Sequence["StarTable"]) -> "StarTable":
        """Stars of all parts, in the order of the survey."""
        whole = cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )
        return whole.take(np.argsort(whole.row, kind="stable"))


def read_star_table(
    survey: Store,
    labels: tuple[str, ...],
    *,
    split: SplitConfig | None,
    truth: Address | None,
    most: int,
) -> StarTable:
    """Read at most about ``most`` stars, in regions evenly spread over the survey.

    Parameters
    ----------
    split : of the package's training; None = no star of this survey was used.
    truth : table of a simulation, whose labels go before those of the survey.

    Raises
    ------
    FileBroken, ColumnMissing : the table of truth cannot be used.
    """
    known = None if truth is None else read_truth(truth, labels)
    regions = list(survey.regions(max(1, READ_STARS // survey.shard_stars)))
    every = max(1, -(-survey.stars // most))
    parts = [_read(survey, region, labels, split, known) for region in regions[::every]]
    return StarTable.joined(parts)


def _read(
    survey: Store,
    region: Region,
    labels: tuple[str, ...],
    split: SplitConfig | None,
    truth: "pd.DataFrame | None",
) -> StarTable:
    has = set(survey.variables)
    names = [n for n in ("source_id", "ra", "dec", "snr", "label", "label_error") if n in has]
    block = survey.read(region, names)
    ids, missing = block["source_id"], np.full(region.size, np.nan)
    seen = np.zeros(len(ids), bool)
    if split is not None and "label" in has:
        seen = np.isfinite(block["label"]).any(axis=1) & (assign_split(ids, split) != TEST)
    if truth is None:
        reference, error = survey_labels(survey, block, labels)
        defect = np.full(len(ids), "", object)
    else:
        reference, error, defect = true_labels(truth, ids, labels)
    return StarTable(
        row=np.arange(region.start, region.stop),
        source_id=ids,
        ra=block.get("ra", missing),
        dec=block.get("dec", missing),
        snr=block.get("snr", missing),
        reference=reference,
        reference_error=error,
        held_out=~seen,
        defect=defect,
    )
