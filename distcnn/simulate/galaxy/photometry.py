"""Magnitudes and parallaxes: colours from temperature, luminosity, dust, measurement errors.

Colour-temperature: Mucciarelli et al. (2021); bolometric correction: Andrae et al. (2018);
extinction: Danielski/Babusiaux et al. (2018); G_RVS: Sartoretti et al. (2023).
"""

import numpy as np

from distcnn.simulate.dust import layer_reddening

# b0 to b5 of theta = b0 + b1 C + b2 C^2 + b3 F + b4 F^2 + b5 F C: C the colour, F = [Fe/H].
DWARF_BP_RP = (0.4929, 0.5092, -0.0353, 0.0192, -0.0020, -0.0395)
GIANT_BP_RP = (0.5323, 0.4775, -0.0344, -0.0110, -0.0020, -0.0009)
DWARF_G_RP = (0.5050, 0.6532, 0.2284, 0.0260, -0.0011, -0.0726)
GIANT_G_RP = (0.5472, 0.5914, 0.2347, -0.0019, -0.0012, 0.0060)
# Bolometric correction as a polynomial in teff - 5772 K: from 4,000 K upwards, and below.
BC_WARM = (0.06, 6.731e-5, -6.647e-8, 2.859e-11, -7.197e-15)
BC_COOL = (1.749, 1.977e-3, 3.737e-7, -8.966e-11, -4.183e-14)
# c1 + c2 C + c3 C^2 + c4 C^3 + c5 A + c6 A^2 + c7 C A, with C = (BP-RP)_0 and A = A_0
EXTINCTION = {
    "g": (0.9761, -0.1704, 0.0086, 0.0011, -0.0438, 0.0013, 0.0099),
    "bp": (1.1517, -0.0871, -0.0333, 0.0173, -0.0230, 0.0006, 0.0043),
    "rp": (0.6104, -0.0170, -0.0026, -0.0017, -0.0078, 0.00005, 0.0006),
}
COLOUR_SCATTER = (0.028, 0.5, 0.008)
"""Scatter of real stars about the colour relations (60-80 K): BP-RP in mag, the share of it that
G-RP has, and what G-RP has on its own."""
DUST_DENSITY = 0.22
"""E(B-V) in the plane of the disc [mag/kpc]."""
SUN_TEFF, SUN_LOGG, SUN_MAGNITUDE = 5772.0, 4.438, 4.74
"""K; log10 of cm/s2; absolute bolometric magnitude."""


def _invert(coefficients: tuple[float, ...], theta: np.ndarray, feh: np.ndarray) -> np.ndarray:
    """Colour C that solves theta = b0 + b1 C + b2 C^2 + b3 F + b4 F^2 + b5 F C."""
    b0, b1, b2, b3, b4, b5 = coefficients
    linear = b1 + b5 * feh
    constant = b0 + b3 * feh + b4 * feh**2 - theta
    root = np.sqrt(np.maximum(linear**2 - 4 * b2 * constant, 0.0))
    return np.asarray(-2 * constant / (linear + root))


def intrinsic_colours(
    teff: np.ndarray, logg: np.ndarray, feh: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(BP-RP, G-RP) without dust, mag; dwarf and giant relations joined near logg 3.6."""
    theta, metal = 5040.0 / teff, np.clip(feh, -2.5, 0.5)
    giant = 1 / (1 + np.exp((logg - 3.6) / 0.12))
    bp_rp = (1 - giant) * _invert(DWARF_BP_RP, theta, metal) + giant * _invert(
        GIANT_BP_RP, theta, metal
    )
    g_rp = (1 - giant) * _invert(DWARF_G_RP, theta, metal) + giant * _invert(
        GIANT_G_RP, theta, metal
    )
    return bp_rp, g_rp


def draw_colour_offsets(rng: np.random.Generator, stars: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of single stars from the relations: (BP-RP, G-RP) in mag."""
    common, shared, own = COLOUR_SCATTER
    offset = common * rng.standard_normal(stars)
    return offset, shared * offset + own * rng.standard_normal(stars)


def absolute_magnitude(teff: np.ndarray, logg: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """M_G from teff [K], logg and mass [solar]."""
    offset = np.clip(teff, 3300.0, 8000.0) - SUN_TEFF
    warm = sum(c * offset**k for k, c in enumerate(BC_WARM))
    cool = sum(c * offset**k for k, c in enumerate(BC_COOL))
    correction = np.where(teff >= 4000, warm, cool)
    log_l = np.log10(mass) + 4 * np.log10(teff / SUN_TEFF) - (logg - SUN_LOGG)
    result: np.ndarray = SUN_MAGNITUDE - 2.5 * log_l - correction
    return result


def extinction(band: str, bp_rp: np.ndarray, a0: np.ndarray) -> np.ndarray:
    """Extinction in a band (mag) for intrinsic colour and A_0 (mag)."""
    c1, c2, c3, c4, c5, c6, c7 = EXTINCTION[band]
    c = np.clip(bp_rp, -0.3, 3.0)
    k = c1 + c2 * c + c3 * c**2 + c4 * c**3 + c5 * a0 + c6 * a0**2 + c7 * c * a0
    result: np.ndarray = k * a0
    return result


def grvs_minus_rp(g_rp: np.ndarray) -> np.ndarray:
    """G_RVS - RP as a polynomial of G - RP (mag)."""
    x = g_rp
    blue = -0.0397 - 0.2852 * x - 0.0330 * x**2 - 0.0867 * x**3
    red = -4.0618 + 10.0187 * x - 9.0532 * x**2 + 2.6089 * x**3
    return np.where(x <= 1.2, blue, red)


def draw_patchiness(rng: np.random.Generator, stars: int) -> np.ndarray:
    """How much more or less dust a line of sight has than the smooth layer, ``[N]``."""
    return rng.lognormal(-0.1, 0.45, stars)


def reddening(distance: np.ndarray, latitude: np.ndarray, patchiness: np.ndarray) -> np.ndarray:
    """E(B-V) in mag behind the dust of the disc; distance in kpc, latitude in degrees."""
    smooth = layer_reddening(distance, latitude, DUST_DENSITY)
    return np.asarray(np.clip(smooth * patchiness, 0.0, 1.5))


def magnitude_error(g: np.ndarray, band: str) -> np.ndarray:
    """Standard error of a mean magnitude (mag): a floor and photon noise."""
    floor, photon = {"g": (3e-4, 2e-4), "bp": (1.5e-3, 2e-3), "rp": (1.5e-3, 1.2e-3)}[band]
    return np.asarray(np.sqrt(floor**2 + (photon * 10 ** (0.2 * (g - 13.0))) ** 2))


def draw_parallax_error(rng: np.random.Generator, g: np.ndarray) -> np.ndarray:
    """Standard error of parallax in mas at G < 14: about 0.017, with scatter by scanning."""
    return np.asarray(typical_parallax_error(g) * rng.lognormal(0.1, 0.3, g.size))


def typical_parallax_error(g: np.ndarray) -> np.ndarray:
    """Standard error of parallax in mas without that scatter."""
    return np.asarray(0.015 + 0.002 * np.maximum(g - 12.5, 0))
