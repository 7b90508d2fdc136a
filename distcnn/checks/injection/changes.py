"""Changes that are put on inputs of stars: noise, velocity, resolution, continuum, dust.

Legend: N star, P pixel, K band. Fluxes have NaN where a pixel is missing; wavelengths are in nm.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import interpolate, ndimage, special

from distcnn.arrays import Array
from distcnn.model.pixel_noise import Correlation, NoiseGenerator
from distcnn.schema import LIGHT_SPEED_KM_S, PLANCK_NM_K

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
CONTINUUM_CLIP_SIGMA = (0.55, 10.0)
"""How far below and above the fit a pixel of the bright regime's continuum may lie: the lower one
as in the simulator, such that the medians of real spectra come out."""
CONTINUUM_ROUNDS = 4
_FLUXES = ("flux", "flux_error")


def lower_snr(
    arrays: dict[str, Array], snr: float, noise: NoiseGenerator, generator: torch.Generator
) -> dict[str, Array]:
    """Stars whose spectra get the noise that brings them to ``snr`` per pixel.

    Their own noise is what ``flux_error`` says, or else the flux over the S/N. Variances add:
    noise that grows by r needs sqrt(r^2 - 1) of it on top. Brighter stars than that are expected.
    """
    flux, held = arrays["flux"].astype(float), arrays["snr"].astype(float)
    error = arrays.get("flux_error")
    own = np.abs(flux) / held[:, None] if error is None else error.astype(float)
    ratio = np.maximum(held / snr, 1.0)[:, None]
    added = own * np.sqrt(ratio**2 - 1) * noise.draw(flux.shape, generator).numpy()
    changed = {"flux": _as(flux + added, arrays["flux"]), "snr": _as(held / ratio[:, 0], held)}
    if error is not None:
        changed["flux_error"] = _as(own * ratio, error)
    return arrays | changed


def shift(arrays: dict[str, Array], wavelength: Array, velocity: float) -> dict[str, Array]:
    """Stars whose spectra are off by ``velocity`` [km/s].

    A cubic spline: linear interpolation would average the noise of neighbours away.
    """
    at = np.clip(wavelength / (1 + velocity / LIGHT_SPEED_KM_S), wavelength[0], wavelength[-1])
    spline = interpolate.CubicSpline(wavelength, fill_gaps(arrays["flux"]), axis=1)
    return arrays | {"flux": _missing_as(spline(at), arrays["flux"])}


def broaden(
    arrays: dict[str, Array],
    wavelength: Array,
    fwhm: float,
    generator: torch.Generator | None = None,
    correlation: Correlation = (),
) -> dict[str, Array]:
    """Stars whose lines are wider by a Gaussian of ``fwhm`` [km/s]; missing pixels stay missing.

    With a ``generator`` as much noise is added as the smoothing has taken: a spectrograph of lower
    resolution is no less noisy. ``correlation``: of the noise before, and after, too.
    """
    if fwhm <= 0:
        return arrays
    pixel = float(np.median(np.diff(np.log(wavelength)))) * LIGHT_SPEED_KM_S
    sigma = fwhm / FWHM_PER_SIGMA / pixel
    reach = max(3, math.ceil(5 * sigma) + 1)
    # The discrete Gaussian (Lindeberg 1990, IEEE PAMI 12, 234) has its variance however narrow.
    kernel = special.ive(np.abs(np.arange(-reach, reach + 1)), sigma**2)
    kernel /= kernel.sum()
    wide = ndimage.convolve1d(fill_gaps(arrays["flux"]), kernel, axis=1, mode="nearest")
    if generator is not None and "flux_error" in arrays:
        error = np.nan_to_num(arrays["flux_error"].astype(float))
        wide += error * _taken_noise(kernel, correlation, wide.shape, generator)
    return arrays | {"flux": _missing_as(wide, arrays["flux"])}


def _taken_noise(
    kernel: Array, correlation: Correlation, shape: tuple[int, ...], generator: torch.Generator
) -> Array:
    """Noise [N, P] that unit noise lacks once it is smoothed: by power, at every frequency."""
    before = np.array([*correlation[::-1], 1.0, *correlation])
    after = np.convolve(np.convolve(kernel, kernel), before)
    taken = -after
    middle, reach = len(after) // 2, len(correlation)
    taken[middle - reach : middle + reach + 1] += before
    variance = max(float(taken[middle]), 1e-30)
    noise = NoiseGenerator.of((taken[middle + 1 :] / variance).tolist()).draw(shape, generator)
    return np.asarray(math.sqrt(variance) * noise.numpy())


def fill_gaps(flux: Array) -> Array:
    """Spectra [N, P] as float64 with missing pixels interpolated; 1 where all are missing."""
    out = flux.astype(float)
    place = np.arange(out.shape[1])
    for number in np.flatnonzero(~np.isfinite(out).all(axis=1)):
        good = np.isfinite(out[number])
        there = (place[good], out[number, good]) if good.any() else ([0], [1.0])
        out[number, ~good] = np.interp(place[~good], *there)
    return out


def _missing_as(values: Array, like: Array) -> Array:
    return _as(np.where(np.isfinite(like), values, np.nan), like)


def other_regime(
    arrays: dict[str, Array], faint: Array, teff: Array, wavelength: Array
) -> dict[str, Array]:
    """Stars as Gaia normalises those on the other side of G_RVS = 12.

    ``faint`` [N] bool: which of them stand in the regime of faint stars. To bright ones the slope
    of a black body of ``teff`` [N, K] is given back before they are divided by their median.
    """
    slope = planck_slope(teff, wavelength)
    tilted = {n: _as(arrays[n] * slope, arrays[n]) for n in _FLUXES if n in arrays}
    to_faint, to_bright = faint_regime(arrays | tilted), bright_regime(arrays)
    return arrays | {
        name: np.where(faint[:, None], to_bright[name], to_faint[name]) for name in tilted
    }


def planck_slope(teff: Array, wavelength: Array) -> Array:
    """Light [N, P] of black bodies per wavelength [nm], 1 in the middle of the range."""
    middle = float(wavelength.mean())
    x = PLANCK_NM_K / teff[:, None]
    return np.asarray(
        (middle / wavelength) ** 5 * np.expm1(x / middle) / np.expm1(x / wavelength[None, :])
    )


def faint_regime(arrays: dict[str, Array]) -> dict[str, Array]:
    """Stars normalised as Gaia normalises faint ones (G_RVS > 12): divided by their median."""
    return _divided(arrays, np.nanmedian(arrays["flux"].astype(float), axis=1, keepdims=True))


def bright_regime(arrays: dict[str, Array]) -> dict[str, Array]:
    """Stars normalised as bright ones: divided by a clipped parabola through their spectrum.

    Pixels far below the fit are left out of it (Gaia DR3 documentation, section 6.4.7). Lines pull
    it down, so that the level of the result is not that of the other.
    """
    flux = arrays["flux"].astype(float)
    place = np.linspace(-1, 1, flux.shape[1])[:, None] ** np.arange(3)
    weight = np.isfinite(flux).astype(float)
    filled = np.nan_to_num(flux)
    for _ in range(CONTINUUM_ROUNDS):
        normal = np.einsum("np,pi,pj->nij", weight, place, place)
        right = np.einsum("np,np,pi->ni", weight, filled, place)
        fit = np.einsum("nij,nj->ni", np.linalg.pinv(normal, hermitian=True), right) @ place.T
        off = filled - fit
        sigma = np.sqrt((weight * off**2).sum(axis=1) / np.maximum(weight.sum(axis=1), 1))[:, None]
        low, high = CONTINUUM_CLIP_SIGMA
        weight = (np.isfinite(flux) & (off > -low * sigma) & (off < high * sigma)).astype(float)
    return _divided(arrays, fit)


def without(arrays: dict[str, Array], variables: Sequence[str]) -> dict[str, Array]:
    """Every star without some variables: all their values are missing."""
    return arrays | {
        name: np.full_like(arrays[name], np.nan) for name in variables if name in arrays
    }


def _divided(arrays: dict[str, Array], level: Array) -> dict[str, Array]:
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.where(level > 0, level, np.nan)
        return arrays | {
            name: _as(arrays[name] / known, arrays[name]) for name in _FLUXES if name in arrays
        }


def _as(values: Array, like: Array) -> Array:
    return np.asarray(values, like.dtype)
