"""InputSummary: what a judgement needs to know of a star's inputs, in a few numbers.

Spectra are large and judgements are not: whoever holds the spectra, on a CPU or on a GPU,
reduces them to this, and the rest of the judging never sees them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.novelty import Novelty

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class InputSummary:
    """Of N stars; None = the survey lacks this modality.

    Attributes
    ----------
    snr : [N], NaN = unknown.
    valid : float32 [N] fraction of the pixels that have a flux.
    measures, weight : [N, 3] and [N] as ``Novelty.measures`` gives them; None also without a
        reference for novelty.
    has_xp : bool [N] at least one coefficient is there.
    photometry : [N, K] magnitudes, the reference band first.
    parallax : [N] mas.
    """

    snr: Array
    valid: Array | None = None
    measures: Array | None = None
    weight: Array | None = None
    has_xp: Array | None = None
    photometry: Array | None = None
    parallax: Array | None = None

    @classmethod
    def of(cls, inputs: Arrays, stars: int, novelty: Novelty | None) -> "InputSummary":
        """From the inputs of stars: ``flux``, ``flux_error`` [N, P], ``xp`` [N, C],
        ``photometry`` [N, K], ``parallax``, ``snr`` [N]; absent or empty = not in the survey.
        """
        there = {name: values for name, values in inputs.items() if values.size}
        flux, xp, parallax = (there.get(name) for name in ("flux", "xp", "parallax"))
        valid = measures = weight = None
        if flux is not None:
            valid = np.isfinite(flux).mean(axis=1, dtype=np.float32)
            if novelty is not None:
                measures, weight = novelty.measures(flux, there.get("flux_error"))
        return cls(
            snr=np.reshape(inputs.get("snr", np.full(stars, np.nan)), -1),
            valid=valid,
            measures=measures,
            weight=weight,
            has_xp=None if xp is None else np.asarray(np.isfinite(xp).any(axis=1)),
            photometry=there.get("photometry"),
            parallax=None if parallax is None else parallax.reshape(-1),
        )

    @classmethod
    def joined(cls, parts: Sequence["InputSummary"]) -> "InputSummary":
        """Of all stars of the parts, which are of one survey."""
        joined: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            column = [getattr(part, name) for part in parts]
            joined[name] = None if column[0] is None else np.concatenate(column)
        return cls(**joined)

    @property
    def missing(self) -> Array:
        """[N] what a star lacks of what the survey has: 0, or one more than a place in
        ``calibration.MISSING_MODALITIES``.
        """
        missing = np.zeros(len(self.snr), np.int64)
        if self.has_xp is not None:
            missing += ~self.has_xp
        if self.parallax is not None:
            missing += 2 * ~np.isfinite(self.parallax)
        return missing
