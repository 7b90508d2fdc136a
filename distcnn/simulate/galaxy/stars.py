"""Stars of one archive file: who they are and what the other instruments measured of them."""

from dataclasses import dataclass

import numpy as np

from distcnn.config import SimulateConfig
from distcnn.schema import Defect
from distcnn.simulate import defects
from distcnn.simulate.galaxy import photometry, populations, sky
from distcnn.simulate.galaxy.populations import Chemistry
from distcnn.simulate.spectrum.instrument import SNR_SLOPE, Exposure, draw_exposure
from distcnn.simulate.spectrum.linelist import ALPHA_ELEMENTS
from distcnn.simulate.spectrum.lines import TrueLabels

BANDS = ("g", "bp", "rp")
PARALLAX_OFFSET = -0.03
"""Zero point of parallaxes, mas."""


@dataclass(frozen=True)
class SimulatedStars:
    """Truth and measurements of ``[N]`` stars.

    wanted: bool, those that another survey has looked at; None = any.
    ra, dec: deg; distance: kpc; ebv: mag; vsini: km/s; magnitudes: mag; parallaxes: mas.
    """

    source_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    labels: TrueLabels
    population: np.ndarray
    distance: np.ndarray
    ebv: np.ndarray
    vsini: np.ndarray
    exposure: Exposure
    has_spectrum: np.ndarray
    wanted: np.ndarray | None
    magnitude: dict[str, np.ndarray]
    magnitude_error: dict[str, np.ndarray]
    colour: np.ndarray
    parallax: np.ndarray
    parallax_error: np.ndarray
    affected: defects.Affected

    def __len__(self) -> int:
        return self.source_id.size


@dataclass(frozen=True)
class Sightline:
    """How the stars are seen: G_RVS (mag), longitude and latitude (deg), dust patchiness, and
    offsets of (BP-RP, G-RP) from the colour relations (mag).
    """

    grvs: np.ndarray
    longitude: np.ndarray
    latitude: np.ndarray
    dust: np.ndarray
    offsets: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class IntrinsicProperties:
    """What stars are, before anything is measured; distance in kpc, true magnitudes."""

    labels: TrueLabels
    population: np.ndarray
    distance: np.ndarray
    ebv: np.ndarray
    magnitude: dict[str, np.ndarray]


def draw_stars(
    rng: np.random.Generator, sky_range: sky.SkyRange, config: SimulateConfig
) -> SimulatedStars:
    """All sources of one sky range; ``sky_range.stars`` of them have a spectrum."""
    extra = round(config.spectrumless * sky_range.stars)
    total = sky_range.stars + extra
    source_id = sky.draw_identifiers(rng, sky_range, total)
    ra, dec = sky.positions(rng, source_id)
    has_spectrum = np.ones(total, bool)
    has_spectrum[rng.choice(total, extra, replace=False)] = False
    wanted, exposure = _draw_observed(rng, total, config)
    affected = defects.draw_defects(rng, total, config.trouble)
    sight = Sightline(
        exposure.grvs,
        *sky.to_galactic(ra, dec),
        dust=photometry.draw_patchiness(rng, total),
        offsets=photometry.draw_colour_offsets(rng, total),
    )
    intrinsic = _draw_intrinsic(rng, sight, affected[Defect.HOT], config)
    true = intrinsic.magnitude
    error = {band: photometry.magnitude_error(true["g"], band) for band in BANDS}
    parallax, parallax_error = _astrometry(rng, intrinsic.distance, true["g"], affected)
    return SimulatedStars(
        source_id=source_id,
        ra=ra,
        dec=dec,
        labels=intrinsic.labels,
        population=intrinsic.population,
        distance=intrinsic.distance,
        ebv=intrinsic.ebv,
        vsini=populations.draw_vsini(rng, intrinsic.labels.teff, intrinsic.labels.logg),
        exposure=exposure,
        has_spectrum=has_spectrum,
        wanted=wanted,
        magnitude={b: true[b] + error[b] * rng.standard_normal(total) for b in BANDS},
        magnitude_error=error,
        colour=true["bp"] - true["rp"],
        parallax=parallax,
        parallax_error=parallax_error,
        affected=affected,
    )


