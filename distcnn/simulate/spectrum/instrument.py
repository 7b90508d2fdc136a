"""The spectrograph: photons and read noise on native pixels, resampling, continuum regimes.

Each transit crosses three CCD strips whose pixels fall at different phases. Noise is drawn on
native pixels, and all strips are interpolated linearly onto the release grid and averaged, so
neighbouring samples are correlated. On the grid of DR3 by 0.8 at one sample, 0.4 at two, 0.0 at
four; on one of 0.025 nm by 0.2. Errors estimated from such noise correlate as its square, 0.6
and 0.2 on the grid of DR3, as they do in its real spectra.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.schema import LIGHT_SPEED_KM_S, PLANCK_NM_K
from distcnn.simulate.grid import DR3_GRID, ReleaseGrid
from distcnn.simulate.spectrum.linelist import DIB
from distcnn.simulate.spectrum.synthesis import (
    CCDS,
    FINE_WAVELENGTH,
    NATIVE_STEP,
    native_matrices,
)

REGIME_SWITCH = 12.0
"""G_RVS above which only the median is set to one."""
SNR_SLOPE, SNR_CEILING = 0.794, 600.0
"""Per native pixel: P(S/N > s) = (s / smallest)^-0.794, so one third of DR3 lies below 25."""
DR3_MINIMUM_SNR = 15.0
"""Mean spectra of less are not published in DR3."""
DR3_TRANSITS, MAX_TRANSITS_PER_MEDIAN = 18, 60 / 18
"""Transits of the mean spectrum of DR3: their median, and the most over the median."""
ZERO_POINT_MAG = 21.317
"""G_RVS of a star that gives one photo-electron per second in the whole band."""
EXPOSURE_S, BAND_WIDTH_NM = 4.4167, 24.0
"""Time that a star takes to cross one CCD, and width of the band its light is spread over."""
BACKGROUND, READ_NOISE = 4.7, 3.2
"""Photo-electrons per CCD and native pixel: of the sky, per row of ten that are summed; and of
reading, once for the sum."""


@dataclass(frozen=True)
class Exposure:
    """What is known before the light falls. snr: per native pixel; grvs: mag; transits: count."""

    snr: np.ndarray
    grvs: np.ndarray
    transits: np.ndarray
    dark_share: np.ndarray
    """Share of the noise variance that does not come from the star's own photons."""

    def take(self, rows: np.ndarray) -> "Exposure":
        """Those of some stars."""
        return Exposure(*(values[rows] for values in vars(self).values()))


def draw_exposure(
    rng: np.random.Generator,
    stars: int,
    minimum_snr: float | np.ndarray = DR3_MINIMUM_SNR,
    median_transits: int = DR3_TRANSITS,
    snr_slope: float | np.ndarray = SNR_SLOPE,
) -> Exposure:
    """Signal to noise and transits by their distributions; G_RVS follows from the noise model.

    ``minimum_snr``, ``snr_slope`` : of all stars, or [N] of each.
    """
    top = 1 - (SNR_CEILING / minimum_snr) ** -snr_slope
    snr = minimum_snr * (1 - top * rng.random(stars)) ** (-1 / snr_slope)
    most = MAX_TRANSITS_PER_MEDIAN * median_transits
    drawn = np.round(median_transits * rng.lognormal(0.0, 0.5, stars))
    transits = np.clip(drawn, 3, most).astype(np.int64)
    spectra = CCDS * transits
    dark = BACKGROUND * spectra * 10.0 + READ_NOISE**2 * spectra
    # SNR = S / sqrt(S + dark), solved for the photons S of one native pixel.
    photons = (snr**2 + np.sqrt(snr**4 + 4 * snr**2 * dark)) / 2
    scale = EXPOSURE_S * spectra * NATIVE_STEP / BAND_WIDTH_NM
    grvs = ZERO_POINT_MAG - 2.5 * np.log10(photons / scale)
    return Exposure(snr, grvs, transits, dark / (photons + dark))


def residual_velocity(rng: np.random.Generator, grvs: np.ndarray) -> np.ndarray:
    """Error of the velocity that the archive shifted by, km/s: 1.3 at G_RVS 12, 6.4 at 14."""
    return velocity_error(grvs) * rng.standard_normal(grvs.size)


def velocity_error(grvs: np.ndarray) -> np.ndarray:
    """Standard error of that velocity, km/s."""
    return np.asarray(np.clip(1.3 * 10 ** (0.346 * (grvs - 12.0)), 0.12, 8.0))


def dark_share(grvs: np.ndarray) -> np.ndarray:
    """Share of the noise variance that is not the star's own photons; the same for any transits."""
    photons = EXPOSURE_S * NATIVE_STEP / BAND_WIDTH_NM * 10 ** (0.4 * (ZERO_POINT_MAG - grvs))
    dark = BACKGROUND * 10.0 + READ_NOISE**2
    return np.asarray(dark / (photons + dark))


def interstellar_band(
    ebv: np.ndarray, velocity: np.ndarray, dtype: type[np.floating]
) -> np.ndarray:
    """Transmission of the diffuse band at 862 nm, ``[N, fine]``; EW = 0.037 nm x E(B-V)."""
    sigma = 0.19
    centre = DIB * (1 + velocity / LIGHT_SPEED_KM_S)
    depth = 0.037 * ebv / (sigma * np.sqrt(2 * np.pi))
    offset = (FINE_WAVELENGTH.astype(dtype)[None, :] - centre[:, None].astype(dtype)) / dtype(sigma)
    result: np.ndarray = 1 - depth[:, None].astype(dtype) * np.exp(-0.5 * offset**2)
    return result


