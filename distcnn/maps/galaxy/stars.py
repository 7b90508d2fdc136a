"""Stars of a region on the map of the Galaxy: who is used, where they are, what they are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from distcnn.arrays import Array
from distcnn.config import GalaxyMapConfig
from distcnn.maps.galaxy.distances import distances
from distcnn.maps.galaxy.place import GalacticFrame, GalacticPlace
from distcnn.maps.galaxy.zero_point import ecliptic_sine, effective_wavenumber, parallax_bias
from distcnn.schema import Flag, Status

METALLICITY, ALPHA = "mh", "alpham"
"""Labels that are mapped."""
EXCLUDING = (
    Flag.LABEL_LIMITS,
    Flag.INPUT_LIMITS,
    Flag.NOVEL_SPECTRUM,
    Flag.NO_SPECTRUM,
    Flag.NO_PARALLAX,
    Flag.MEMBERS_DISAGREE,
    Flag.NON_FINITE,
    Flag.NOT_COMPUTED,
)
"""Flags of stars that are not mapped."""
LEAST_PARALLAX = 2.0
"""Fewest standard errors that a parallax is from zero: below that the distance is the prior's."""

REASONS = ("flagged", "without_label", "faint", "without_distance", "uncertain_distance")
"""Why a star is not mapped; the first that holds is counted."""


@dataclass(frozen=True)
class StarColumns:
    """What is read of N stars, in the units of the stores.

    ``labels, errors`` [N, 2]: [M/H] and [alpha/M] [dex]; ``correlation`` [N]: of their errors.
    ``magnitude, colour`` [N]: G and BP-RP [mag], NaN = unknown.
    """

    source_id: Array
    ra: Array
    dec: Array
    snr: Array
    flags: Array
    status: Array
    parallax: Array
    parallax_error: Array
    magnitude: Array
    colour: Array
    labels: Array
    errors: Array
    correlation: Array

    def take(self, rows: Array) -> "StarColumns":
        """The stars selected by a mask."""
        return StarColumns(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def distances_of(stars: StarColumns, config: GalaxyMapConfig) -> tuple[Array, Array]:
    """Distances: low, median, high [N, 3] in kpc; parallaxes over errors [N], both corrected."""
    bias: Array | float
    if config.zero_point == "lindegren2021":
        # A star without a colour is corrected as one of the colour where most stars are.
        wavenumber = np.nan_to_num(effective_wavenumber(stars.colour), nan=1.48)
        magnitude = np.nan_to_num(stars.magnitude, nan=13.0)
        bias = parallax_bias(magnitude, wavenumber, ecliptic_sine(stars.ra, stars.dec))
    else:
        bias = config.zero_point
    parallax = stars.parallax - bias
    with np.errstate(divide="ignore", invalid="ignore"):
        significance = parallax / stars.parallax_error
    return distances(parallax, stars.parallax_error, config.scale_length), significance


@dataclass(frozen=True)
class MappedStars:
    """N stars with their places; those ``used`` [N] are on the map.

    ``distance`` [N, 3]: low, median, high [kpc]. ``left_out``: how many stars for which reason.
    """

    stars: StarColumns
    distance: Array
    place: GalacticPlace
    used: Array
    left_out: Mapping[str, int]

    @classmethod
    def of(cls, stars: StarColumns, frame: GalacticFrame, config: GalaxyMapConfig) -> "MappedStars":
        """Place the stars and choose those that are used."""
        distance, significance = distances_of(stars, config)
        low, middle, high = distance.T
        with np.errstate(invalid="ignore"):
            relative = 0.5 * (high - low) / middle
            good = (relative <= config.max_distance_error) & (significance >= LEAST_PARALLAX)
        excluded = np.uint32(sum(EXCLUDING))
        known = np.isfinite(stars.labels).all(axis=1) & (stars.errors > 0).all(axis=1)
        refused = {
            "flagged": (stars.flags & excluded != 0) | (stars.status != Status.DONE),
            "without_label": ~known,
            "faint": ~(stars.snr >= config.snr_edges[0]),
            "without_distance": ~np.isfinite(middle),
            "uncertain_distance": ~good,
        }
        used = np.ones(len(middle), bool)
        left_out = {}
        for reason in REASONS:
            left_out[reason] = int((used & refused[reason]).sum())
            used &= ~refused[reason]
        place = frame.place(stars.ra, stars.dec, distance)
        return cls(stars, distance, place, used, left_out)

    @cached_property
    def covariance(self) -> Array:
        """[N, 2, 2] of the errors of the labels."""
        error = self.stars.errors
        covariance = error[:, :, None] * error[:, None, :]
        covariance[:, 0, 1] *= self.stars.correlation
        covariance[:, 1, 0] = covariance[:, 0, 1]
        return np.asarray(covariance, float)
