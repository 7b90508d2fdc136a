"""Spectrum model: flux as a quadratic function of labels, pixel by pixel, and what it can tell.

The derivatives of the flux by the labels come from the survey's own labelled spectra, as in The
Cannon (Ness et al. 2015, ApJ 808, 16), so that no synthetic spectra are needed.

Legend: N star, L label, P pixel, K parameter (labels, then nuisances).
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.stats import robust_std

CONTINUUM_TERMS = 3
"""Coefficients of the polynomial that any continuum may be off by."""


@dataclass(frozen=True)
class SpectrumModel:
    """Coefficients [T, P] of flux = 1, l_i, l_i l_j of standardised labels.

    ``middle``, ``scale`` [L]: of the labels, in label units. ``scatter`` [P]: of spectra about the
    model beyond their noise (single elements, rotation, dust, and what the model lacks).
    """

    coefficients: Array
    middle: Array
    scale: Array
    scatter: Array

    @classmethod
    def fitted(cls, flux: Array, label: Array, error: Array | None = None) -> "SpectrumModel":
        """Least squares on flux [N, P], NaN = missing, of stars with labels [N, L].

        ``error`` [N, P] of the flux; None = all that is left counts as noise.
        """
        middle, scale = label.mean(axis=0), label.std(axis=0)
        terms = _terms((label - middle) / scale)
        good = np.isfinite(flux)
        level = np.nansum(flux, axis=0) / np.maximum(good.sum(axis=0), 1)
        # A missing pixel is taken for the mean one: it says nothing about a slope.
        fit, *_ = np.linalg.lstsq(terms, np.where(good, flux, level), rcond=None)
        scatter = np.zeros(flux.shape[1])
        if error is not None:
            scatter = _scatter(np.where(good, flux - terms @ fit, np.nan), error)
        return cls(fit, middle, scale, scatter)

    def flux(self, label: Array) -> Array:
        """The model's spectra [N, P] of labels [N, L]."""
        return np.asarray(_terms((label - self.middle) / self.scale) @ self.coefficients)

    def slopes(self, label: Array) -> Array:
        """Derivatives of the flux by the labels, [N, L, P] per label unit."""
        place = (label - self.middle) / self.scale
        count = label.shape[1]
        out = np.empty((len(label), count, self.coefficients.shape[1]))
        for number in range(count):
            out[:, number] = _slope_of_terms(place, number) @ self.coefficients
        return out / self.scale[:, None]


def _scatter(left: Array, error: Array) -> Array:
    """Scatter [P] of residuals [N, P] beyond their errors, from the quietest half of each pixel."""
    out = np.zeros(left.shape[1])
    for pixel in range(len(out)):
        good = np.isfinite(left[:, pixel]) & (error[:, pixel] > 0)
        if good.sum() < 2:
            continue
        noise = error[good, pixel]
        quiet = noise <= np.median(noise)
        width = robust_std(left[good, pixel][quiet])
        out[pixel] = np.sqrt(max(width**2 - float(np.median(noise[quiet] ** 2)), 0.0))
    return out


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(i, count)]


def _terms(place: Array) -> Array:
    products = [place[:, i] * place[:, j] for i, j in _pairs(place.shape[1])]
    return np.column_stack([np.ones(len(place)), place, *products])


def _slope_of_terms(place: Array, number: int) -> Array:
    count = place.shape[1]
    single = np.zeros((len(place), count))
    single[:, number] = 1
    products = [place[:, j] * (i == number) + place[:, i] * (j == number) for i, j in _pairs(count)]
    return np.column_stack([np.zeros(len(place)), single, *products])


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
    total = np.hypot(error, model.scatter)
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
