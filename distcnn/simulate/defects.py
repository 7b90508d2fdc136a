"""Defects: what goes wrong with real stars and files, injected on purpose and listed in truth."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from distcnn.config import DefectConfig
from distcnn.schema import LATER_DEFECTS, LIGHT_SPEED_KM_S, Defect
from distcnn.simulate.grid import ReleaseGrid
from distcnn.simulate.spectrum.linelist import CALCIUM_TRIPLET

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
    # Those that came later have random numbers of their own, so that archives stay as they were.
    (later,) = rng.spawn(1)
    affected = {
        kind: (later if kind in LATER_DEFECTS else rng).random(stars) < getattr(config, kind.value)
        for kind in Defect
    }
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


EMISSION_HEIGHT, EMISSION_WIDTH_NM = (0.3, 2.0), (0.03, 0.12)
"""Of lines in emission: height over what is there, in units of the continuum; deviation."""
CARBON_EXCESS = (1.0, 2.0)
"""[CN/M] of carbon stars [dex]."""
OTHER_RESOLVING_POWER, OTHER_STEP_NM = (5000.0, 8000.0), 0.04
SKY_LINES_NM = (
    *(846.54, 849.28, 850.46, 852.84, 853.87, 854.88, 859.91, 862.61),
    *(864.83, 866.07, 868.61, 869.72),
)
"""Places of lines of the night sky in this range, about, in the frame of the observer."""
SKY_HEIGHT, SKY_WIDTH_NM = (5.0, 40.0), 0.032
"""Residuals: largest height in errors of a sample; standard deviation, that of the instrument."""


def add_emission(
    rng: np.random.Generator, fine: np.ndarray, wavelength: np.ndarray, emitting: np.ndarray
) -> None:
    """Emission lines at the Ca II triplet, equal in height, as active and young stars have them."""
    for star in np.flatnonzero(emitting):
        height, width = rng.uniform(*EMISSION_HEIGHT), rng.uniform(*EMISSION_WIDTH_NM)
        for centre in CALCIUM_TRIPLET:
            line = np.exp(-0.5 * ((wavelength - centre) / width) ** 2)
            fine[star] += (height * line).astype(fine.dtype)


def enhance_carbon(rng: np.random.Generator, cn: np.ndarray, carbon: np.ndarray) -> np.ndarray:
    """[CN/M] of the stars, raised in carbon stars [dex]."""
    if not carbon.any():
        return cn
    return np.where(carbon, cn + rng.uniform(*CARBON_EXCESS, cn.size), cn)


def blend_with_neighbours(
    rng: np.random.Generator, fine: np.ndarray, wavelength: np.ndarray, blended: np.ndarray
) -> None:
    """Light of other stars of the block, whoever they are, at velocities of their own, in place."""
    stars = np.flatnonzero(blended)
    if not stars.size or len(fine) < 2:
        return
    others = (stars + rng.integers(1, len(fine), stars.size)) % len(fine)
    clean = fine[others].copy()
    for star, other in zip(stars, clean, strict=True):
        shift = 1 + rng.normal(0.0, 60.0) / LIGHT_SPEED_KM_S
        share = fine.dtype.type(rng.uniform(0.1, 0.5))
        seen = np.interp(wavelength, wavelength * shift, other).astype(fine.dtype)
        fine[star] = (1 - share) * fine[star] + share * seen


def observe_with_another_instrument(
    rng: np.random.Generator,
    flux: np.ndarray,
    error: np.ndarray,
    stars: np.ndarray,
    grid: ReleaseGrid,
) -> None:
    """Lower resolution, coarse samples, interpolated to the grid of the release, in place.

    Errors stay: that noise is correlated from sample to sample, nobody says.
    """
    for star in np.flatnonzero(stars):
        power = rng.uniform(*OTHER_RESOLVING_POWER)
        # In addition to the instrument of the release, of 11,500.
        width = 858.0 / 2.355 * np.sqrt(1 / power**2 - 1 / 11_500**2)
        smooth = gaussian_filter1d(flux[star], width / grid.step, mode="nearest")
        coarse = slice(int(rng.integers(0, 3)), None, max(1, grid.samples(OTHER_STEP_NM)))
        flux[star] = np.interp(grid.wavelength, grid.wavelength[coarse], smooth[coarse])


def leave_sky_lines(
    rng: np.random.Generator,
    flux: np.ndarray,
    error: np.ndarray,
    stars: np.ndarray,
    grid: ReleaseGrid,
) -> None:
    """Residuals of night-sky lines, shifted by the velocity of the star, in place."""
    lines = np.array(SKY_LINES_NM)
    for star in np.flatnonzero(stars):
        strength = rng.uniform(*SKY_HEIGHT) * np.median(error[star])
        heights = strength * rng.uniform(-1.0, 1.0, len(lines))
        places = lines * (1 + rng.normal(0.0, 40.0) / LIGHT_SPEED_KM_S)
        for place, height in zip(places, heights, strict=True):
            line = np.exp(-0.5 * ((grid.wavelength - place) / SKY_WIDTH_NM) ** 2)
            flux[star] += (height * line).astype(flux.dtype)
