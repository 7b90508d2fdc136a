"""Stars of one archive file: who they are and what the other instruments measured of them."""

from dataclasses import dataclass

import numpy as np

from distcnn.config import SimulateConfig
from distcnn.schema import Trouble
from distcnn.simulate import photometry, populations, sky, trouble
from distcnn.simulate.instrument import Exposure, draw_exposure
from distcnn.simulate.linelist import ALPHA_ELEMENTS
from distcnn.simulate.lines import Labels
from distcnn.simulate.populations import Chemistry

BANDS = ("g", "bp", "rp")
PARALLAX_OFFSET = -0.03
"""Zero point of parallaxes, mas."""


@dataclass(frozen=True)
class Stars:
    """Truth and measurements of ``[N]`` stars; units in the names' comments of truth.parquet."""

    source_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    labels: Labels
    population: np.ndarray
    distance: np.ndarray
    ebv: np.ndarray
    vsini: np.ndarray
    exposure: Exposure
    has_spectrum: np.ndarray
    magnitude: dict[str, np.ndarray]
    magnitude_error: dict[str, np.ndarray]
    colour: np.ndarray
    parallax: np.ndarray
    parallax_error: np.ndarray
    struck: trouble.Struck

    def __len__(self) -> int:
        return self.source_id.size


def draw_stars(rng: np.random.Generator, where: sky.SkyRange, config: SimulateConfig) -> Stars:
    """All sources of one sky range; ``where.stars`` of them have a spectrum."""
    extra = int(round(config.spectrumless * where.stars))
    total = where.stars + extra
    source_id = sky.draw_identifiers(rng, where, total)
    ra, dec = sky.positions(rng, source_id)
    has_spectrum = np.ones(total, bool)
    has_spectrum[rng.choice(total, extra, replace=False)] = False
    exposure = draw_exposure(rng, total)
    struck = trouble.draw_trouble(rng, total, config.trouble)
    return _with_physics(rng, (source_id, ra, dec), has_spectrum, exposure, struck, config)


def _with_physics(
    rng: np.random.Generator,
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    has_spectrum: np.ndarray,
    exposure: Exposure,
    struck: trouble.Struck,
    config: SimulateConfig,
) -> Stars:
    source_id, ra, dec = place
    total = source_id.size
    longitude, latitude = sky.to_galactic(ra, dec)
    state = populations.draw_states(rng, total)
    dice = populations.draw_dice(rng, total)
    # A first guess at the distance with typical chemistry tells where in the Galaxy the star is.
    guess = np.full(total, -0.15)
    teff, logg = populations.kiel(dice, state, guess)
    mass = populations.draw_mass(rng, state, teff, np.zeros(total, int))
    dust = photometry.draw_patchiness(rng, total)
    distance = _luminosity(teff, logg, guess, mass, exposure.grvs, latitude, dust)[0]
    chemistry = populations.draw_chemistry(
        rng, *populations.galactic_place(longitude, latitude, distance)
    )
    teff, logg = populations.kiel(dice, state, chemistry.mh)
    trouble.heat(rng, teff, logg, struck[Trouble.HOT])
    mass = populations.draw_mass(rng, state, teff, chemistry.population)
    distance, ebv, truth = _luminosity(
        teff, logg, chemistry.feh, mass, exposure.grvs, latitude, dust
    )
    error = {band: photometry.magnitude_error(truth["g"], band) for band in BANDS}
    parallax_error = photometry.draw_parallax_error(rng, truth["g"])
    parallax, parallax_error = _astrometry(rng, distance, parallax_error, struck)
    return Stars(
        source_id=source_id,
        ra=ra,
        dec=dec,
        labels=_labels(rng, teff, logg, chemistry, config.element_scatter),
        population=chemistry.population,
        distance=distance,
        ebv=ebv,
        vsini=populations.draw_vsini(rng, teff, logg),
        exposure=exposure,
        has_spectrum=has_spectrum,
        magnitude={b: truth[b] + error[b] * rng.standard_normal(total) for b in BANDS},
        magnitude_error=error,
        colour=truth["bp"] - truth["rp"],
        parallax=parallax,
        parallax_error=parallax_error,
        struck=struck,
    )


def _luminosity(
    teff: np.ndarray,
    logg: np.ndarray,
    feh: np.ndarray,
    mass: np.ndarray,
    grvs: np.ndarray,
    latitude: np.ndarray,
    dust: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(distance [kpc], E(B-V), true magnitudes) that make the star as bright as ``grvs``."""
    bp_rp, g_rp = photometry.intrinsic_colours(teff, logg, feh)
    absolute = photometry.absolute_magnitude(teff, logg, mass)
    ebv = np.full(teff.size, 0.05)
    for _ in range(4):
        loss = {band: photometry.extinction(band, bp_rp, 3.1 * ebv) for band in BANDS}
        red = g_rp + loss["g"] - loss["rp"]
        g = grvs - photometry.grvs_minus_rp(red) + red
        distance = 10 ** (0.2 * (g - loss["g"] - absolute - 10.0))
        ebv = photometry.reddening(distance, latitude, dust)
    bp = g - red + bp_rp + loss["bp"] - loss["rp"]
    return distance, ebv, {"g": g, "bp": bp, "rp": g - red}


def _labels(
    rng: np.random.Generator,
    teff: np.ndarray,
    logg: np.ndarray,
    chemistry: Chemistry,
    scatter: float,
) -> Labels:
    names = (*ALPHA_ELEMENTS, "Ni", "Cr", "CN")
    elements = {name: scatter * rng.standard_normal(teff.size) for name in names}
    # First dredge-up: giants have burnt carbon, so their CN is not a plain measure of [M/H].
    elements["CN"] = 2.0 * elements["CN"] - 0.05 * np.clip(3.3 - logg, 0.0, 1.0)
    return Labels(teff, logg, chemistry.mh, chemistry.alpham, chemistry.feh, elements)


def _astrometry(
    rng: np.random.Generator, distance: np.ndarray, error: np.ndarray, struck: trouble.Struck
) -> tuple[np.ndarray, np.ndarray]:
    """(parallax, error) in mas, NaN where struck so; a negative one is a bad solution."""
    error = np.where(struck[Trouble.NEGATIVE_PARALLAX], rng.uniform(0.3, 1.5, error.size), error)
    parallax = 1 / distance + PARALLAX_OFFSET + error * rng.standard_normal(error.size)
    below = -error * rng.uniform(0.1, 2.0, error.size)
    parallax = np.where(struck[Trouble.NEGATIVE_PARALLAX], below, parallax)
    # Noise alone makes some distant stars negative: they are listed like the injected ones.
    struck[Trouble.NEGATIVE_PARALLAX] |= (parallax < 0) & ~struck[Trouble.NO_PARALLAX]
    missing = struck[Trouble.NO_PARALLAX]
    return np.where(missing, np.nan, parallax), np.where(missing, np.nan, error)
