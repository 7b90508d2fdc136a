"""The Cannon: every pixel a quadratic polynomial of the labels, with a scatter of its own.

Ness et al. 2015 (ApJ 808, 16). Training is closed (``model.quadratic_spectra``); inference is
Gauss-Newton, damped, all stars of a batch at once.

Legend: N star, P pixel, K label as a number.
"""

from distcnn.arrays import Array
from distcnn.baselines.base import LabelledStars
from distcnn.baselines.methods.spectral.model_fit import FittedModel, spread_starts
from distcnn.baselines.methods.spectral.spectra import Spectra, complete_stars
from distcnn.baselines.steps import UNTOLD, Steps
from distcnn.model.quadratic_spectra import QuadraticSpectra

STARTS = 64


class Cannon:
    """The Cannon as a baseline."""

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> FittedModel:
        """Fit the stars that have every label; nothing is chosen on the validation split."""
        spectra, labels, axes = complete_stars(training)
        with steps.step("polynomials", len(labels), "stars") as advance:
            model = cls.of(spectra, labels)
            advance(len(labels))
        return FittedModel(model, axes, spread_starts(labels, STARTS, seed))

    @staticmethod
    def of(spectra: Spectra, labels: Array) -> QuadraticSpectra:
        """The model of spectra [N, P] with labels [N, K] as numbers."""
        return QuadraticSpectra.of(spectra.flux, spectra.weight, labels)
