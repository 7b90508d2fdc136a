"""Spectra in the rest frame of their stars: wavelengths divided by 1 + v/c, on one common grid.

``v`` is what surveys publish as the radial velocity, c z: for it the quotient is exact, whatever
the speed (Lindegren & Dravins 2003, A&A 401, 1185, barycentric radial-velocity measure). The
relativistic formula for a motion along the line of sight would differ by v^2/2c: 0.02 km/s at
100 km/s, 0.4 km/s at 500 km/s. The Doppler shift acts on wavelengths in vacuum, so those in air
are brought to vacuum, shifted, and brought to the medium of the target. (Dividing wavelengths in
air would be wrong by the change of the refractive index over the shift: below 0.03 km/s from 300
to 1000 nm up to 500 km/s, a test shows it; it costs nothing to be right.)

Fluxes are kept as they are: they are not multiplied by 1 + v/c, a factor that no normalisation
sees. ``B`` star, ``P`` input pixel, ``Q`` output pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import REST, GridConfig, IngestConfig, PrepareConfig, RestFrameConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.preprocess.spectra import Preparation, Spectra, overlap, rebin
from distcnn.ingest.preprocess.statements import Statement, Statements, same_frame
from distcnn.ingest.preprocess.wavelength import (
    convert_medium,
    convert_unit,
    edges,
    target_pixels,
)
from distcnn.schema import LIGHT_SPEED_KM_S

VELOCITY, ERROR, CORRECTION = "velocity", "velocity_error", "barycentric_correction"
VELOCITY_VARIABLES = (VELOCITY, ERROR, CORRECTION)
"""What readers of spectra may give of a star's motion, in the unit of the settings."""
UNIT_KM_S = {"km/s": 1.0, "m/s": 1e-3, "redshift": LIGHT_SPEED_KM_S}
SHIFT = "wavelengths in vacuum divided by 1 + velocity / c"
"""What a survey says of the shift of its spectra."""
_TOPOCENTRIC = "topocentric"


@dataclass(frozen=True)
class Velocities:
    """Velocity and its error [km/s] of stars [B]; NaN in both where there is none to go by."""

    velocity: Array
    error: Array

    @classmethod
    def of(cls, columns: Mapping[str, Array], stars: int, config: RestFrameConfig) -> "Velocities":
        """Those of columns in the unit of the settings, less what cannot be used.

        A velocity is none if it is no number, not below the speed of light, or less certain than
        ``maximum_error``. An error that is not positive is unknown.
        """
        unit, nothing = UNIT_KM_S[config.unit], np.full(stars, np.nan)
        velocity = unit * np.asarray(columns.get(VELOCITY, nothing), float)
        error = unit * np.asarray(columns.get(ERROR, nothing), float)
        with np.errstate(invalid="ignore"):
            error = np.where(error > 0, error, np.nan)
            good = np.abs(velocity) < LIGHT_SPEED_KM_S
            if config.maximum_error is not None:
                good &= error <= config.maximum_error
        return cls(np.where(good, velocity, np.nan), np.where(good, error, np.nan))

    @property
    def known(self) -> Array:
        """Which stars [B] have a velocity."""
        return np.isfinite(self.velocity)

    def only(self, which: Array) -> "Velocities":
        """The same with no velocity for the others."""
        return Velocities(*(np.where(which, v, np.nan) for v in (self.velocity, self.error)))


def doppler_factors(velocity: Array, correction: Array | None = None) -> Array:
    """What wavelengths in vacuum are divided by [B]: 1 + v/c.

    ``correction`` [km/s]: barycentric correction of spectra in the frame of the observatory, to
    which barycentric velocities are brought by (1 + v/c) / (1 + b/c) (Wright & Eastman 2014,
    PASP 126, 838, eq. 2).
    """
    factors = 1.0 + velocity / LIGHT_SPEED_KM_S
    if correction is not None:
        factors = factors / (1.0 + correction / LIGHT_SPEED_KM_S)
    return np.asarray(factors)


