"""Noiseless spectra: lines on a fine grid, broadened in Fourier space, sampled as the archive does.

No BLAS is used here: sums of sparse products and FFTs come out the same to the last bit
whatever the number of threads, and so do the files.
"""

from functools import lru_cache

import numpy as np
from scipy import fft, sparse, special

from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.simulate.grid import DR3_GRID, ReleaseGrid
from distcnn.simulate.spectrum.linelist import (
    CALCIUM_LOG_GF,
    CALCIUM_TRIPLET,
    PASCHEN,
    PASCHEN_STRENGTH,
    line_list,
)
from distcnn.simulate.spectrum.lines import (
    TrueLabels,
    calcium_wings,
    equivalent_widths,
    paschen_depth,
)

STEP = 0.01
"""Step of the grid of synthesis, nm."""
FINE_WAVELENGTH = 846.0 + STEP * (np.arange(2592) - 96)
"""Grid of synthesis, vacuum nm. Its length suits the FFT, whose ends touch: so there is one
nanometre more at either end than any release grid may have."""
CENTRE = 858.0
"""Middle of the band, nm, where a velocity is turned into a shift."""
LSF_SIGMA = CENTRE / 11_500 / 2.3548
"""Gaussian line spread at R = 11,500, nm."""
INTRINSIC_SIGMA = 0.012
"""Width of a metal line before the instrument, turbulence included, nm."""
NATIVE_STEP = 0.02453
"""Native pixel, nm."""
LABEL_STEPS = (5.0, 0.02, 0.01, 0.01, 0.01)
"""Steps of numerical derivatives by ``DEFAULT_LABELS``: K, then dex."""
CCDS = 3
"""CCD strips per transit; their pixels fall at different phases."""

SATURATION = 1.3
"""Depth, before the instrument, that blended lines cannot exceed."""
CALCIUM_WIDTH = 0.117
"""Half width at half depth of Ca II 854.4 in the Sun, nm."""
CALCIUM_POWER = 1.4
"""Fall of the wings: depth goes as distance to this power."""


@lru_cache(maxsize=2)
def _line_profiles(dtype: str) -> sparse.csr_array:
    """Area-normalised profiles of all neutral lines on the fine grid, ``[fine, n]``."""
    centres = line_list().wavelength
    first = np.floor((centres - FINE_WAVELENGTH[0]) / STEP).astype(int) - 7
    pixel = first[:, None] + np.arange(16)
    inside = (pixel >= 0) & (pixel < FINE_WAVELENGTH.size)
    offset = FINE_WAVELENGTH[np.clip(pixel, 0, FINE_WAVELENGTH.size - 1)] - centres[:, None]
    value = np.exp(-0.5 * (offset / INTRINSIC_SIGMA) ** 2)
    value /= INTRINSIC_SIGMA * np.sqrt(2 * np.pi)
    line = np.broadcast_to(np.arange(centres.size)[:, None], pixel.shape)
    shape = (FINE_WAVELENGTH.size, centres.size)
    return sparse.csr_array((value[inside].astype(dtype), (pixel[inside], line[inside])), shape)


def _calcium(labels: TrueLabels, dtype: type[np.floating]) -> np.ndarray:
    """Transmission of the Ca II triplet, ``[N, fine]``."""
    wings = calcium_wings(labels)
    giant = np.clip(4.438 - labels.logg, 0.0, 4.0)
    # Cores are darker in giants and cool stars, whose upper layers emit less.
    depth = 0.715 + 0.018 * giant + 4e-5 * np.clip(5600.0 - labels.teff, -3000.0, 2000.0)
    depth = np.clip(depth, 0.0, 0.83)[:, None].astype(dtype)
    transmission = np.ones((labels.teff.size, FINE_WAVELENGTH.size), dtype)
    for centre, log_gf in zip(CALCIUM_TRIPLET, CALCIUM_LOG_GF, strict=True):
        strength = 10.0 ** (0.5 * (log_gf - CALCIUM_LOG_GF[1]))
        width = (CALCIUM_WIDTH * strength * wings)[:, None]
        distance = np.abs(FINE_WAVELENGTH - centre)[None, :]
        ratio = (np.maximum(distance, 1e-6).astype(dtype) / width.astype(dtype)) ** dtype(
            CALCIUM_POWER
        )
        transmission *= 1 - depth / (1 + ratio)
    return transmission


def _paschen(labels: TrueLabels, transmission: np.ndarray) -> None:
    """Multiply the Paschen lines in, where the star is hot enough to show them."""
    depth = paschen_depth(labels)
    seen = np.flatnonzero(depth > 1e-4)
    width = (0.35 * 10.0 ** (0.15 * (labels.logg[seen] - 4.0)))[:, None]
    for centre, strength in zip(PASCHEN, PASCHEN_STRENGTH, strict=True):
        tau = (strength * depth[seen])[:, None] / (1 + ((FINE_WAVELENGTH - centre) / width) ** 2)
        transmission[seen] *= (1 - 0.5 * tau / (0.5 + tau)).astype(transmission.dtype)


