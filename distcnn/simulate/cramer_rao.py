"""Cramer-Rao bound: how well the labels of a simulated star can be known at all.

Spectrum on native pixels with its photon and read noise, XP coefficients, three magnitudes and
the parallax are one vector of measurements with Gaussian noise; its derivatives by labels and
nuisance parameters give the Fisher matrix. Nuisances are marginalised: dust, mass, distance,
colour offsets, rotation, residual velocity, the velocity of the diffuse band, a parabola of
continuum, single elements and the wiggles of XP, with the spread the simulator draws them with.

Legend: N star, K parameter, D measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from distcnn.config import SimulateConfig
from distcnn.schema import DEFAULT_LABELS
from distcnn.simulate.galaxy import photometry
from distcnn.simulate.grid import ReleaseGrid
from distcnn.simulate.spectrum import instrument, xp
from distcnn.simulate.spectrum.linelist import ALPHA_ELEMENTS
from distcnn.simulate.spectrum.lines import TrueLabels
from distcnn.simulate.spectrum.synthesis import (
    CCDS,
    LABEL_STEPS,
    broaden,
    intrinsic,
    native_matrices,
    native_pixels,
)

ELEMENTS = (*ALPHA_ELEMENTS, "Ni", "Cr", "CN")
NUISANCES = ("ebv", "mass", "distance", "offset", "own_offset", "vsini", "velocity", "band")
PARAMETERS = (*DEFAULT_LABELS, *NUISANCES, *ELEMENTS)
NUISANCE_STEPS = (0.02, 0.01, 0.01, 0.003, 0.003, 0.02, 0.3, 5.0)
"""Steps of the differences: ln E(B-V), ln mass, ln distance, two of mag, ln vsini, two of km/s."""
ELEMENT_STEP = 0.01
"""The same of a single element, dex."""
STEPS = (*LABEL_STEPS, *NUISANCE_STEPS, *[ELEMENT_STEP] * len(ELEMENTS))
LN_EBV_SPREAD = 0.96
"""Spread of ln E(B-V) over the survey: no measurement says where on the sky a star is."""
UNCONSTRAINED = np.inf
"""Spread of a parameter of which nothing is known before."""
XP_BANDS = (("bp", 1), ("rp", 2))
"""XP bands and their places among the magnitudes."""
BATCH_STARS = 128
"""Stars at a time: derivatives by some thirty parameters are held of each."""


@dataclass(frozen=True)
class StarTruth:
    """What is true of N stars.

    ``values``: ``DEFAULT_LABELS`` [N, 5]; the others [N]: S/N per native pixel, G_RVS [mag],
    distance [pc], E(B-V) [mag], vsini [km/s].
    """

    COLUMNS: ClassVar = ("snr", "grvs", "distance_pc", "ebv", "vsini")
    """Columns of ``truth.parquet`` that the others come from."""

    values: np.ndarray
    snr: np.ndarray
    grvs: np.ndarray
    distance: np.ndarray
    ebv: np.ndarray
    vsini: np.ndarray

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> "StarTruth":
        """Of columns [N] of ``truth.parquet``, by name."""
        values = np.stack([np.asarray(columns[name], float) for name in DEFAULT_LABELS], axis=1)
        return cls(values, *(np.asarray(columns[name], float) for name in cls.COLUMNS))

    def take(self, rows: slice) -> "StarTruth":
        return StarTruth(*(array[rows] for array in vars(self).values()))

    def __len__(self) -> int:
        return len(self.snr)


def cramer_rao_bound(
    stars: StarTruth, config: SimulateConfig, *, population: np.ndarray | None = None
) -> np.ndarray:
    """Smallest standard errors of the labels, ``[N, 5]`` in K and dex.

    Parameters
    ----------
    population : covariance [5, 5] of the labels among the stars of the survey; with it the bound
        is that of an estimator that knows the survey (van Trees), without it of an unbiased one.
    """
    rows = [slice(at, at + BATCH_STARS) for at in range(0, len(stars), BATCH_STARS)]
    return np.concatenate([_of_batch(stars.take(r), config, population) for r in rows])


def _of_batch(
    stars: StarTruth, config: SimulateConfig, population: np.ndarray | None
) -> np.ndarray:
    count = len(DEFAULT_LABELS)
    slopes, noise = _jacobian(stars, config)
    scaled = slopes / noise[:, None, :]
    fisher = np.einsum("nkd,njd->nkj", scaled, scaled, optimize=True)
    fisher += np.stack([np.diag(prior) for prior in _priors(stars, config, fisher.shape[1])])
    if population is not None:
        fisher[:, :count, :count] += np.linalg.inv(population)
    # Kelvins and dex differ by thousands: in units of its own, the matrix is well conditioned.
    unit = np.sqrt(np.einsum("nkk->nk", fisher))
    covariance = np.linalg.pinv(fisher / unit[:, :, None] / unit[:, None, :], hermitian=True)
    variance = np.einsum("nkk->nk", covariance)[:, :count] / unit[:, :count] ** 2
    return np.asarray(np.sqrt(variance))


def _jacobian(stars: StarTruth, config: SimulateConfig) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives [N, K, D] by every parameter, and the noise [N, D]."""
    zero = np.zeros((len(stars), len(PARAMETERS)))
    grid = ReleaseGrid.of(config.grid)
    spectrum, rest = _forward(stars, zero, grid)
    slopes = []
    for column, step in enumerate(STEPS):
        moved = zero.copy()
        moved[:, column] = step
        up, down = _forward(stars, moved, grid), _forward(stars, -moved, grid)
        slopes.append(np.hstack([(a - b) / (2 * step) for a, b in zip(up, down, strict=True)]))
    noise = np.hstack([_pixel_noise(stars, spectrum), _other_noise(stars, rest)])
    continuum = _continuum(spectrum, rest, native_pixels(grid))
    extra = np.concatenate([continuum, _wiggles(stars, spectrum, rest)], axis=1)
    return np.concatenate([np.stack(slopes, axis=1), extra], axis=1), noise


