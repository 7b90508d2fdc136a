"""Places on the sky: HEALPix ranges as the archive splits them, identifiers, coordinates.

A Gaia source_id begins with the star's nested HEALPix index of level 12; bits above 43 are
the index of level 8, by whose ranges the archive's files are split.
(Nested to angles: Gorski et al. 2005.)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from distcnn.errors import UsageError

LEVEL_8_PIXELS = 12 * 4**8
_RING = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_PHASE = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
_NORTH_POLE = (192.85948, 27.12825, 122.93192)
"""Galactic pole (ra, dec) and longitude of the celestial pole, degrees."""
_OBLIQUITY = np.deg2rad(23.4392911)
_COARSE = 6


@dataclass(frozen=True, order=True)
class SkyRange:
    """One archive file: the ``index``-th of the survey, level-8 pixels first..last, stars in it."""

    index: int
    first: int
    last: int
    stars: int

    @property
    def name(self) -> str:
        """``000000-003111``, as in the archive's file names."""
        return f"{self.first:06d}-{self.last:06d}"


def nested_to_angles(pixel: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre of nested pixels: (longitude, latitude) in degrees."""
    nside = 1 << level
    face, inside = np.divmod(pixel.astype(np.int64), nside * nside)
    x, y = _compact(inside), _compact(inside >> 1)
    ring = _RING[face] * nside - x - y - 1
    north, south = ring < nside, ring > 3 * nside
    size = np.where(north, ring, np.where(south, 4 * nside - ring, nside))
    polar = 1 - size.astype(np.float64) ** 2 / (3.0 * nside**2)
    z = np.where(north, polar, np.where(south, -polar, (2 * nside - ring) * 2.0 / (3 * nside)))
    shift = np.where(north | south, 0, (ring - nside) & 1)
    step = (_PHASE[face] * size + x - y + 1 + shift) // 2
    step = np.where(step > 4 * nside, step - 4 * nside, np.where(step < 1, step + 4 * nside, step))
    longitude = (step - (shift + 1) * 0.5) * 90.0 / size
    return longitude % 360.0, np.rad2deg(np.arcsin(z))


def _compact(value: np.ndarray) -> np.ndarray:
    """Every second bit of a nested index."""
    result = np.zeros_like(value)
    for bit in range(16):
        result |= ((value >> (2 * bit)) & 1) << bit
    return result


def to_galactic(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(l, b) in degrees from ICRS degrees."""
    pole_ra, pole_dec, pole_l = np.deg2rad(_NORTH_POLE)
    a, d = np.deg2rad(ra) - pole_ra, np.deg2rad(dec)
    sine = np.sin(d) * np.sin(pole_dec) + np.cos(d) * np.cos(pole_dec) * np.cos(a)
    y = np.cos(d) * np.sin(a)
    x = np.sin(d) * np.cos(pole_dec) - np.cos(d) * np.sin(pole_dec) * np.cos(a)
    longitude = np.rad2deg(pole_l - np.arctan2(y, x)) % 360.0
    return longitude, np.rad2deg(np.arcsin(np.clip(sine, -1, 1)))


def to_ecliptic(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ecliptic (longitude, latitude) in degrees from ICRS degrees."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    sine = np.sin(d) * np.cos(_OBLIQUITY) - np.cos(d) * np.sin(_OBLIQUITY) * np.sin(a)
    y = np.sin(a) * np.cos(_OBLIQUITY) + np.tan(d) * np.sin(_OBLIQUITY)
    longitude = np.rad2deg(np.arctan2(y, np.cos(a))) % 360.0
    return longitude, np.rad2deg(np.arcsin(np.clip(sine, -1, 1)))


@lru_cache(maxsize=1)
def _cumulative() -> np.ndarray:
    """Share of stars below each coarse pixel boundary; denser towards the Galactic plane."""
    longitude, latitude = nested_to_angles(np.arange(12 * 4**_COARSE), _COARSE)
    b = np.abs(to_galactic(longitude, latitude)[1])
    density = 0.35 + np.exp(-b / 14.0)
    return np.concatenate([[0.0], np.cumsum(density) / density.sum()])


def _boundaries() -> np.ndarray:
    """Level-8 pixel at each coarse boundary."""
    return np.linspace(0, LEVEL_8_PIXELS, _cumulative().size)


def split_sky(stars: int, per_file: int) -> list[SkyRange]:
    """Ranges of level-8 pixels that cover the sky once, with about equally many stars each.

    Raises
    ------
    UsageError : less than one star, or more files than there are pixels to split by.
    """
    if stars < 1:
        raise UsageError(f"{stars} stars asked for", expected="at least 1")
    files = -(-stars // per_file)
    even = np.arange(files + 1) / files
    edges = np.round(np.interp(even, _cumulative(), _boundaries())).astype(np.int64)
    if np.any(np.diff(edges) < 1):
        raise UsageError(
            f"{stars} stars in files of {per_file} make {files} files",
            expected="at most about 300,000 files",
            cure="Raise stars_per_file.",
        )
    counts = np.diff(np.round(even * stars).astype(np.int64))
    rows = enumerate(zip(edges[:-1], edges[1:], counts, strict=True))
    return [SkyRange(i, int(a), int(b) - 1, int(n)) for i, (a, b, n) in rows]


def draw_identifiers(rng: np.random.Generator, sky_range: SkyRange, stars: int) -> np.ndarray:
    """``stars`` different source_ids inside a range, ascending, int64."""
    share = np.interp([sky_range.first, sky_range.last + 1], _boundaries(), _cumulative())
    chosen = np.empty(0, np.int64)
    while chosen.size < stars:
        missing = stars - chosen.size
        place = np.interp(rng.uniform(share[0], share[1], missing), _cumulative(), _boundaries())
        level_8 = np.clip(place.astype(np.int64), sky_range.first, sky_range.last)
        level_12 = level_8 * 256 + rng.integers(0, 256, missing)
        number = rng.integers(1, 1 << 28, missing) * 128
        chosen = np.unique(np.concatenate([chosen, level_12 * (1 << 35) + number]))
    return chosen


def positions(rng: np.random.Generator, source_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ra, dec) in degrees within a few arcseconds of the level-12 pixel's centre."""
    ra, dec = nested_to_angles(source_id >> 35, 12)
    dec = np.clip(dec + rng.normal(0.0, 2e-3, dec.size), -90.0, 90.0)
    ra = (ra + rng.normal(0.0, 2e-3, ra.size) / np.maximum(np.cos(np.deg2rad(dec)), 1e-3)) % 360.0
    return ra, dec
