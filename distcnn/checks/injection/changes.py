"""Changes that are put on inputs of stars: noise, velocity, resolution, continuum, dust.

Legend: N star, P pixel, K band. Fluxes have NaN where a pixel is missing; wavelengths are in nm.
"""

import math
from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.schema import LIGHT_SPEED_KM_S

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
MAX_CORRELATION = 0.7
"""Correlation of neighbours beyond which three pixels cannot imitate the noise."""
PIXELS_PER_COMPONENT = 40
"""One principal component per so many pixels is taken for what stars have in common."""
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
CONTINUUM_CLIP_SIGMA = (3.0, 10.0)
"""How far below and above the fit a pixel of the bright regime's continuum may lie."""
CONTINUUM_ROUNDS = 3


def noise_correlation(flux: Array) -> float:
    """Correlation of the noise in neighbouring pixels, from what spectra [N, P] do not share.

    What they share is their first principal components; too few spectra give 0.
    """
    count = flux.shape[1] // PIXELS_PER_COMPONENT
    if len(flux) < 100 or not count:
        return 0.0
    good = np.isfinite(flux)
    centred = np.where(good, flux - np.nanmedian(flux), 0.0)
    centred = np.where(good, centred - centred.mean(axis=0), 0.0)
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    noise = centred - (left[:, :count] * size[:count]) @ right[:count]
    both = good[:, 1:] & good[:, :-1]
    found = (noise[:, 1:] * noise[:, :-1])[both].mean() / max(noise[good].var(), 1e-30)
    return float(np.clip(found, 0.0, MAX_CORRELATION))


def correlated_noise(shape: tuple[int, int], rho: float, rng: np.random.Generator) -> Array:
    """Unit noise [N, P] whose neighbours have the correlation ``rho`` (0 to 0.7)."""
    white = rng.standard_normal(shape)
    if rho <= 0:
        return white
    # Through the kernel (a, 1, a) neighbours correlate by 2a / (1 + 2 a^2); solved for a.
    a = (1 - math.sqrt(1 - 2 * rho**2)) / (2 * rho)
    mixed = white.copy()
    mixed[:, 1:] += a * white[:, :-1]
    mixed[:, :-1] += a * white[:, 1:]
    return mixed / math.sqrt(1 + 2 * a**2)


def lower_snr(
    arrays: dict[str, Array], snr: float, rho: float, rng: np.random.Generator
) -> dict[str, Array]:
    """Stars whose spectra get the noise that brings them to ``snr`` per pixel.

    Their own noise is what ``flux_error`` says, or else the flux over the S/N. Variances add:
    noise that grows by r needs sqrt(r^2 - 1) of it on top. Brighter stars than that are expected.
    """
    flux, held = arrays["flux"].astype(float), arrays["snr"].astype(float)
    error = arrays.get("flux_error")
    own = np.abs(flux) / held[:, None] if error is None else error.astype(float)
    ratio = np.maximum(held / snr, 1.0)[:, None]
    added = own * np.sqrt(ratio**2 - 1) * correlated_noise(flux.shape, rho, rng)
    changed = {"flux": _as(flux + added, arrays["flux"]), "snr": _as(held / ratio[:, 0], held)}
    if error is not None:
        changed["flux_error"] = _as(own * ratio, error)
    return arrays | changed


def shift(arrays: dict[str, Array], wavelength: Array, velocity: float) -> dict[str, Array]:
    """Stars whose spectra are off by ``velocity`` [km/s], linearly interpolated."""
    at = wavelength / (1 + velocity / LIGHT_SPEED_KM_S)
    moved = np.stack([np.interp(at, wavelength, row) for row in arrays["flux"].astype(float)])
    return arrays | {"flux": _as(moved, arrays["flux"])}


def broaden(arrays: dict[str, Array], wavelength: Array, fwhm: float) -> dict[str, Array]:
    """Stars whose lines are wider by a Gaussian of ``fwhm`` [km/s]; missing pixels stay missing."""
    if fwhm <= 0:
        return arrays
    pixel = float(np.median(np.diff(np.log(wavelength)))) * LIGHT_SPEED_KM_S
    sigma = fwhm / FWHM_PER_SIGMA / pixel
    reach = max(1, math.ceil(4 * sigma))
    # Integrals over pixels, for a narrow kernel lies within one.
    edge = np.arange(-reach, reach + 2) - 0.5
    kernel = np.diff([math.erf(x / (sigma * math.sqrt(2))) for x in edge])
    kernel /= kernel.sum()
    flux = arrays["flux"].astype(float)
    good = np.isfinite(flux)
    filled = np.pad(np.where(good, flux, 0.0), ((0, 0), (reach, reach)), mode="edge")
    weight = np.pad(good.astype(float), ((0, 0), (reach, reach)), mode="edge")
    smooth = [np.apply_along_axis(np.convolve, 1, one, kernel, "valid") for one in (filled, weight)]
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = np.where(good, smooth[0] / smooth[1], np.nan)
    return arrays | {"flux": _as(wide, arrays["flux"])}


def faint_regime(arrays: dict[str, Array]) -> dict[str, Array]:
    """Stars normalised as Gaia normalises faint ones (G_RVS > 12): divided by their median."""
    return _divided(arrays, np.nanmedian(arrays["flux"].astype(float), axis=1, keepdims=True))


def bright_regime(arrays: dict[str, Array]) -> dict[str, Array]:
    """Stars normalised as bright ones: divided by a clipped parabola through their spectrum.

    Pixels more than 3 sigma below or 10 above the fit are left out of it (Gaia DR3 documentation,
    section 6.4.7). Lines pull it down, so that the level of the result is not that of the other.
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


def redden(
    arrays: dict[str, Array], ebv: float, *, bands: Sequence[str], wavelength: Array | None
) -> dict[str, Array]:
    """Stars behind more dust: fainter in bands that are known, with the diffuse band of it.

    XP coefficients stay as they are: their bases are the instrument's, not wavelengths.
    """
    changed = {}
    if "photometry" in arrays and bands:
        loss = np.array([EXTINCTION_PER_EBV.get(_band(name), 0.0) for name in bands])
        changed["photometry"] = _as(arrays["photometry"] + ebv * loss, arrays["photometry"])
    if "flux" in arrays and wavelength is not None:
        depth = ebv * DIFFUSE_BAND_NM_PER_MAG / (DIFFUSE_BAND_WIDTH_NM * math.sqrt(2 * math.pi))
        profile = np.exp(-0.5 * ((wavelength - DIFFUSE_BAND_NM) / DIFFUSE_BAND_WIDTH_NM) ** 2)
        changed["flux"] = _as(arrays["flux"] * (1 - depth * profile), arrays["flux"])
    return arrays | changed


def _band(name: str) -> str:
    """``phot_bp_mean_mag``, ``BP`` and ``bp`` are one band."""
    parts = [part for part in name.lower().replace("phot_", "").split("_") if part]
    return parts[0] if parts else name


def _divided(arrays: dict[str, Array], level: Array) -> dict[str, Array]:
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.where(level > 0, level, np.nan)
        return arrays | {
            name: _as(arrays[name] / known, arrays[name])
            for name in ("flux", "flux_error")
            if name in arrays
        }


def _as(values: Array, like: Array) -> Array:
    return np.asarray(values, like.dtype)