def slope(
    teff: np.ndarray, tilt: np.ndarray, dtype: type[np.floating], grid: ReleaseGrid
) -> np.ndarray:
    """Continuum before normalisation, ``[N, pixel]``: black body times a small unknown tilt."""
    hc = PLANCK_NM_K / 858.0
    gradient = (-5 + hc / teff / (1 - np.exp(-hc / teff))) * 24 / 858 + tilt
    phase = ((grid.wavelength - 858.0) / 24).astype(dtype)
    result: np.ndarray = 1 + gradient.astype(dtype)[:, None] * phase
    return result


def expose(
    rng: np.random.Generator, fine: np.ndarray, exposure: Exposure, grid: ReleaseGrid = DR3_GRID
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy (flux, flux_error) on a release grid, ``[N, pixel]``, continuum near 1.

    flux_error is what the archive gives: the scatter of the single spectra in each sample, so
    it is itself uncertain when the transits are few.
    """
    to_native, to_archive = native_matrices(fine.dtype.name, grid)
    ideal = to_native @ np.ascontiguousarray(fine.T)
    share = exposure.dark_share.astype(fine.dtype)
    sigma = (np.sqrt(CCDS) / exposure.snr).astype(fine.dtype)
    sigma = sigma * np.sqrt(np.maximum(ideal, 0.02) * (1 - share) + share)
    shape = ideal.shape
    noise = rng.standard_normal(shape[::-1], dtype=np.float32).T
    flux = to_archive @ (ideal + sigma * noise)
    # Interpolation between two native pixels leaves two thirds of the variance, on average.
    clean = np.ascontiguousarray((to_archive @ ideal).T)
    error = np.sqrt(np.maximum(clean, 0.02) * (1 - share)[:, None] + share[:, None])
    error *= (np.sqrt(2 / 3) / exposure.snr).astype(fine.dtype)[:, None]
    error *= _uncertainty(rng, exposure.transits, grid)
    return np.ascontiguousarray(flux.T), error


def _uncertainty(rng: np.random.Generator, transits: np.ndarray, grid: ReleaseGrid) -> np.ndarray:
    """Relative error of an error from few spectra; correlates as the square of the noise."""
    freedom = np.maximum(CCDS * transits - 1, 6)
    weights = grid.error_weights()
    edge = len(weights)
    white = rng.standard_normal((transits.size, grid.size + 2 * edge), dtype=np.float32)
    # A standard deviation from n values is uncertain by 1 / sqrt(2 (n - 1)), smoothed or not.
    total = 2 * (1 + 2 * sum(weight**2 for weight in weights))
    white *= (1 / np.sqrt(total * freedom)).astype(np.float32)[:, None]
    smooth = white[:, edge : edge + grid.size]
    for away, weight in enumerate(weights, start=1):
        left = white[:, edge - away : edge - away + grid.size]
        smooth = weight * (left + white[:, edge + away : edge + away + grid.size]) + smooth
    result: np.ndarray = np.maximum(1 + smooth, 0.25)
    return result


def normalise(
    flux: np.ndarray, error: np.ndarray, faint: np.ndarray, grid: ReleaseGrid = DR3_GRID
) -> None:
    """Divide by the continuum of the star's regime, in place. faint: bool ``[N]``.

    Faint: the median becomes one. Bright: a parabola through the pseudo-continuum, from which
    low samples are clipped asymmetrically; noise and line blanketing leave it below one.
    """
    scale = np.ones_like(flux)
    if faint.any():
        scale[faint] = np.median(flux[faint], axis=1, keepdims=True)
    if not faint.all():
        scale[~faint] = pseudo_continuum(flux[~faint], grid)
    flux /= scale
    error /= scale


def pseudo_continuum(
    flux: np.ndarray,
    grid: ReleaseGrid = DR3_GRID,
    *,
    low: float = 0.55,
    high: float = 10.0,
    rounds: int = 4,
) -> np.ndarray:
    """Parabola per star after ``rounds`` of clipping at [-low, +high] sigma, ``[N, pixel]``.

    ``low`` is chosen so that the medians of two real spectra come out: 0.988 at a S/N of 127
    and 0.951 at 21.
    """
    phase = ((grid.wavelength - 858.0) / 12.0).astype(flux.dtype)
    # One sample in 0.04 nm is enough for a parabola, and four times as fast on the grid of DR3.
    thinned = slice(None, None, grid.samples(0.04))
    thin, t = flux[:, thinned], phase[thinned]
    powers = np.stack([t**k for k in range(5)])
    weight = np.ones_like(thin)
    c = np.zeros((flux.shape[0], 3, 1), flux.dtype)
    for _ in range(rounds):
        moments = np.stack([(weight * p).sum(axis=1) for p in powers], axis=1).astype(np.float64)
        right = np.stack([(weight * thin * p).sum(axis=1) for p in powers[:3]], axis=1)
        matrix = moments[:, np.arange(3)[:, None] + np.arange(3)]
        c = np.linalg.solve(matrix, right.astype(np.float64)[..., None]).astype(flux.dtype)
        residual = thin - (c[:, 0] + c[:, 1] * t + c[:, 2] * t**2)
        sigma = np.sqrt((weight * residual**2).sum(axis=1) / weight.sum(axis=1))[:, None]
        weight = ((residual > -low * sigma) & (residual < high * sigma)).astype(flux.dtype)
    result: np.ndarray = c[:, 0] + c[:, 1] * phase + c[:, 2] * phase**2
    return result
