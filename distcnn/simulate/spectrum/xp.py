"""XP coefficients: a low-resolution energy distribution projected on Hermite functions.

Black body times metal blanketing, a few broad features, dust and response, dispersed to
pseudo-wavelength, projected on 55 Hermite functions per band and rotated so that the typical
star lies almost wholly in the first coefficients. Every band carries a few tenths of a per
cent to a few per cent of colour-dependent wiggles that no label explains.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from distcnn.schema import PLANCK_NM_K

COEFFICIENTS = 55
"""Of one band, as in DR3."""
# Argument of the Hermite functions at pseudo-wavelengths 0 and 59.
HERMITE_RANGE = {"bp": (-9.800, 9.467), "rp": (-9.933, 9.600)}
WAVELENGTH_RANGE_NM = {"bp": (330.0, 680.0), "rp": (630.0, 1050.0)}
PSEUDO_SAMPLES = 120
PSEUDO_WAVELENGTH = np.linspace(0.0, 59.0, PSEUDO_SAMPLES)
"""Places along the dispersion that light is computed at, in detector pixels of XP."""
LINE_SPREAD = {"bp": 1.5, "rp": 1.3}
"""Width (sigma) of the line spread in pseudo-wavelength units (about R = 30 to 90)."""
ZERO_MAGNITUDE_COEFFICIENT = 3.0e9
"""First coefficient of a star of magnitude zero."""
PHOTON_NOISE = 0.042
"""Standard error of a coefficient over the root of the first one, as in DR3 spectra."""

# centre [nm], sigma [nm], depth at solar labels, power of theta, per dex mh, alpham, logg
ABSORPTION_FEATURES = (
    (393.5, 5.0, 0.50, 1.5, 0.25, 0.25, 0.00),  # Ca II H and K
    (430.5, 4.0, 0.22, 2.0, 0.30, 0.00, -0.02),  # CH G band
    (485.0, 12.0, 0.06, 1.0, 0.35, 0.00, 0.00),  # iron blend
    (517.5, 6.0, 0.16, 3.0, 0.25, 0.30, 0.10),  # Mg b and MgH
    (527.0, 4.0, 0.07, 2.0, 0.35, 0.00, 0.00),  # iron
    (589.4, 2.5, 0.08, 3.5, 0.30, 0.00, 0.07),  # Na D
    (854.5, 9.0, 0.06, 0.8, 0.20, 0.20, -0.04),  # Ca II triplet
    (920.0, 18.0, 0.03, 3.0, 0.40, 0.00, -0.06),  # CN
)
TITANIUM_OXIDE = ((617.0, 9.0), (671.0, 12.0), (710.0, 14.0), (765.0, 16.0), (850.0, 12.0))
TYPICAL_STARS = (
    (4800.0, 2.5, -0.1, 0.05, 0.10),
    (5800.0, 4.3, 0.0, 0.05, 0.03),
    (4200.0, 1.5, -0.4, 0.10, 0.20),
    (6800.0, 4.2, 0.0, 0.00, 0.05),
    (5000.0, 2.2, -1.5, 0.25, 0.10),
)
"""Stars that the first rotated coefficients describe: teff, logg, mh, alpham, E(B-V)."""
BALMER = ((434.1, 4.0), (486.1, 4.5), (656.3, 4.0))


@dataclass(frozen=True)
class BandCoefficients:
    """One band: values and errors ``[N, 55]``, in photo-electrons per second."""

    value: np.ndarray
    error: np.ndarray


def wavelengths(band: str) -> np.ndarray:
    """Wavelength in nm of each pseudo-wavelength sample; the prisms disperse the blue more."""
    blue, red = WAVELENGTH_RANGE_NM[band]
    share = PSEUDO_WAVELENGTH / 59.0
    inverse = (1 - share) / blue**1.5 + share / red**1.5
    return np.asarray(inverse ** (-1 / 1.5))


def _hermite(band: str) -> np.ndarray:
    """Orthonormal Hermite functions at the samples, ``[55, sample]``."""
    low, high = HERMITE_RANGE[band]
    x = low + (high - low) * PSEUDO_WAVELENGTH / 59.0
    rows = [np.pi**-0.25 * np.exp(-(x**2) / 2)]
    rows.append(np.sqrt(2.0) * x * rows[0])
    for n in range(1, COEFFICIENTS - 1):
        rows.append(np.sqrt(2 / (n + 1)) * x * rows[n] - np.sqrt(n / (n + 1)) * rows[n - 1])
    return np.asarray(np.stack(rows) * np.sqrt((high - low) / PSEUDO_SAMPLES))


def photon_distribution(band: str, truth: np.ndarray) -> np.ndarray:
    """Photon distribution at the samples, ``[N, sample]``, arbitrary scale.

    truth: ``[5, N]`` teff [K], logg, mh, alpham [dex], E(B-V) [mag].
    """
    wave = wavelengths(band)[None, :]
    t, g, m, a, e = np.asarray(truth, dtype=np.float64)[:, :, None]
    theta = 5040.0 / t
    light = wave**-4.0 / np.expm1(PLANCK_NM_K / (wave * t))
    blanket = 0.55 * 10 ** (0.35 * np.clip(m, -2.5, 0.5)) * theta**1.5
    tau = blanket * np.exp(-(wave - 330.0) / 75.0)
    for centre, sigma, depth, power, per_m, per_a, per_g in ABSORPTION_FEATURES:
        log_strength = per_m * np.clip(m, -2.5, 0.6) + per_a * a + per_g * (g - 4.44)
        strength = depth * (theta / 0.873) ** power * 10**log_strength
        tau = tau + strength * np.exp(-0.5 * ((wave - centre) / sigma) ** 2)
    for centre, sigma in TITANIUM_OXIDE:
        strength = 0.6 * np.clip((4000.0 - t) / 500.0, 0.0, 2.0) * 10 ** (0.3 * (m + a))
        tau = tau + strength * np.exp(-0.5 * ((wave - centre) / sigma) ** 2)
    balmer = 0.35 * np.exp(-(((t - 9500.0) / 2600.0) ** 2))
    for centre, sigma in BALMER:
        tau = tau + balmer * np.exp(-0.5 * ((wave - centre) / sigma) ** 2)
    return np.asarray(light * np.exp(-tau - _dust(wave, e)))


def _dust(wave: np.ndarray, ebv: np.ndarray | float) -> np.ndarray:
    """Optical depth of dust at wavelengths [nm]."""
    return np.asarray(0.921 * 3.1 * ebv * (wave / 550.0) ** -1.35)


def redden(
    band: str, value: np.ndarray, ebv: float | np.ndarray, loss: float | np.ndarray
) -> np.ndarray:
    """Coefficients ``[N, 55]`` behind more dust of ``ebv`` [mag], fainter by ``loss`` [mag], both
    of all stars or ``[N, 1]``.

    Multiplied along the dispersion, where dust is smooth over the line spread: for 0.1 mag that is
    within half a standard error of a star of G = 12 whose light was reddened before it was seen.
    """
    basis = _basis(band)
    light = value @ np.linalg.pinv(basis).T
    dimmed = light * np.exp(-_dust(wavelengths(band), ebv))
    share = light.sum(axis=1, keepdims=True) / dimmed.sum(axis=1, keepdims=True)
    return np.asarray((dimmed @ basis.T) * share * 10 ** (-0.4 * np.asarray(loss)))


@lru_cache(maxsize=2)
def projection(band: str) -> np.ndarray:
    """Response, line spread, Hermite functions and rotation in one matrix, ``[55, sample]``."""
    smoothed = _smoothed(band)
    return np.asarray(np.einsum("kh,hs->ks", _rotation(_typical(band, smoothed)), smoothed))


@lru_cache(maxsize=2)
def _basis(band: str) -> np.ndarray:
    """The rotated Hermite functions at the samples, ``[55, sample]``."""
    return np.asarray(_rotation(_typical(band, _smoothed(band))) @ _hermite(band))


def _smoothed(band: str) -> np.ndarray:
    """Response, line spread and Hermite functions, ``[55, sample]``."""
    distance = PSEUDO_WAVELENGTH[:, None] - PSEUDO_WAVELENGTH[None, :]
    spread = np.exp(-0.5 * (distance / LINE_SPREAD[band]) ** 2)
    spread /= spread.sum(axis=0, keepdims=True)
    edge = np.exp(-(np.abs((PSEUDO_WAVELENGTH - 29.5) / 27.0) ** 8))
    return np.asarray(np.einsum("hs,st->ht", _hermite(band), spread * edge[None, :]))


def _typical(band: str, smoothed: np.ndarray) -> np.ndarray:
    """Coefficients of the typical stars before rotation, ``[5, 55]``."""
    typical = photon_distribution(band, np.array(TYPICAL_STARS).T)
    typical /= typical.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("hs,ns->nh", smoothed, typical))


def _rotation(typical: np.ndarray) -> np.ndarray:
    """Orthonormal basis that begins with the typical stars and ends with what is left of unity."""
    basis: list[np.ndarray] = []
    for vector in [*typical, *np.eye(COEFFICIENTS)]:
        left = vector / np.sqrt((vector**2).sum())
        for _ in range(2):  # once more, against rounding
            for known in basis:
                left = left - known * (known * left).sum()
        length = np.sqrt((left**2).sum())
        if length > 1e-3 and len(basis) < COEFFICIENTS:
            basis.append(left / length)
    return np.stack(basis)


WIGGLE_PERIODS, PHASE_SPREAD, SIZE_SPREAD = (17.0, 9.0, 5.5), 0.9, 0.3
"""Periods of the wiggles along pseudo-wavelength; spread of their phases [rad] and of the
logarithm of their size."""


def _wiggles(
    rng: np.random.Generator, band: str, colour: np.ndarray, amplitude: float
) -> np.ndarray:
    """Relative systematic, ``[N, sample]``: periodic, its phase turned by colour and by chance."""
    total = np.zeros((colour.size, PSEUDO_SAMPLES))
    for k, period in enumerate(WIGGLE_PERIODS):
        random = rng.normal(0.0, PHASE_SPREAD, colour.size)
        phase = 1.7 * k + (2.0 + k) * colour + random + (band == "rp")
        size = amplitude / (k + 1) * rng.lognormal(0.0, SIZE_SPREAD, colour.size)
        total += size[:, None] * np.sin(2 * np.pi * PSEUDO_WAVELENGTH / period + phase[:, None])
    return total


def wiggle_waves() -> np.ndarray:
    """Sine and cosine of every period, ``[6, sample]``."""
    angles = [2 * np.pi * PSEUDO_WAVELENGTH / period for period in WIGGLE_PERIODS]
    return np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)])


def wiggle_spread() -> list[float]:
    """Spread of those waves in units of the amplitude: what chance leaves about the mean phase.

    Averaged over the mean phase, which colour turns about.
    """
    mean = np.exp(-0.5 * PHASE_SPREAD**2 + 0.5 * SIZE_SPREAD**2)
    left = 0.5 * (np.exp(2 * SIZE_SPREAD**2) - mean**2)
    return [float(np.sqrt(left)) / (k + 1) for k in range(len(WIGGLE_PERIODS)) for _ in range(2)]


def draw_coefficients(
    rng: np.random.Generator,
    band: str,
    truth: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray],
    amplitude: float,
) -> BandCoefficients:
    """Observed coefficients of one band.

    Parameters
    ----------
    truth : ``[5, N]`` as for ``photon_distribution``.
    seen : apparent magnitude in the band and BP-RP, mag.
    amplitude : relative size of the systematic wiggles.
    """
    magnitude, colour = seen
    light = photon_distribution(band, truth)
    light /= light.sum(axis=1, keepdims=True)
    light *= 1 + _wiggles(rng, band, colour, amplitude)
    shape = np.einsum("ns,ks->nk", light, projection(band), optimize=False)
    total = ZERO_MAGNITUDE_COEFFICIENT * 10 ** (-0.4 * magnitude)
    value = shape * (total / 0.25)[:, None]
    error = typical_error(np.abs(value[:, :1]))
    error = error * rng.lognormal(0.0, 0.15, error.shape)
    return BandCoefficients(value + error * rng.standard_normal(error.shape), error)


def typical_error(first: np.ndarray) -> np.ndarray:
    """Standard errors ``[N, 55]`` of the coefficients, from the first one ``[N, 1]``."""
    order = 1.0 - 0.5 * np.arange(COEFFICIENTS) / COEFFICIENTS
    return np.asarray(np.sqrt((PHOTON_NOISE * np.sqrt(first)) ** 2 + (1.5e-4 * first) ** 2) * order)
