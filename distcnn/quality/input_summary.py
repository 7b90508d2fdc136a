"""Input summary: what flags and calibration need to know of a star's inputs, in a few numbers.

Spectra are large and these quantities are not: the device that has the spectra reduces them to
this, and no later step sees them. Which quantities there are is said by
``modalities.MODALITIES``; novelty adds two of its own.

Legend: N star, K band.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.modalities import MODALITIES, Modality
from distcnn.quality.novelty import Novelty, other_light
from distcnn.schema import SURVEY_VARIABLES

Arrays = Mapping[str, Array]
Measures = Callable[[Any, Any, Mapping[str, Any]], tuple[Any, Any] | None]
NOVELTY_MEASURES, NOVELTY_WEIGHT = "novelty_measures", "novelty_weight"


def summarise(library: Any, variables: Mapping[str, Any], measures: Measures) -> dict[str, Any]:
    """Every quantity of the variables that are there, by name.

    Parameters
    ----------
    library : ``numpy`` or ``torch``, whichever ``variables`` are of.
    variables : survey variables of N stars; absent = not in the survey.
    measures : (flux, its error or None, other light) -> as ``Novelty.measures``, or None without a
        reference.
    """
    out = {
        summary.name: summary.reduce(library, variables[row.variables[0]])
        for row in MODALITIES
        for summary in row.summaries
        if row.variables[0] in variables
    }
    found = None
    if "flux" in variables:
        light = other_light(variables)
        found = measures(variables["flux"], variables.get("flux_error"), light)
    return out if found is None else {**out, NOVELTY_MEASURES: found[0], NOVELTY_WEIGHT: found[1]}


@dataclass(frozen=True)
class InputSummary:
    """Quantities of N stars by name; one of a modality that the survey lacks is absent.

    ``snr`` [N] is always there, NaN = unknown; ``valid_pixels`` float32 [N], fraction of the
    pixels that have a flux; ``has_xp`` bool [N], networks use the coefficients;
    ``photometry`` [N, K], the reference band first; ``parallax`` [N] mas; further scalars [N];
    ``novelty_measures`` [N, M] and ``novelty_weight`` [N] as ``Novelty.measures`` gives them.
    """

    quantities: Arrays

    @classmethod
    def of(cls, variables: Arrays, stars: int, novelty: Novelty | None) -> "InputSummary":
        """From survey variables of stars; absent or empty = not in the survey."""
        known = {name for row in MODALITIES for name in (*row.variables, "flux_error")}
        there = {name: v for name, v in variables.items() if name in known and v.size}
        there.setdefault("snr", np.full(stars, np.nan))
        scalars = [name for name in there if len(SURVEY_VARIABLES[name].dims) == 1]
        there |= {name: there[name].reshape(-1) for name in scalars}
        measures = novelty.measures if novelty is not None else lambda flux, error, light: None
        return cls(summarise(np, there, measures))

    def get(self, name: str) -> Array | None:
        """One quantity; None = the survey lacks its modality."""
        return self.quantities.get(name)

    @property
    def snr(self) -> Array:
        """[N], NaN = unknown."""
        return self.quantities["snr"]

    def lacks(self, row: Modality) -> Array | None:
        """[N] bool: the star lacks a modality; None = the survey does, and no star is blamed."""
        values = self.get(row.summaries[0].name)
        return None if values is None else row.summaries[0].missing(values)

    @property
    def missing_magnitudes(self) -> Array:
        """[N] which magnitudes a star lacks of those that the survey has: 0, or one more than a
        position in ``calibration.MISSING_MAGNITUDES``.
        """
        bands = self.get("photometry")
        if bands is None or not bands.shape[1]:
            return np.zeros(len(self.snr), np.int64)
        lacks = ~np.isfinite(bands)
        return np.where(lacks[:, 0], 3, np.minimum(lacks.sum(axis=1), 2))

    @property
    def missing(self) -> Array:
        """[N] what a star lacks of what the survey has: 0, or one more than a position in
        ``calibration.MISSING_MODALITIES``.
        """
        missing = np.zeros(len(self.snr), np.int64)
        for bit, row in enumerate(row for row in MODALITIES if row.lack):
            lacking = self.lacks(row)
            if lacking is not None:
                missing += lacking.astype(np.int64) << bit
        return missing