@dataclass(frozen=True)
class RestFramePreparation:
    """The preparation of spectra on one input grid, each shifted by a velocity of its own.

    The same steps as ``Preparation``: whatever concerns single pixels is done on the pixels as
    they were observed, then every spectrum is rebinned with the overlaps of its own shift.
    """

    config: PrepareConfig
    as_observed: Preparation
    """All steps but the last, on the pixels of the file [P]."""
    vacuum: Array
    """Wavelengths [P] in vacuum of the pixels that are kept, in the unit of the target."""
    wavelength: Array
    """Output grid [Q]."""

    @classmethod
    def for_grid(
        cls, wavelength: Array, grid: GridConfig, config: PrepareConfig
    ) -> "RestFramePreparation":
        """Work out what all stars on the input centres [P], in the grid's unit and medium, share.

        Raises
        ------
        GridMismatch : the wavelengths neither increase nor decrease throughout.
        """
        target = config.target
        assert target is not None, "the settings refuse a shift without a target"
        plain = config.model_copy(update={"target": None, "rebin": 1, "rest_frame": None})
        as_observed = Preparation.for_grid(wavelength, grid, plain)
        vacuum = convert_medium(as_observed.wavelength, grid.unit, grid.medium, "vacuum")
        vacuum = convert_unit(vacuum, grid.unit, target.unit)
        centres, stored = target_pixels(config)
        return cls(config, as_observed, vacuum, centres[stored])

    def apply(self, flux: Array, error: Array | None, factors: Array) -> Spectra:
        """Prepare flux [B, P] and its error [B, P]; wavelengths are divided by ``factors`` [B]."""
        observed = self.as_observed.apply(flux, error)
        shape = len(flux), len(self.wavelength)
        out = Spectra(
            np.empty(shape, np.float32),
            None if error is None else np.empty(shape, np.float32),
            np.empty(shape, np.uint8),
        )
        centres, stored = target_pixels(self.config)
        borders = edges(centres)
        widths = np.diff(borders)[stored]
        for row, factor in enumerate(factors):
            weights = overlap(edges(self.shifted(factor)), borders)
            weights = weights if stored.all() else weights[stored]
            one = rebin(_row(observed, row), weights, widths, self.config)
            out.flux[row], out.mask[row] = one.flux[0], one.mask[0]
            if out.error is not None and one.error is not None:
                out.error[row] = one.error[0]
        return out

    def shifted(self, factor: float) -> Array:
        """Wavelengths [P] at rest of a star, in unit and medium of the target."""
        target = self.config.target
        assert target is not None
        return convert_medium(self.vacuum / factor, target.unit, "vacuum", target.medium)


def _row(spectra: Spectra, row: int) -> Spectra:
    one = slice(row, row + 1)
    error = None if spectra.error is None else spectra.error[one]
    return Spectra(spectra.flux[one], error, spectra.mask[one])


# --- which frame is which -----------------------------------------------------------------------


def stored_frame(config: IngestConfig, grid: GridConfig) -> str:
    """The frame of the survey's spectra, those of the files standing in that of ``grid``."""
    return grid.frame if config.velocity_files is None else REST


def is_topocentric(config: RestFrameConfig, grid: GridConfig) -> bool:
    """Whether barycentric velocities meet wavelengths as the observatory saw them."""
    return grid.frame == _TOPOCENTRIC != config.frame


def check_frames(config: IngestConfig, grid: GridConfig, stated: Statements, path: Path) -> None:
    """Refuse a shift that the frame of a file forbids, and a target in a frame without a shift.

    ``grid``: that of the file, agreed between the settings and what it states.

    Raises
    ------
    GridMismatch : the spectra are at rest already, nothing says in which frame they are, their
        frame is not that of the velocities, or not that of a target although nothing is shifted.
    """
    shift, target = config.prepare.rest_frame, config.prepare.target
    if shift is None:
        if target and "frame" in target.model_fields_set:
            _check_target(target, grid, path)
        return
    known = stated.frame is not None or "frame" in config.grid.model_fields_set
    if not known:
        raise GridMismatch(
            f"{path}: neither the file nor ingest.grid.frame says in which frame its wavelengths "
            "are",
            expected="the frame that is to be left by ingest.prepare.rest_frame",
            cure="Set ingest.grid.frame: barycentric, or topocentric.",
        )
    if same_frame(grid.frame, REST):
        raise GridMismatch(
            f"{path}: its wavelengths are at rest already ({_says(stated.frame)})",
            expected="wavelengths that are not shifted yet, with ingest.prepare.rest_frame",
            cure="Leave rest_frame out. If the file is wrong, set ingest.grid.frame and "
            "ingest.override: [frame].",
        )
    if not same_frame(grid.frame, shift.frame) and not is_topocentric(shift, grid):
        raise GridMismatch(
            f"{path}: its wavelengths are {grid.frame} ({_says(stated.frame)})",
            expected=f"{shift.frame} ones, as the velocities (ingest.prepare.rest_frame.frame)",
            cure="Give velocities in the frame of the wavelengths.",
        )


def _check_target(target: GridConfig, grid: GridConfig, path: Path) -> None:
    if not same_frame(target.frame, grid.frame):
        raise GridMismatch(
            f"{path}: its wavelengths are {grid.frame}",
            expected=f"{target.frame} ones, as ingest.prepare.target.frame says",
            cure="Set ingest.prepare.rest_frame to shift them to rest, or leave target.frame out.",
        )


def _says(statement: Statement | None) -> str:
    return statement.words if statement is not None else "ingest.grid.frame"