def _forward(
    stars: StarTruth, shift: np.ndarray, grid: ReleaseGrid
) -> tuple[np.ndarray, np.ndarray]:
    """(native pixels [N, 3 x 982 for DR3], XP of both bands, magnitudes and parallax [N, 114])."""
    at = dict(zip(PARAMETERS, shift.T, strict=True))
    elements = {name: at[name] for name in ELEMENTS}
    labels = TrueLabels.of(stars.values + shift[:, : len(DEFAULT_LABELS)], elements)
    ebv = stars.ebv * np.exp(at["ebv"])
    fine = broaden(intrinsic(labels), stars.vsini * np.exp(at["vsini"]), at["velocity"])
    fine *= instrument.interstellar_band(ebv, at["band"], np.float64)
    spectrum = (native_matrices("float64", grid)[0] @ np.ascontiguousarray(fine.T)).T
    light, magnitudes = _magnitudes(stars, labels, ebv, at)
    return spectrum, np.hstack([_coefficients(labels, ebv, magnitudes), magnitudes, light])


def _magnitudes(
    stars: StarTruth, labels: TrueLabels, ebv: np.ndarray, at: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Parallax [N, 1] in mas and apparent G, BP, RP [N, 3]."""
    bp_rp, g_rp = photometry.intrinsic_colours(labels.teff, labels.logg, labels.feh)
    shared = photometry.COLOUR_SCATTER[1]
    bp_rp, g_rp = bp_rp + at["offset"], g_rp + shared * at["offset"] + at["own_offset"]
    mass = np.exp(at["mass"])
    distance = stars.distance * np.exp(at["distance"])
    loss = {b: photometry.extinction(b, bp_rp, 3.1 * ebv) for b in ("g", "bp", "rp")}
    g = photometry.absolute_magnitude(labels.teff, labels.logg, mass)
    g = g + 5 * np.log10(distance / 10.0) + loss["g"]
    rp = g - g_rp - loss["g"] + loss["rp"]
    bp = rp + bp_rp + loss["bp"] - loss["rp"]
    return (1000.0 / distance)[:, None], np.stack([g, bp, rp], axis=1)


def _coefficients(labels: TrueLabels, ebv: np.ndarray, magnitudes: np.ndarray) -> np.ndarray:
    return np.hstack([_band(labels, ebv, band, magnitudes[:, c]) for band, c in XP_BANDS])


def _band(
    labels: TrueLabels,
    ebv: np.ndarray,
    band: str,
    magnitude: np.ndarray,
    wave: np.ndarray | float = 1,
) -> np.ndarray:
    """Coefficients of one band [N, 55], of its light times a wave."""
    truth = np.stack([labels.teff, labels.logg, labels.mh, labels.alpham, ebv])
    light = xp.photon_distribution(band, truth)
    light /= light.sum(axis=1, keepdims=True)
    total = xp.ZERO_MAGNITUDE_COEFFICIENT * 10 ** (-0.4 * magnitude)
    return np.asarray((light * wave) @ xp.projection(band).T * (total / 0.25)[:, None])


def _pixel_noise(stars: StarTruth, spectrum: np.ndarray) -> np.ndarray:
    share = instrument.dark_share(stars.grvs)[:, None]
    level = np.maximum(spectrum, 0.02) * (1 - share) + share
    return np.asarray(np.sqrt(CCDS * level) / stars.snr[:, None])


def _other_noise(stars: StarTruth, rest: np.ndarray) -> np.ndarray:
    """Errors of XP, magnitudes and parallax, without their star-to-star scatter."""
    errors = []
    for start in (0, xp.COEFFICIENTS):
        first = np.abs(rest[:, start : start + 1])
        errors.append(xp.typical_error(first))
    g = rest[:, -4]
    errors.append(np.stack([photometry.magnitude_error(g, b) for b in ("g", "bp", "rp")], axis=1))
    errors.append(photometry.typical_parallax_error(g)[:, None])
    return np.hstack(errors)


def _continuum(spectrum: np.ndarray, rest: np.ndarray, pixels: int) -> np.ndarray:
    """Derivatives by the three coefficients of a parabola that the flux is multiplied with."""
    place = np.tile(np.linspace(-1.0, 1.0, pixels), CCDS)
    return np.stack(
        [np.hstack([spectrum * place**power, np.zeros_like(rest)]) for power in range(3)], axis=1
    )


def _wiggles(stars: StarTruth, spectrum: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Derivatives by sine and cosine of the three waves in either XP band, relative to 1."""
    labels = TrueLabels.of(stars.values)
    slopes = np.zeros((len(stars), 2 * len(xp.wiggle_waves()), spectrum.shape[1] + rest.shape[1]))
    for number, (band, column) in enumerate(XP_BANDS):
        begin = spectrum.shape[1] + number * xp.COEFFICIENTS
        for wave, shape in enumerate(xp.wiggle_waves()):
            slope = _band(labels, stars.ebv, band, rest[:, -4 + column], shape)
            place = number * len(xp.wiggle_waves()) + wave
            slopes[:, place, begin : begin + xp.COEFFICIENTS] = slope
    return slopes


def _priors(stars: StarTruth, config: SimulateConfig, parameters: int) -> np.ndarray:
    """Inverse squared spread of every parameter, [N, K]; 0 where it is free."""
    common, _, own = photometry.COLOUR_SCATTER
    spread = {"ebv": LN_EBV_SPREAD, "mass": 0.20, "offset": common, "own_offset": own, "band": 35.0}
    spread |= dict.fromkeys(ELEMENTS, config.element_scatter) | {"CN": 2 * config.element_scatter}
    fixed = [spread.get(name, UNCONSTRAINED) for name in PARAMETERS]
    waves = [config.xp_systematic * size for _ in ("bp", "rp") for size in xp.wiggle_spread()]
    table = np.tile(np.array([*fixed, *[UNCONSTRAINED] * 3, *waves]), (len(stars), 1))
    table[:, PARAMETERS.index("velocity")] = instrument.velocity_error(stars.grvs)
    table[:, PARAMETERS.index("vsini")] = 1.0
    return np.asarray(table[:, :parameters] ** -2.0)
