"""Who is in the survey: evolutionary state, place in the Galaxy, chemistry, luminosity.

Simple laws with scatter: about half giants, the two discs with their [alpha/M] sequences and
a radial metallicity gradient, a metal-poor halo. Scatter in age and mass keeps temperature
and luminosity from telling the chemistry.
"""

from dataclasses import dataclass

import numpy as np

SUN_RADIUS, SUN_HEIGHT = 8.2, 0.02
"""Place of the Sun in the Galaxy, kpc."""
POPULATIONS = ("low_alpha", "high_alpha", "halo")
STATES = ("main_sequence", "subgiant", "giant", "clump")
STATE_SHARE = (0.38, 0.14, 0.30, 0.18)
"""Fractions of the stars in each of ``STATES``: half are giants, as among the brightest of RVS."""
LIMITS = {"teff": (3650.0, 7450.0), "logg": (0.3, 4.95), "mh": (-2.6, 0.55)}
"""Smallest and largest value drawn: teff in K, the others in dex."""


@dataclass(frozen=True)
class Chemistry:
    """[M/H], [alpha/M], [Fe/H] in dex and population index of ``[N]`` stars."""

    mh: np.ndarray
    alpham: np.ndarray
    feh: np.ndarray
    population: np.ndarray


def draw_states(rng: np.random.Generator, stars: int) -> np.ndarray:
    """Index into STATES, ``[N]``."""
    return rng.choice(len(STATES), size=stars, p=STATE_SHARE)


def galactic_place(
    longitude: np.ndarray, latitude: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Galactocentric cylinder (R, Z) in kpc from l, b in degrees and distance in kpc."""
    lon, lat = np.deg2rad(longitude), np.deg2rad(latitude)
    x = SUN_RADIUS - distance * np.cos(lat) * np.cos(lon)
    y = distance * np.cos(lat) * np.sin(lon)
    return np.hypot(x, y), distance * np.sin(lat) + SUN_HEIGHT


def draw_chemistry(rng: np.random.Generator, radius: np.ndarray, height: np.ndarray) -> Chemistry:
    """Population by local density, then its chemistry."""
    z = np.abs(height)
    thin = np.exp(-(radius - SUN_RADIUS) / 3.5 - z / 0.3)
    thick = 0.16 * np.exp(-(radius - SUN_RADIUS) / 2.0 - z / 0.9)
    halo = 0.006 * (np.hypot(radius, z / 0.7) / SUN_RADIUS + 0.1) ** -3.0
    # A small floor keeps every population, so the rare ones are not only far away.
    share = np.stack([thin, thick, halo], axis=1)
    share = share / share.sum(axis=1, keepdims=True)
    share = 0.97 * share + 0.03 * np.array([0.3, 0.35, 0.35])
    pick = rng.random(radius.size)[:, None]
    population = (pick > np.cumsum(share, axis=1)[:, :2]).sum(axis=1)
    normal = rng.standard_normal((3, radius.size))
    mh_of = (
        -0.05 - 0.06 * (radius - SUN_RADIUS) + 0.20 * normal[0],
        -0.45 + 0.25 * normal[0],
        -1.30 + 0.40 * normal[0],
    )
    mh = np.clip(np.choose(population, mh_of), *LIMITS["mh"])
    alpha_of = (
        0.05 - 0.12 * mh + 0.03 * normal[1],
        np.interp(mh, [-0.5, 0.0, 0.5], [0.27, 0.10, 0.06]) + 0.035 * normal[1],
        0.22 + 0.06 * normal[1] - 0.05 * (mh + 1.3),
    )
    alpham = np.clip(np.choose(population, alpha_of), -0.15, 0.45)
    return Chemistry(mh, alpham, mh + 0.025 * normal[2], population)


def draw_kiel_randoms(
    rng: np.random.Generator, stars: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The random part of a star's place on the Kiel diagram: (phase, age, two normals).

    Drawn once and used twice, so that a star keeps its phase when its metallicity is known.
    """
    return rng.random(stars), rng.random(stars), rng.standard_normal((2, stars))


def kiel(
    randoms: tuple[np.ndarray, np.ndarray, np.ndarray], state: np.ndarray, mh: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(teff [K], logg) by state; metal-poor stars are hotter at the same gravity."""
    uniform, age, noise = randoms
    metallicity = np.clip(mh, -2.2, 0.4)
    # Main sequence: mostly F and G, as in a magnitude-limited sample.
    ms_teff = np.clip(5750 + 680 * noise[0], 3900, 7400)
    zero_age = np.interp(ms_teff, [3900, 4600, 5400, 6200, 7400], [4.72, 4.62, 4.55, 4.40, 4.28])
    evolution = np.interp(ms_teff, [4600, 5400, 6200, 7400], [0.03, 0.22, 0.42, 0.45])
    below_solar = np.minimum(-metallicity, 1.0).clip(0)
    ms_logg = zero_age - evolution * age + 0.12 * below_solar + 0.02 * noise[1]
    sub_logg = 4.05 - 0.65 * uniform
    turn_off = 6150 - 420 * metallicity.clip(-1.2, 0.4) + 180 * noise[0]
    sub_teff = turn_off + (5050 - 150 * metallicity - turn_off) * np.interp(
        uniform, [0, 0.3, 1], [0, 0.15, 1]
    )
    rgb_logg = 3.4 - 2.7 * uniform**1.15
    rgb_teff = np.interp(rgb_logg, [0.3, 0.8, 1.6, 2.5, 3.4], [3760, 3930, 4300, 4700, 4990])
    rgb_teff = rgb_teff - 190 * metallicity + 75 * noise[0] + 60 * (age - 0.5)
    rc_logg = 2.42 + 0.09 * noise[1]
    rc_teff = 4820 - 150 * metallicity + 90 * noise[0] + 60 * (age - 0.5)
    teff = np.choose(state, (ms_teff, sub_teff, rgb_teff, rc_teff))
    logg = np.choose(state, (ms_logg, sub_logg, rgb_logg, rc_logg))
    return np.clip(teff, *LIMITS["teff"]), np.clip(logg, *LIMITS["logg"])


def draw_mass(
    rng: np.random.Generator, state: np.ndarray, teff: np.ndarray, population: np.ndarray
) -> np.ndarray:
    """Stellar mass in solar masses: by temperature on the main sequence, by age in giants."""
    dwarf = (teff / 5772.0) ** 1.8
    giant = np.choose(population, (1.25, 0.98, 0.85))
    mass = np.where(state == 0, dwarf, giant)
    result: np.ndarray = np.clip(mass * np.exp(0.13 * rng.standard_normal(teff.size)), 0.5, 3.5)
    return result


def draw_vsini(rng: np.random.Generator, teff: np.ndarray, logg: np.ndarray) -> np.ndarray:
    """Projected rotation in km/s: slow below the Kraft break, fast above."""
    typical = np.where(logg < 3.6, 3.5, np.interp(teff, [5800, 6400, 7500, 9000], [4, 9, 45, 110]))
    return np.clip(typical * rng.lognormal(0.0, 0.5, teff.size), 0.5, 300.0)
