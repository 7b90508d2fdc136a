"""Predictor: what a package says of stars, whose inputs a check may have changed before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from distcnn.arrays import Array
from distcnn.model import Ensemble, Package, predict_members, star_inputs
from distcnn.quality import Quality
from distcnn.quality.flags import DAMAGED
from distcnn.survey import Region, Store

BLOCK_STARS = 2048
"""Stars read and predicted at a time."""


@dataclass(frozen=True)
class PredictedStars:
    """Predictions of N stars: all [N, L] in label units, flags [N] (``schema.Flag``)."""

    label: Array
    label_error: Array
    noise: Array
    scatter: Array
    flags: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def usable(self) -> Array:
        """[N] bool: no flag says that spectrum or network is not to be relied on."""
        return np.asarray(self.flags & DAMAGED == 0)

    def take(self, places: Array) -> "PredictedStars":
        """The stars at ``places``, a mask or positions."""
        return PredictedStars(**{f.name: getattr(self, f.name)[places] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence["PredictedStars"]) -> "PredictedStars":
        """Stars of all parts, of which there is at least one."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )


class PackagePredictor:
    """A package with its quality, in this process: labels as ``distcnn predict`` gives them."""

    def __init__(self, package: Package, bands: Sequence[str]) -> None:
        self.spec, self.bands = package.spec, list(bands)
        self.package, self.ensemble = package, Ensemble(package, "eager")
        self.quality = Quality.from_arrays(package.quality_arrays)
        extra = ("flux_error",) if self.spec.pixels else ()
        self.variables = (*self.spec.variables, *extra, "snr")

    def __call__(self, arrays: Mapping[str, Array]) -> PredictedStars:
        """Predict N stars.

        Parameters
        ----------
        arrays : survey variables of ``variables``, as ``Store.read`` gives them; absent = missing.
        """
        stars = star_inputs(arrays, self.spec, self.bands if "photometry" in arrays else None)
        label, noise, scatter, _ = self.ensemble.predict(stars)
        given = stars.variables()
        if self.spec.pixels and "flux_error" in arrays:
            given["flux_error"] = np.asarray(arrays["flux_error"], np.float32)
        judged = self.quality.assess(given, label, noise, scatter)
        return PredictedStars(label, judged["label_error"], noise, scatter, judged["flags"])

    def halves(self, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
        """Labels [N, L] of every other member and of the rest, each as a package of its own."""
        stars = star_inputs(arrays, self.spec, self.bands if "photometry" in arrays else None)
        networks, stacking = self.package.networks(), self.package.stacking()
        even, odd = (
            predict_members(half, stars, stacking=stacking).label
            for half in (networks[::2], networks[1::2])
        )
        return even, odd


def read_rows(
    survey: Store, rows: Array, names: Sequence[str], block: int = BLOCK_STARS
) -> Iterator[dict[str, Array]]:
    """Survey variables of ascending rows, at most ``block`` of them at a time.

    Whole chunks are decoded; rows that share one are read together.
    """
    wanted = [name for name in dict.fromkeys(names) if name in survey.variables]
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        pieces = []
        for run in np.split(part, np.flatnonzero(np.diff(part) > survey.chunk_stars) + 1):
            found = survey.read(Region(int(run[0]), int(run[-1]) + 1), wanted)
            pieces.append({name: values[run - run[0]] for name, values in found.items()})
        yield {name: np.concatenate([piece[name] for piece in pieces]) for name in wanted}