def _draw_observed(
    rng: np.random.Generator, total: int, config: SimulateConfig
) -> tuple[np.ndarray | None, Exposure]:
    """Who is wanted for labels, if these stars are brighter than others, and how all are seen."""
    if config.labelled_snr is None:
        return None, draw_exposure(rng, total, config.minimum_snr, config.transits)
    wanted = rng.random(total) < config.labelled_fraction
    least, slope = config.labelled_snr
    exposure = draw_exposure(
        rng,
        total,
        np.where(wanted, least, config.minimum_snr),
        config.transits,
        np.where(wanted, slope, SNR_SLOPE),
    )
    return wanted, exposure


def _draw_intrinsic(
    rng: np.random.Generator, sight: Sightline, hot: np.ndarray, config: SimulateConfig
) -> IntrinsicProperties:
    total = hot.size
    state = populations.draw_states(rng, total)
    randoms = populations.draw_kiel_randoms(rng, total)
    # A first guess at the distance with typical chemistry places the star in the Galaxy; only
    # then is its own chemistry drawn, which depends on the place.
    guess = np.full(total, -0.15)
    typical = TrueLabels(*populations.kiel(randoms, state, guess), guess, 0 * guess, guess, {})
    mass = populations.draw_mass(rng, state, typical.teff, np.zeros(total, int))
    distance = _distance_and_dust(typical, mass, sight)[0]
    place = populations.galactic_place(sight.longitude, sight.latitude, distance)
    chemistry = populations.draw_chemistry(rng, *place)
    teff, logg = populations.kiel(randoms, state, chemistry.mh)
    defects.make_hot(rng, teff, logg, hot)
    mass = populations.draw_mass(rng, state, teff, chemistry.population)
    labels = _labels(rng, teff, logg, chemistry, config.element_scatter)
    return IntrinsicProperties(
        labels, chemistry.population, *_distance_and_dust(labels, mass, sight)
    )


def _distance_and_dust(
    labels: TrueLabels, mass: np.ndarray, sight: Sightline
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(distance [kpc], E(B-V), true magnitudes) that make the stars as bright as they are seen."""
    bp_rp, g_rp = photometry.intrinsic_colours(labels.teff, labels.logg, labels.feh)
    bp_rp, g_rp = bp_rp + sight.offsets[0], g_rp + sight.offsets[1]
    absolute = photometry.absolute_magnitude(labels.teff, labels.logg, mass)
    ebv = np.full(mass.size, 0.05)
    for _ in range(4):
        loss = {band: photometry.extinction(band, bp_rp, 3.1 * ebv) for band in BANDS}
        red = g_rp + loss["g"] - loss["rp"]
        g = sight.grvs - photometry.grvs_minus_rp(red) + red
        distance = 10 ** (0.2 * (g - loss["g"] - absolute - 10.0))
        ebv = photometry.reddening(distance, sight.latitude, sight.dust)
    bp = g - red + bp_rp + loss["bp"] - loss["rp"]
    return distance, ebv, {"g": g, "bp": bp, "rp": g - red}


def _labels(
    rng: np.random.Generator,
    teff: np.ndarray,
    logg: np.ndarray,
    chemistry: Chemistry,
    scatter: float,
) -> TrueLabels:
    names = (*ALPHA_ELEMENTS, "Ni", "Cr", "CN")
    elements = {name: scatter * rng.standard_normal(teff.size) for name in names}
    # First dredge-up: giants have burnt carbon, so their CN is not a plain measure of [M/H].
    elements["CN"] = 2.0 * elements["CN"] - 0.05 * np.clip(3.3 - logg, 0.0, 1.0)
    return TrueLabels(teff, logg, chemistry.mh, chemistry.alpham, chemistry.feh, elements)


def _astrometry(
    rng: np.random.Generator, distance: np.ndarray, g: np.ndarray, affected: defects.Affected
) -> tuple[np.ndarray, np.ndarray]:
    """(parallax, error) in mas, NaN where affected so; a negative one is a bad solution."""
    error = photometry.draw_parallax_error(rng, g)
    error = np.where(affected[Defect.NEGATIVE_PARALLAX], rng.uniform(0.3, 1.5, error.size), error)
    parallax = 1 / distance + PARALLAX_OFFSET + error * rng.standard_normal(error.size)
    below = -error * rng.uniform(0.1, 2.0, error.size)
    parallax = np.where(affected[Defect.NEGATIVE_PARALLAX], below, parallax)
    # Noise alone makes some distant stars negative: they are listed like the injected ones.
    affected[Defect.NEGATIVE_PARALLAX] |= (parallax < 0) & ~affected[Defect.NO_PARALLAX]
    missing = affected[Defect.NO_PARALLAX]
    return np.where(missing, np.nan, parallax), np.where(missing, np.nan, error)
