"""Spectrum model: flux as a quadratic function of labels, pixel by pixel, and what it can tell.

The derivatives of the flux by the labels come from the survey's own labelled spectra, as in The
Cannon (Ness et al. 2015, ApJ 808, 16), so that no synthetic spectra are needed.

Legend: N star, L label, P pixel, K parameter (labels, then nuisances).
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.model.quadratic_spectra import QuadraticSpectra
from distcnn.schema import LIGHT_SPEED_KM_S

CONTINUUM_TERMS = 3
"""Coefficients of the polynomial that any continuum may be off by."""
SCATTER_STARS = 1000
"""Stars of which the scatter about the model is found."""


@dataclass(frozen=True)
class SpectrumModel:
    """Quadratic spectra of standardised labels.

    ``quadratic`` : its scatter is that of spectra about the model beyond their noise: single
    elements, rotation, dust, and what the model lacks. ``middle``, ``scale`` [L]: of the labels,
    in label units.
    """

    quadratic: QuadraticSpectra
    middle: Array
    scale: Array

    @classmethod
    def fitted(cls, flux: Array, label: Array, error: Array) -> "SpectrumModel":
        """Of flux and its error [N, P], NaN = missing, of stars with labels [N, L]."""
        middle, scale = label.mean(axis=0), label.std(axis=0)
        good = np.isfinite(flux) & (error > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(good, error**-2.0, 0.0)
        place = (label - middle) / scale
        whole = np.where(good, flux, 0.0)
        return cls(QuadraticSpectra.of(whole, weight, place, most=SCATTER_STARS), middle, scale)

    def flux(self, label: Array) -> Array:
        """The model's spectra [N, P] of labels [N, L]."""
        return self.quadratic.flux((label - self.middle) / self.scale)

    def slopes(self, label: Array) -> Array:
        """Derivatives of the flux by the labels, [N, L, P] per label unit."""
        slopes = self.quadratic.jacobian((label - self.middle) / self.scale)
        return np.asarray(slopes.transpose(0, 2, 1) / self.scale[:, None])


def spectrum_bounds(
    model: SpectrumModel,
    label: Array,
    error: Array,
    wavelength: Array,
    *,
    prior: Array,
    velocity_error: float,
) -> Array:
    """Least standard errors [N, L] of labels, from spectra with errors and what is known before.

    Nuisances are marginalised: a polynomial continuum, of which nothing is known, and a velocity
    known to ``velocity_error`` [km/s].

    Parameters
    ----------
    error : [N, P] of the flux, independent pixels; NaN = missing.
    prior : covariances [N, L, L] of what is known of the labels without the spectrum (van Trees).
    """
    flux, slopes = model.flux(label), model.slopes(label)
    place = np.linspace(-1, 1, flux.shape[1])
    continuum = [flux * place**power for power in range(CONTINUUM_TERMS)]
    moved = np.gradient(flux, np.log(wavelength), axis=1) / LIGHT_SPEED_KM_S
    columns = np.stack([*slopes.transpose(1, 0, 2), *continuum, moved], axis=1)
    total = np.sqrt(np.square(error) + model.quadratic.variance)
    with np.errstate(divide="ignore"):
        weight = np.where(np.isfinite(error) & (error > 0), 1 / total, 0.0)
    scaled = columns * weight[:, None, :]
    fisher = scaled @ scaled.transpose(0, 2, 1)
    count = label.shape[1]
    fisher[:, :count, :count] += np.linalg.inv(prior)
    fisher[:, -1, -1] += velocity_error**-2.0
    # Kelvins and dex differ by thousands: in units of its own, the matrix is well conditioned.
    unit = np.sqrt(np.einsum("nkk->nk", fisher)) + 1e-30
    covariance = np.linalg.pinv(fisher / unit[:, :, None] / unit[:, None, :], hermitian=True)
    variance = np.einsum("nkk->nk", covariance)[:, :count] / unit[:, :count] ** 2
    return np.asarray(np.sqrt(variance))
