"""Textbook atmosphere: how many absorbers stand in front of how much continuum.

One layer, somewhat cooler than the effective temperature. Electron pressure grows with
gravity and metallicity to the power 1/3; the continuum is H- plus hydrogen in hot stars;
ionisation follows Saha.
(Gray, "The Observation and Analysis of Stellar Photospheres", ch. 8, 13 and 16.)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import wofz

SOLAR = (5772.0, 4.438, 0.0, 0.0, 0.0)
"""teff [K], logg, mh, alpham, feh of the Sun."""
LAYER = 0.90
"""Temperature of the layer where lines form, over the effective temperature."""
CORE_DEPTH = 0.75
"""Depth that a saturated metal line tends to (Minnaert's R_c)."""


@dataclass(frozen=True)
class Layer:
    """The line-forming layer of ``[N]`` stars.

    theta: 5040 K / T; log_pe: electron pressure in dyn/cm2; log_kappa: continuum opacity per
    hydrogen atom at 858 nm, cm2; log_damping: Voigt parameter of metal lines;
    turbulence: km/s.
    """

    theta: np.ndarray
    log_pe: np.ndarray
    log_kappa: np.ndarray
    log_damping: np.ndarray
    turbulence: np.ndarray


def line_forming_layer(teff: np.ndarray, logg: np.ndarray, mh: np.ndarray) -> Layer:
    """Line-forming layer for teff [K], logg [dex], mh [dex]."""
    theta = 5040.0 / (LAYER * teff)
    log_pe = (
        1.45
        + (logg - 4.438) / 3
        + np.clip(mh, -2.5, 0.6) / 3
        - 4.0 * (theta - 5040.0 / (LAYER * SOLAR[0]))
    )
    ten = np.log(10.0)
    h_minus = np.log(1.66e-26) + ten * (log_pe + 2.5 * np.log10(theta) + 0.754 * theta)
    hydrogen = np.log(1.6e-16) - ten * 12.75 * theta
    return Layer(
        theta=theta,
        log_pe=log_pe,
        log_kappa=np.logaddexp(h_minus, hydrogen) / ten,
        log_damping=-1.35 + 0.65 * (logg - 4.438) + 0.1 * mh,
        turbulence=np.clip(1.1 + 0.40 * (4.438 - logg) + 2e-4 * (teff - 5772.0), 0.8, 4.0),
    )


def log_ion_ratio(layer: Layer, ionisation: np.ndarray | float) -> np.ndarray:
    """log10 of (next stage / this stage) by Saha; ionisation in eV, broadcast against ``[N]``."""
    log_t = np.log10(5040.0 / layer.theta)
    ratio: np.ndarray = -ionisation * layer.theta + 2.5 * log_t + 0.02 - layer.log_pe
    return ratio


def log_neutral(layer: Layer, ionisation: np.ndarray | float) -> np.ndarray:
    """log10 of the neutral fraction."""
    ratio = log_ion_ratio(layer, ionisation)
    share: np.ndarray = -np.logaddexp(0.0, np.log(10.0) * ratio) / np.log(10.0)
    return share


_TAU = np.linspace(-5.0, 6.0, 221)
_DAMPING = np.linspace(-3.2, 0.6, 39)


@lru_cache(maxsize=1)
def _growth_table() -> np.ndarray:
    """log10 of EW / Doppler width on the grid (log damping, log tau0), Minnaert depth."""
    x = np.concatenate([np.linspace(0, 6, 241), np.geomspace(6.02, 3000, 220)])
    table = np.empty((_DAMPING.size, _TAU.size))
    for row, log_a in enumerate(_DAMPING):
        voigt = wofz(x + 1j * 10.0**log_a).real
        tau = 10.0 ** _TAU[:, None] * (voigt / voigt[0])
        depth = CORE_DEPTH * tau / (CORE_DEPTH + tau)
        table[row] = np.log10(2.0 * np.trapezoid(depth, x, axis=1))
    return table


def growth(log_tau: np.ndarray, log_damping: np.ndarray) -> np.ndarray:
    """Curve of growth: EW in Doppler widths for optical depth at line centre. ``[N, n]``.

    Bilinear between grid points; linear regime below, square-root regime above.
    """
    table = _growth_table()
    t = (log_tau - _TAU[0]) / (_TAU[1] - _TAU[0])
    d = (np.clip(log_damping, _DAMPING[0], _DAMPING[-1]) - _DAMPING[0]) / (
        _DAMPING[1] - _DAMPING[0]
    )
    ti = np.clip(t.astype(np.int32), 0, _TAU.size - 2)
    di = np.clip(d.astype(np.int32), 0, _DAMPING.size - 2)
    t, d = t - ti, np.broadcast_to(d - di, t.shape)
    flat = table.ravel()
    base = di * _TAU.size + ti
    low = flat[base] * (1 - t) + flat[base + 1] * t
    high = flat[base + _TAU.size] * (1 - t) + flat[base + _TAU.size + 1] * t
    width: np.ndarray = np.exp(np.log(10.0) * (low * (1 - d) + high * d))
    return width


def growth_inverse(width: np.ndarray, log_damping: float) -> np.ndarray:
    """Log tau0 that gives a width (in Doppler widths) at one damping."""
    curve = growth(_TAU[None, :], np.full((1, 1), log_damping))[0]
    return np.asarray(np.interp(np.log10(width), np.log10(curve), _TAU))
