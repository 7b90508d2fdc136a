"""Bound of a survey that somebody observed: of a model of its own spectra, and what else is read.

Legend: N star, L label, P pixel.
"""

import math

import numpy as np

from distcnn.air import to_vacuum
from distcnn.arrays import Array
from distcnn.checks.bound.spectrum_model import SpectrumModel, spectrum_bounds
from distcnn.checks.injection.changes import without
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.sensitivity.answer import wavelengths_nm
from distcnn.checks.stars import StarTable
from distcnn.model.pixel_noise import length_of
from distcnn.schema import Flag

MIN_PRIOR_STARS = 30
VELOCITY_ERROR_KM_S = 1.0


def fit_model(inputs: CheckInputs, stars: StarTable) -> SpectrumModel:
    """The model of spectra of stars with all labels."""
    arrays = inputs.arrays(stars)
    flux, error = (arrays[name].astype(float) for name in ("flux", "flux_error"))
    return SpectrumModel.fitted(flux, stars.reference, error)


def quadratic_bounds(inputs: CheckInputs, stars: StarTable, model: SpectrumModel) -> Array:
    """Least standard errors [N, L] of stars with all labels."""
    arrays = inputs.arrays(stars)
    wavelength, medium = wavelengths_nm(inputs.survey)
    vacuum = to_vacuum(wavelength) if medium == "air" else wavelength
    # Correlated noise averages out less: its power where lines are is that of slow frequencies.
    slow = math.sqrt(max(length_of(inputs.noise_correlation), 0.0))
    error = slow * arrays["flux_error"].astype(float)
    error = np.where(np.isfinite(arrays["flux"]), error, np.nan)
    return spectrum_bounds(
        model,
        stars.reference,
        error,
        vacuum,
        prior=_prior(inputs, stars, arrays),
        velocity_error=VELOCITY_ERROR_KM_S,
    )


def _prior(inputs: CheckInputs, stars: StarTable, arrays: dict[str, Array]) -> Array:
    """Covariance [N, L, L] of labels without spectrum: of the package's answer, if it gives one.

    That is what photometry, parallax and XP tell besides; without them it is the population's.
    """
    spread = np.cov(stars.reference.T).reshape(len(inputs.labels), -1)
    others = [row for row in inputs.package.spec.modalities if row.name not in {"flux", "snr"}]
    if others:
        blind = inputs.predictor(without(arrays, ("flux", "flux_error")))
        residual = blind.label - stars.reference
        known = np.isfinite(residual).all(axis=1) & ((blind.flags & int(Flag.NON_FINITE)) == 0)
        if known.sum() > MIN_PRIOR_STARS:
            spread = np.cov(residual[known].T).reshape(spread.shape)
    return np.broadcast_to(spread, (len(stars), *spread.shape))
