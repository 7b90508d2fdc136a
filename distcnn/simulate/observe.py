"""Spectra of a block of stars as the archive publishes them, defects included."""

import numpy as np

from distcnn.schema import DEFAULT_LABELS, Defect
from distcnn.simulate import defects
from distcnn.simulate.galaxy.stars import SimulatedStars
from distcnn.simulate.grid import ReleaseGrid
from distcnn.simulate.spectrum import instrument
from distcnn.simulate.spectrum.linelist import CALCIUM_TRIPLET
from distcnn.simulate.spectrum.lines import TrueLabels
from distcnn.simulate.spectrum.synthesis import FINE_WAVELENGTH, broaden, intrinsic

DTYPE = np.float32
ACTIVE_SHARE = 0.05
"""Dwarfs whose Ca II cores are filled in by a chromosphere."""


def observed_spectra(
    rng: np.random.Generator, stars: SimulatedStars, rows: np.ndarray, grid: ReleaseGrid
) -> tuple[np.ndarray, np.ndarray]:
    """(flux, flux_error) ``[n, pixel]`` float32 of the stars ``rows``, NaN where missing."""
    labels, exposure = stars.labels.take(rows), stars.exposure.take(rows)
    affected = {kind: hit[rows] for kind, hit in stars.affected.items()}
    velocity = instrument.residual_velocity(rng, exposure.grvs)
    wrong = affected[Defect.WRONG_RV]
    velocity = velocity + np.where(wrong, defects.wrong_velocity(rng, rows.size), 0.0)
    (later,) = rng.spawn(1)  # for defects that came later: others keep their random numbers
    labels.elements["CN"] = defects.enhance_carbon(
        later, labels.elements["CN"], affected[Defect.CARBON]
    )
    fine = intrinsic(labels, DTYPE)
    _fill_cores(rng, fine, labels.logg)
    defects.add_emission(later, fine, FINE_WAVELENGTH, affected[Defect.EMISSION])
    fine = broaden(fine, stars.vsini[rows], velocity)
    _add_companions(rng, fine, labels, affected[Defect.BINARY])
    defects.blend_with_neighbours(later, fine, FINE_WAVELENGTH, affected[Defect.BLEND])
    fine *= instrument.interstellar_band(stars.ebv[rows], rng.normal(0.0, 35.0, rows.size), DTYPE)
    flux, error = instrument.expose(rng, fine, exposure, grid)
    tilt = instrument.slope(labels.teff, rng.normal(0.0, 0.01, rows.size), DTYPE, grid)
    flux *= tilt
    error *= tilt
    defects.add_cosmic_rays(rng, flux, error, affected[Defect.COSMIC], grid)
    defects.observe_with_another_instrument(later, flux, error, affected[Defect.OTHER_GRID], grid)
    defects.leave_sky_lines(later, flux, error, affected[Defect.SKY], grid)
    faint = (exposure.grvs > instrument.REGIME_SWITCH) ^ affected[Defect.CONTINUUM]
    instrument.normalise(flux, error, faint, grid)
    defects.blank_pixels(rng, flux, error, affected[Defect.NAN_PIXELS], grid)
    return flux, error


def _fill_cores(rng: np.random.Generator, fine: np.ndarray, logg: np.ndarray) -> None:
    """Chromospheric emission in the cores of the Ca II triplet of a few dwarfs, in place."""
    strength = rng.uniform(0.05, 0.35, logg.size)
    active = np.flatnonzero((rng.random(logg.size) < ACTIVE_SHARE) & (logg > 3.8))
    core = sum(
        np.exp(-0.5 * ((FINE_WAVELENGTH - centre) / 0.04) ** 2) for centre in CALCIUM_TRIPLET
    )
    fine[active] += (strength[active, None] * core).astype(fine.dtype)


def _add_companions(
    rng: np.random.Generator, fine: np.ndarray, labels: TrueLabels, binary: np.ndarray
) -> None:
    """Blend the affected stars with a dwarf of similar brightness at another velocity, in place."""
    share = rng.uniform(0.25, 0.5, binary.size)
    apart = rng.uniform(40.0, 160.0, binary.size) * rng.choice([-1.0, 1.0], binary.size)
    cooler = rng.uniform(0.88, 1.0, binary.size)
    pairs = np.flatnonzero(binary)
    if pairs.size == 0:
        return
    values = labels.take(pairs).as_array()
    teff, logg = DEFAULT_LABELS.index("teff"), DEFAULT_LABELS.index("logg")
    values[:, teff] = np.clip(values[:, teff] * cooler[pairs], 4000.0, 7400.0)
    values[:, logg] = 4.45
    other = broaden(intrinsic(TrueLabels.of(values), DTYPE), np.full(pairs.size, 6.0), apart[pairs])
    weight = share[pairs, None].astype(fine.dtype)
    fine[pairs] = (1 - weight) * fine[pairs] + weight * other