def intrinsic(labels: TrueLabels, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Spectrum before rotation and instrument over a continuum of 1, ``[N, fine]``."""
    widths = np.ascontiguousarray(equivalent_widths(labels).T.astype(dtype))
    metals = _line_profiles(np.dtype(dtype).name) @ widths
    transmission = _calcium(labels, dtype)
    _paschen(labels, transmission)
    # Blends saturate, and inside a strong line little light is left for a metal line to take.
    metals /= np.sqrt(np.sqrt(1 + (metals / dtype(SATURATION)) ** 4))
    transmission *= 1 - metals.T * transmission
    return transmission


def broaden(flux: np.ndarray, vsini: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Rotation (km/s), line spread and velocity shift (km/s) in one Fourier product."""
    real = flux.dtype
    frequency = fft.rfftfreq(FINE_WAVELENGTH.size, STEP)
    keep = int(np.searchsorted(frequency, 0.9 / LSF_SIGMA))  # the rest is below 1e-6
    frequency = frequency[:keep]
    spectrum = fft.rfft(1 - flux, axis=1)
    x = (2 * np.pi * CENTRE / LIGHT_SPEED_KM_S * np.maximum(vsini, 0.3))[:, None] * frequency
    kernel = _rotation(x.astype(real)) * np.exp(-2 * (np.pi * LSF_SIGMA * frequency) ** 2).astype(
        real
    )
    phase = (-2 * np.pi * CENTRE / LIGHT_SPEED_KM_S * shift)[:, None] * frequency
    spectrum[:, :keep] *= kernel * np.exp(1j * phase.astype(real))
    spectrum[:, keep:] = 0
    broadened: np.ndarray = 1 - fft.irfft(spectrum, n=FINE_WAVELENGTH.size, axis=1)
    return broadened


def _rotation(x: np.ndarray, limb: float = 0.6) -> np.ndarray:
    """Fourier transform of the rotation profile with linear limb darkening (Gray, ch. 18)."""
    x = np.maximum(x, x.dtype.type(0.02))
    disc = 2 * special.j1(x) / x
    sphere = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    kernel: np.ndarray = ((1 - limb) * disc + 2 * limb / 3 * sphere) / (1 - limb / 3)
    return kernel


def _linear(source: np.ndarray, target: np.ndarray) -> sparse.csr_array:
    """Linear interpolation from one regular grid to another as a matrix."""
    position = (target - source[0]) / (source[1] - source[0])
    left = np.clip(np.floor(position + 1e-9).astype(int), 0, source.size - 2)
    weight = position - left
    rows = np.arange(target.size)
    return sparse.csr_array(
        (
            np.concatenate([1 - weight, weight]),
            (np.concatenate([rows, rows]), np.concatenate([left, left + 1])),
        ),
        (target.size, source.size),
    )


def native_pixels(grid: ReleaseGrid) -> int:
    """Detector pixels of one CCD that a release grid is made from; the phases need three more."""
    return int(np.ceil((grid.stop - grid.start) / NATIVE_STEP)) + 3


@lru_cache(maxsize=4)
def native_matrices(dtype: str, grid: ReleaseGrid) -> tuple[sparse.csr_array, sparse.csr_array]:
    """(fine grid -> native pixels of the three CCDs, those -> release grid, averaged)."""
    to_native, to_archive = [], []
    for ccd in range(CCDS):
        start = grid.start - NATIVE_STEP * (0.2 + (2 - ccd) / CCDS)
        native = start + NATIVE_STEP * np.arange(native_pixels(grid))
        to_native.append(_linear(FINE_WAVELENGTH, native))
        to_archive.append(_linear(native, grid.wavelength) / CCDS)
    return (
        sparse.csr_array(sparse.vstack(to_native).astype(dtype)),
        sparse.csr_array(sparse.hstack(to_archive).astype(dtype)),
    )


def noiseless(
    values: np.ndarray,
    *,
    vsini: float = 4.0,
    dtype: type[np.floating] = np.float64,
    grid: ReleaseGrid = DR3_GRID,
) -> np.ndarray:
    """Ideal spectra over a continuum of 1 on a release grid.

    Parameters
    ----------
    values : ``[N, 5]`` teff [K], logg, mh, alpham, feh [dex].
    vsini : projected rotation, km/s.

    Returns
    -------
    ``[N, grid.size]`` flux, smooth in the labels, so derivatives may be taken numerically.
    """
    labels = TrueLabels.of(values)
    ones = np.ones(labels.teff.size)
    fine = broaden(intrinsic(labels, dtype), vsini * ones, 0 * ones)
    to_native, to_archive = native_matrices(np.dtype(dtype).name, grid)
    flux: np.ndarray = to_archive @ (to_native @ fine.T)
    return np.ascontiguousarray(flux.T)


def jacobian(
    values: np.ndarray,
    *,
    vsini: float = 4.0,
    steps: tuple[float, ...] = LABEL_STEPS,
    grid: ReleaseGrid = DR3_GRID,
) -> np.ndarray:
    """Derivatives of flux by label, central differences, ``[N, 5, grid.size]``, 1/K and 1/dex."""
    values = np.asarray(values, dtype=np.float64).reshape(-1, len(steps))
    slopes = []
    for column, step in enumerate(steps):
        moved = np.zeros(len(steps))
        moved[column] = step
        up = noiseless(values + moved, vsini=vsini, grid=grid)
        down = noiseless(values - moved, vsini=vsini, grid=grid)
        slopes.append((up - down) / (2 * step))
    return np.stack(slopes, axis=1)
