"""Completeness: how many stars of the survey have labels, by S/N, magnitude and place on the sky.

Counted over every star while the stores are read, so in bounded memory whatever their size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from distcnn.arrays import Array
from distcnn.evaluation.records import Completeness, CompletenessRow, ReasonRow, SkyCounts
from distcnn.schema import Flag, Recommendation, Status
from distcnn.stats import bin_name, snr_bins

RA_CELLS, DEC_CELLS = 24, 12
"""Cells of the sky: equal steps in right ascension and in the sine of the declination, so that
all have the same area."""
UNKNOWN = "unknown"
RECOMMENDATION = "label_recommendation"
"""Variable of predictions that recommends each label [N, L]; older ones have none."""
BinCounts: TypeAlias = dict[int | None, Array]
"""Number of a bin (None = not known) -> stars, with labels, unflagged, failed."""


@dataclass
class CompletenessCounts:
    """Sums over regions of a prediction store; ``edges`` of the bins of S/N."""

    edges: Sequence[float]
    snr: BinCounts = field(default_factory=dict)
    magnitude: BinCounts = field(default_factory=dict)
    sky: Array = field(default_factory=lambda: np.zeros((3, DEC_CELLS, RA_CELLS), np.int64))
    reasons: dict[str, int] = field(default_factory=dict)
    recommended: Array | None = None

    def add(self, block: Mapping[str, Array]) -> None:
        """Count one region: ``label`` [N, L], ``flags``, ``status``, ``snr`` [N] and, where the
        store has them, ``reference_magnitude`` [mag], ``ra`` and ``dec`` [deg].
        """
        done = (block["status"] == Status.DONE) & np.isfinite(block["label"]).all(axis=1)
        outcome = np.stack([done, done & (block["flags"] == 0), ~done])
        _add(self.snr, snr_bins(block["snr"], self.edges), outcome)
        if "reference_magnitude" in block:
            magnitude = block["reference_magnitude"].astype(float)
            _add(
                self.magnitude,
                np.where(np.isfinite(magnitude), np.floor(magnitude), np.nan),
                outcome,
            )
        if "ra" in block and "dec" in block:
            self._add_sky(block["ra"], block["dec"], outcome)
        self._add_reasons(block["flags"], ~done)
        if RECOMMENDATION in block:
            levels = np.arange(len(Recommendation))[:, None, None]
            counts = (block[RECOMMENDATION] == levels).sum(axis=1)
            self.recommended = counts if self.recommended is None else self.recommended + counts

    def _add_sky(self, ra: Array, dec: Array, outcome: Array) -> None:
        known = np.isfinite(ra) & np.isfinite(dec)
        column = (np.mod(ra[known], 360.0) * RA_CELLS / 360).astype(int) % RA_CELLS
        height = (np.sin(np.radians(dec[known])) + 1) / 2
        row = np.minimum((height * DEC_CELLS).astype(int), DEC_CELLS - 1)
        for number, inside in enumerate((np.ones(known.sum(), bool), *outcome[:2, known])):
            np.add.at(self.sky[number], (row[inside], column[inside]), 1)

    def _add_reasons(self, flags: Array, failed: Array) -> None:
        for flag in Flag:
            found = (flags & np.uint32(flag)) != 0
            for what, some in (("no label", found & failed), ("flagged", found & ~failed)):
                key = f"{what}: {flag.name}"
                self.reasons[key] = self.reasons.get(key, 0) + int(some.sum())

    def tables(self) -> Completeness:
        """The finished tables."""
        rows = [
            *_rows("S/N", self.snr, lambda number: bin_name(number, self.edges)),
            *_rows("magnitude", self.magnitude, lambda low: f"{low}-{low + 1}"),
        ]
        total = sum((counts for counts in self.snr.values()), np.zeros(4, np.int64))
        known = self.sky[0].any()
        sky: SkyCounts = {
            "stars": self.sky[0].tolist(),
            "labels": self.sky[1].tolist(),
            "unflagged": self.sky[2].tolist(),
        }
        return {
            "rows": [_row("all", "all", total), *rows],
            "reasons": self._reason_rows(),
            "sky": sky if known else None,
            "recommended": None if self.recommended is None else self.recommended.T.tolist(),
        }

    def _reason_rows(self) -> list[ReasonRow]:
        meaning = {flag.name: flag.sentence for flag in Flag}
        return [
            {"reason": key, "stars": stars, "meaning": meaning[key.split(": ")[1]]}
            for key, stars in sorted(self.reasons.items(), key=lambda item: -item[1])
            if stars
        ]


def _add(table: BinCounts, numbers: Array, outcome: Array) -> None:
    """Add stars with these outcomes [3, N] to the counts of their bins; NaN is a bin of its own."""
    for number in np.unique(numbers):
        inside = np.isnan(numbers) if np.isnan(number) else numbers == number
        key = None if np.isnan(number) else int(number)
        counts = np.array([inside.sum(), *outcome[:, inside].sum(axis=1)])
        table[key] = table.get(key, np.zeros(4, np.int64)) + counts


def _rows(by: str, table: BinCounts, name: Callable[[int], str]) -> list[CompletenessRow]:
    known = sorted(key for key in table if key is not None)
    named = [_row(by, name(key), table[key]) for key in known]
    return [*named, *([_row(by, UNKNOWN, table[None])] if None in table else [])]


def _row(by: str, text: str, counts: Array) -> CompletenessRow:
    stars, labels, unflagged, failed = (int(count) for count in counts)
    return {
        "by": by,
        "bin": text,
        "stars": stars,
        "labels": labels,
        "unflagged": unflagged,
        "failed": failed,
    }
