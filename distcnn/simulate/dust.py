"""Dust on the way to a star: what it does to magnitudes, the diffuse band and simulated XP.

Legend: N star, P pixel, K band, C XP coefficient. Wavelengths are in nm, in vacuum.
"""

import math
from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.simulate.spectrum import xp

DIFFUSE_BAND_NM = 862.32
"""Rest wavelength of the diffuse interstellar band in vacuum (Gaia Collaboration,
Schultheis et al. 2023, A&A 674, A40)."""
DIFFUSE_BAND_WIDTH_NM = 0.186
"""Its standard deviation: 4.4 Angstrom of full width at half maximum."""
DIFFUSE_BAND_NM_PER_MAG = 0.037
"""Its equivalent width per magnitude of E(B-V): E(B-V) = 2.72 EW / Angstrom (Munari et al. 2008,
A&A 488, 969)."""
EXTINCTION_PER_EBV = {
    "g": 2.446,
    "bp": 3.106,
    "rp": 1.826,
    "j": 0.753,
    "h": 0.406,
    "k": 0.242,
    "ks": 0.242,
    "w1": 0.121,
    "w2": 0.081,
}
"""A_band / E(B-V) for R_V = 3.1 (Wang & Chen 2019, ApJ 877, 116, table 3)."""


LAYER_HEIGHT_KPC = 0.125
"""Scale height of the dust of the disc (Marshall et al. 2006, A&A 453, 635)."""


def layer_reddening(distance: Array, latitude: Array, density: float) -> Array:
    """E(B-V) [mag] of an exponential layer around the Sun's place, [N] (Parenago 1940).

    Parameters
    ----------
    distance : [N] kpc. latitude : [N] galactic, degrees.
    density : E(B-V) in the plane [mag/kpc].
    """
    sine = np.maximum(np.abs(np.sin(np.deg2rad(latitude))), 1e-3)
    column = density * LAYER_HEIGHT_KPC / sine * (1 - np.exp(-distance * sine / LAYER_HEIGHT_KPC))
    return np.asarray(column)


def redden(
    arrays: dict[str, Array], ebv: float | Array, *, bands: Sequence[str], wavelength: Array | None
) -> dict[str, Array]:
    """Stars behind more dust: fainter in bands that are known, with the diffuse band of it.

    XP coefficients stay as they are; see ``redden_xp``.

    Parameters
    ----------
    ebv : E(B-V) [mag] of all stars, or of each [N].
    """
    changed, each = {}, np.reshape(ebv, (-1, 1))
    if "photometry" in arrays and bands:
        loss = np.array([extinction_per_ebv(name) for name in bands])
        changed["photometry"] = _as(arrays["photometry"] + each * loss, arrays["photometry"])
    if "flux" in arrays and wavelength is not None:
        depth = each * DIFFUSE_BAND_NM_PER_MAG / (DIFFUSE_BAND_WIDTH_NM * math.sqrt(2 * math.pi))
        profile = np.exp(-0.5 * ((wavelength - DIFFUSE_BAND_NM) / DIFFUSE_BAND_WIDTH_NM) ** 2)
        changed["flux"] = _as(arrays["flux"] * (1 - depth * profile), arrays["flux"])
    return arrays | changed


def redden_xp(arrays: dict[str, Array], ebv: float | Array) -> dict[str, Array]:
    """Stars of a simulated survey whose XP coefficients (BP, then RP) show as much more dust.

    Only of those is known what wavelengths the coefficients are of. ``ebv`` as for ``redden``.
    """
    value, changed = arrays["xp"].astype(float), {}
    each = np.reshape(ebv, (-1, 1))
    size = xp.COEFFICIENTS
    parts = [(band, slice(n * size, (n + 1) * size)) for n, band in enumerate(("bp", "rp"))]
    losses = {band: EXTINCTION_PER_EBV[band] * each for band, _ in parts}
    out = [xp.redden(band, value[:, at], each, losses[band]) for band, at in parts]
    changed["xp"] = _as(np.concatenate(out, axis=1), arrays["xp"])
    if "xp_error" in arrays:
        # Of photon noise.
        fainter = [10 ** (-0.2 * loss) for loss in losses.values()]
        scale = np.repeat(np.concatenate(fainter, axis=1), size, axis=1)
        changed["xp_error"] = _as(arrays["xp_error"] * scale, arrays["xp_error"])
    return arrays | changed


def extinction_per_ebv(band: str) -> float:
    """A / E(B-V) of a band; 0 of one that is not known."""
    return EXTINCTION_PER_EBV.get(_band(band), 0.0)


def _band(name: str) -> str:
    """``phot_bp_mean_mag``, ``BP`` and ``bp`` are one band."""
    parts = [part for part in name.lower().replace("phot_", "").split("_") if part]
    return parts[0] if parts else name


def _as(values: Array, like: Array) -> Array:
    return np.asarray(values, like.dtype)
