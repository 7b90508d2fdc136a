"""Defects: what goes wrong with real stars and files, injected on purpose and listed in truth."""

import numpy as np

from distcnn.config import DefectConfig
from distcnn.schema import Defect
from distcnn.simulate.grid import ReleaseGrid

Affected = dict[Defect, np.ndarray]
"""Which stars are affected, ``[N]`` bool per kind."""
COSMIC_PROFILE = (
    (-0.03, 0.0),
    (-0.02, 0.4),
    (-0.01, 0.8),
    (0.0, 1.0),
    (0.01, 0.6),
    (0.02, 0.2),
    (0.03, 0.0),
)
"""A hit of one native pixel after resampling: (distance [nm], height over that at the centre)."""


def draw_defects(rng: np.random.Generator, stars: int, config: DefectConfig) -> Affected:
    """Draw for each star and each kind of defect, independently, whether it has it."""
    affected = {kind: rng.random(stars) < getattr(config, kind.value) for kind in Defect}
    # A star has either no parallax or a negative one; a hot star is not also a binary.
    affected[Defect.NEGATIVE_PARALLAX] &= ~affected[Defect.NO_PARALLAX]
    affected[Defect.BINARY] &= ~affected[Defect.HOT]
    return affected


def defect_names(affected: Affected) -> list[str]:
    """Per star the kinds joined by ``+``; empty when clean."""
    stacked = np.stack([affected[kind] for kind in Defect], axis=1)
    kinds = [kind.value for kind in Defect]
    return ["+".join(k for k, hit in zip(kinds, row, strict=True) if hit) for row in stacked]


def make_hot(rng: np.random.Generator, teff: np.ndarray, logg: np.ndarray, hot: np.ndarray) -> None:
    """Turn the affected stars into hot dwarfs of 8,000 to 14,000 K, in place."""
    teff[hot] = rng.uniform(8000.0, 14000.0, int(hot.sum()))
    logg[hot] = rng.uniform(3.6, 4.4, int(hot.sum()))


def wrong_velocity(rng: np.random.Generator, stars: int) -> np.ndarray:
    """Shift in km/s of a spectrum put to the wrong rest frame: 20 to 200, either way."""
    return np.asarray(rng.uniform(20.0, 200.0, stars) * rng.choice([-1.0, 1.0], stars))


def add_cosmic_rays(
    rng: np.random.Generator,
    flux: np.ndarray,
    error: np.ndarray,
    stars: np.ndarray,
    grid: ReleaseGrid,
) -> None:
    """One to three unremoved hits of one native pixel each, in place."""
    far, margin = grid.samples(0.02), grid.samples(0.2)
    distance = grid.step * np.arange(-far, far + 1)
    shape = np.interp(distance, *np.array(COSMIC_PROFILE).T)
    for star in np.flatnonzero(stars):
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(margin, grid.size - margin))
            height = rng.uniform(8.0, 60.0) * error[star, place]
            hit = slice(place - far, place + far + 1)
            flux[star, hit] += (height * shape).astype(flux.dtype)
            error[star, hit] *= 1.5


def edge_gaps(
    rng: np.random.Generator, stars: int, grid: ReleaseGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Samples missing at the blue and red edge of every ordinary star: a few, seldom tens."""
    wide = rng.random((2, stars)) < 0.02
    many = rng.integers(grid.samples(0.10), grid.samples(0.40), (2, stars))
    gaps = np.where(wide, many, rng.integers(0, grid.samples(0.07), (2, stars)))
    return gaps[0], gaps[1]


def blank_pixels(
    rng: np.random.Generator,
    flux: np.ndarray,
    error: np.ndarray,
    stars: np.ndarray,
    grid: ReleaseGrid,
) -> None:
    """NaN at the edges of every star, and in runs inside the affected ones, in place.

    The archive of DR3 publishes up to 480 missing samples, 4.8 nm; so at most 4 nm inside.
    """
    blue, red = edge_gaps(rng, flux.shape[0], grid)
    pixel, size = np.arange(grid.size), grid.size
    shortest, longest = grid.samples(0.05), grid.samples(1.30)
    missing = (pixel < blue[:, None]) | (pixel >= size - red[:, None])
    for star in np.flatnonzero(stars):
        for _ in range(rng.integers(1, 4)):
            length = int(rng.integers(shortest, longest))
            begin = (0, int(rng.integers(0, size - length)), size - length)[rng.integers(0, 3)]
            missing[star, begin : begin + length] = True
    flux[missing] = np.nan
    error[missing] = np.nan
