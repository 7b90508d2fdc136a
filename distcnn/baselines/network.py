"""The package's own ensemble, asked as if it were a baseline, so that all are judged alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs
from distcnn.location import Address
from distcnn.model import Ensemble, Package, Prediction, StarInputs, star_inputs
from distcnn.quality import Quality
from distcnn.survey import Store


@dataclass(frozen=True)
class PackageNetwork:
    """A package with its quality: labels and calibrated errors."""

    ensemble: Ensemble
    quality: Quality
    bands: tuple[str, ...] | None

    @classmethod
    def load(cls, package: Address, survey: Store) -> "PackageNetwork":
        """The ensemble of a package, for stars of this survey.

        Raises
        ------
        PackageError, GridMismatch : the package cannot be used, or not with this survey.
        """
        found = Package.load(package)
        found.spec.check_survey(survey)
        bands: Sequence[str] = ()
        if "photometry" in survey.variables:
            bands = [str(band) for band in survey.coordinate("band")]
        quality = Quality.from_arrays(found.quality_arrays)
        return cls(Ensemble(found), quality, tuple(bands) or None)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the survey variables that it reads."""
        return self.ensemble.package.spec.variables

    def members(self, inputs: Inputs) -> Prediction:
        """What the ensemble says of stars, before its errors are calibrated."""
        return self.ensemble.predict(self._stars(inputs))

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels and calibrated errors of stars."""
        stars = self._stars(inputs)
        found = self.ensemble.predict(stars)
        known = stars.variables()
        if "flux_error" in inputs:
            known["flux_error"] = inputs["flux_error"]
        judged = self.quality.assess(known, found.label, found.noise, found.scatter)
        return Estimate(found.label, judged["label_error"])

    def _stars(self, inputs: Inputs) -> StarInputs:
        return star_inputs(_present(inputs), self.ensemble.package.spec, self.bands)


def _present(inputs: Inputs) -> dict[str, Array]:
    return {name: np.asarray(values) for name, values in inputs.items() if values.size}
